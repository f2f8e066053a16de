// Quality against the share of strong calls, with the operating point on it. Without outcomes: shares by threshold.

import { Chart, colour, numbers, pen, percents } from "./chart.js";
import { byId, legend } from "./el.js";
import { number, percent } from "./numbers.js";

const MARKED = ["50", "80"];

export class Curve {
  // `choose` is told the share, or the threshold, that was clicked.
  constructor(choose) {
    this.choose = choose;
    this.chart = new Chart(byId("curve"), () => this.describe());
  }

  show(state) {
    this.state = state;
    this.labelled = Boolean(state.row.curve);
    const { row, evaluation } = state;
    byId("curve-title").textContent = this.labelled
      ? "Quality against the share of strong calls" : `${row.spending ? "Share of spending" : "Share of strong calls"} by threshold`;
    if (!this.labelled) {
      legend("curve-legend", [["share at a threshold", colour("strong")], ["this point", colour("strong"), "dot"]]);
      this.chart.show([row.points.threshold, row.points.share], { whole: true, words: this.words() });
      return;
    }
    const oracle = evaluation.rows.find((other) => other.name === "oracle")?.curve.quality;
    const length = evaluation.rows.find((other) => other.name === "prompt length")?.curve.quality;
    const { share, quality, low, high } = row.curve;
    const [weak, strong] = [quality[0], quality.at(-1)];
    const random = share.map((s) => weak + s * (strong - weak));
    const blank = share.map(() => null);
    this.data = [share, high ?? blank, low ?? blank, random, length ?? blank, oracle ?? blank, quality];
    legend("curve-legend", [
      [row.name, colour("strong")], ["95 % band", colour("band"), "block"],
      ...(length && length !== quality ? [["prompt length", colour("weak")]] : []),
      ["random order", colour("faint"), "dashed"],
      ...(oracle ? [["oracle", colour("good"), "dashed"]] : []), ["this point", colour("strong"), "dot"],
    ]);
    this.chart.show(this.data, { whole: true, words: this.words() });
  }

  move(state) {
    this.state = state;
    this.chart.label(this.words());
    this.chart.redraw();
  }

  words() {
    const { row, point } = this.state;
    if (!this.labelled) return `${byId("curve-title").textContent}: ${percent(point.share[0])} at threshold ${this.state.threshold}.`;
    const levels = MARKED.filter((level) => row.cpt[level]?.value != null)
      .map((level) => `${level} % of the gap is recovered at ${percent(row.cpt[level].value)} strong calls`);
    return `Quality of ${row.name} from ${number(row.curve.quality[0], 3)} with the weak model alone to ` +
      `${number(row.curve.quality.at(-1), 3)} with the strong one. ${levels.join(". ")}. ` +
      `Now: quality ${number(point.quality[0], 3)} at ${percent(point.share[0])} strong calls.`;
  }

  describe() {
    const line = (name, more = {}) => ({ stroke: colour(name), width: 2, points: { show: false }, ...more });
    const hidden = { show: true, stroke: "transparent", width: 0, points: { show: false } };
    const hooks = { draw: [(u) => this.mark(u)], ready: [(u) => this.listen(u)] };
    if (!this.labelled) {
      const [low, high] = this.state.range;
      return {
        x: { words: "threshold", values: numbers },
        y: { words: "", values: percents },
        scales: { x: { time: false, range: [low, high] }, y: { range: [0, 1] } },
        series: [{}, line("strong")], hooks,
        tip: (k) => `threshold ${number(this.state.row.points.threshold[k], 3)}: ${this.state.roles.spent(percent(this.state.row.points.share[k]))}`,
      };
    }
    const values = this.data.slice(1).flat().filter((value) => value !== null);
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const margin = 0.04 * (high - low) || 0.01;
    return {
      x: { words: "share of strong calls", values: percents },
      y: { words: "quality", values: numbers },
      tip: (k) => this.tip(k),
      scales: { x: { time: false, range: [0, 1] }, y: { range: [low - margin, high + margin] } },
      series: [
        {}, hidden, hidden, line("faint", { dash: [5, 5], width: 1.5 }), line("weak", { width: 1.5 }),
        line("good", { dash: [6, 4], width: 1.5 }), line("strong", { width: 2.5 }),
      ],
      bands: [{ series: [1, 2], fill: colour("band") }],
      hooks,
    };
  }

  tip(k) {
    const { share, quality, low, high } = this.state.row.curve;
    const band = low ? ` [${number(low[k], 3)}, ${number(high[k], 3)}]` : "";
    return `${percent(share[k])} to strong: quality ${number(quality[k], 3)}${band}`;
  }

  mark(u) {
    const { row, point, threshold } = this.state;
    const draw = pen(u);
    const faint = { stroke: colour("faint"), width: 1, dash: [2, 3] };
    if (!this.labelled) {
      draw.line([threshold, 0], [threshold, point.share[0]], faint);
      draw.dot([threshold, point.share[0]], { fill: colour("strong"), ring: colour("panel"), radius: 6 });
      return;
    }
    const bottom = u.scales.y.min;
    const [weak, strong] = [row.curve.quality[0], row.curve.quality.at(-1)];
    for (const level of MARKED) {
      const share = row.cpt[level]?.value;
      if (share == null) continue;
      const height = weak + (Number(level) / 100) * (strong - weak);
      draw.line([share, bottom], [share, height], faint);
      draw.dot([share, height], { fill: colour("panel"), ring: colour("faint"), radius: 3 });
      const left = share > 0.5;
      const place = { dx: left ? -5 : 5, dy: level === "80" ? -21 : -6, align: left ? "right" : "left" };
      draw.words(`CPT${level} ${percent(share, 0)}`, [share, bottom], { fill: colour("faint"), ...place });
    }
    const here = [point.share[0], point.quality[0]];
    draw.line([here[0], bottom], here, { stroke: colour("strong"), width: 1 });
    draw.line([0, here[1]], here, { stroke: colour("strong"), width: 1 });
    draw.dot(here, { fill: colour("strong"), ring: colour("panel"), radius: 6.5 });
  }

  listen(u) {
    u.over.addEventListener("click", () => {
      if (u.cursor.left < 0) return;
      const value = u.posToVal(u.cursor.left, "x");
      this.choose(this.labelled ? { share: value } : { threshold: value });
    });
  }
}
