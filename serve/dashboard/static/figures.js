// The evaluation's own table, for those who want the numbers behind the curves.

import { byId, el } from "./el.js";
import { number, percent } from "./numbers.js";

export function showFigures(evaluation) {
  const rows = evaluation.rows.filter((row) => row.apgr);
  byId("figures-panel").hidden = !rows.length;
  const estimate = (found, format) => {
    if (found?.value == null) return "–";
    return found.low == null ? format(found.value) : `${format(found.value)} [${format(found.low)}, ${format(found.high)}]`;
  };
  const three = (value) => number(value, 3);
  const cell = (words) => el("td", { class: "number" }, words);
  const head = ["APGR", "CPT50", "CPT80", "calibration error"].map((words) => el("th", { class: "number", scope: "col" }, words));
  byId("figures").replaceChildren(
    el("caption", { class: "unseen" }, "Figures of the routers and baselines, with 95 % intervals"),
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Order of the prompts"), ...head)),
    el("tbody", {}, ...rows.map((row) => el("tr", {},
      el("th", { scope: "row" }, row.name), cell(estimate(row.apgr, three)),
      cell(estimate(row.cpt?.["50"], percent)), cell(estimate(row.cpt?.["80"], percent)),
      cell(row.ece == null ? "–" : three(row.ece)),
    ))),
  );
}
