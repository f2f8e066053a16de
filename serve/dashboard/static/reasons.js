// What a decision rests on, as the server explains it; what is not known is left out.

import { el } from "./el.js";
import { dollars, number, percent, points } from "./numbers.js";

const shortened = (text) => (text.length > 100 ? `${text.slice(0, 99)}…` : text);

// Every candidate in the order of the choice.
export function candidates(weighed) {
  const head = ["model", "quality", "bill", "score"];
  return el("table", { class: "weighed" },
    el("thead", {}, el("tr", {}, ...head.map((words, k) => el("th", { scope: "col", class: k ? "number" : null }, words)))),
    el("tbody", {}, ...weighed.map((one) => el("tr", {}, el("th", { scope: "row" }, one.model),
      ...[one.quality == null ? "–" : points(-one.quality), dollars(one.usd), number(one.score, 3)].map((words) => el("td", { class: "number" }, words))))));
}

export function reasons(found) {
  const rows = [];
  const add = (words, value) => rows.push(el("dt", {}, words), el("dd", {}, value));
  if (found.win_rate_percentile != null) add("win rate", `above ${percent(found.win_rate_percentile)} of the calibration's`);
  if (found.spend_share != null) add("threshold", `spends ${percent(found.spend_share)} of the way from the cheapest candidate's bill to the reference's on the calibration's prompts`);
  if (found.strong_share != null) add("threshold", `sends ${percent(found.strong_share)} of the calibration's prompts to strong`);
  if (found.novelty) {
    add("novelty", `further from the training prompts than ${percent(found.novelty.percentile)} of the calibration's`);
    const near = found.novelty.nearest.filter((each) => each.example);
    if (near.length) add("nearest", el("ol", {}, ...near.map((each) => el("li", {}, `at cosine ${number(each.cosine, 2)}: ${shortened(each.example)}`))));
  }
  if (found.neighbours?.length) {
    add("neighbours", el("ol", {}, ...found.neighbours.map((each) =>
      el("li", {}, `at cosine ${number(each.cosine, 2)}: strong won ${percent(each.strong_share, 0)}`))));
  }
  if (found.rule) add("rule", [found.rule.name, ...found.rule.because].join(": "));
  if (found.spend_share == null && !found.margin && found.cost?.strong.usd != null && found.cost.weak.usd != null) {
    const about = found.cost.estimated ? "about " : "";
    add("cost", `${about}${dollars(found.cost.strong.usd)} of strong, ${about}${dollars(found.cost.weak.usd)} of weak`);
  }
  if (found.drift?.alarm) add("drift", "live prompts are no longer like those of the calibration");
  const facts = rows.length ? el("dl", {}, ...rows) : el("p", { class: "faint" }, found.summary);
  return found.candidates?.length ? el("div", { class: "scroll" }, candidates(found.candidates), facts) : facts;
}
