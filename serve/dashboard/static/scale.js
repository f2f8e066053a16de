// A win rate and its threshold on the line from 0 to 1.

import { el } from "./el.js";
import { number } from "./numbers.js";

export function scale(winRate, threshold) {
  const place = (value, kind, words) => {
    const mark = el("span", { class: `place ${kind}` }, el("span", {}, words));
    mark.style.setProperty("--at", Math.min(1, Math.max(0, value)));
    return mark;
  };
  const words = `win rate ${number(winRate, 4)}, threshold ${number(threshold, 4)}`;
  const line = el("span", { class: "line" });
  line.style.setProperty("--threshold", `${100 * threshold}%`);
  return el("div", { class: "scale", role: "img", "aria-label": words }, line,
    place(threshold, "limit", `threshold ${number(threshold, 3)}`), place(winRate, "rate", `win rate ${number(winRate, 3)}`));
}
