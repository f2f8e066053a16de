// The evaluation's own table, for those who want the numbers behind the curves.

import { byId, el, tableParts } from "./el.js";
import { number, percent } from "./numbers.js";

export function showFigures(evaluation) {
  const rows = evaluation.rows.filter((row) => row.apgr);
  byId("figures-panel").hidden = !rows.length;
  const estimate = (found, format) => {
    if (found?.value == null) return "–";
    return found.low == null ? format(found.value) : `${format(found.value)} [${format(found.low)}, ${format(found.high)}]`;
  };
  const three = (value) => number(value, 3);
  const head = ["Order by", "APGR", "CPT50", "CPT80", "calibration error"];
  byId("figures").replaceChildren(
    el("caption", { class: "unseen" }, "Figures of the routers and baselines, with 95 % intervals"),
    ...tableParts(head, rows.map((row) => [row.name, estimate(row.apgr, three), estimate(row.cpt?.["50"], percent), estimate(row.cpt?.["80"], percent),
      row.ece == null ? "–" : three(row.ece)])),
  );
}
