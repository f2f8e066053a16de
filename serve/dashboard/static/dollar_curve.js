// Quality against dollars: the router's curve with the operating point on it, single models as dots, and what random
// mixtures of them reach.

import { Chart, colour, numbers, pen } from "./chart.js";
import { byId, legend } from "./el.js";
import { dollars, money, number } from "./numbers.js";

export class DollarCurve {
  // `choose` is told the threshold that was clicked.
  constructor(choose) {
    this.choose = choose;
    this.chart = new Chart(byId("curve"), () => this.describe());
  }

  show(state) {
    this.state = state;
    this.singles = state.row.dollars.singles.map((one) => ({ ...one, usd: 1000 * one.usd }));
    this.hull = state.row.dollars.hull.map((name) => this.singles.find((one) => one.model === name)).sort((a, b) => a.usd - b.usd);
    const { usd, quality, quality_error: error, threshold } = state.row.points;
    this.sorted = usd.map((cost, k) => ({ cost, quality: quality[k], half: error ? 1.96 * error[k] : 0, threshold: threshold[k] })).sort((a, b) => a.cost - b.cost);
    byId("curve-title").textContent = `${state.evaluation.expected ? "Expected quality" : "Quality"} against dollars per 1,000 prompts`;
    legend("curve-legend", [[state.row.name, colour("strong")], ...(error ? [["95 % band", colour("band"), "block"]] : []), ["single models", colour("weak"), "dot"], ["random mixtures of them", colour("faint"), "dashed"],
      ["this point", colour("strong"), "dot"], ...(state.inForce ? [["in force", colour("good"), "dot"]] : [])]);
    const line = (of) => this.sorted.map(of);
    this.chart.show([line((one) => one.cost), line((one) => one.quality), line((one) => one.quality - one.half), line((one) => one.quality + one.half)], { whole: true, words: this.words() });
  }

  move(state) {
    this.state = state;
    this.chart.label(this.words());
    this.chart.redraw();
  }

  words() {
    const { point } = this.state;
    const singles = this.singles.map((one) => `${one.model} ${number(one.quality, 3)} for ${dollars(one.usd)}`).join("; ");
    return `Quality ${number(point.quality[0], 3)} for ${dollars(point.usd[0])} per 1,000 prompts. Single models: ${singles}.`;
  }

  describe() {
    const costs = [...this.sorted.map((one) => one.cost), ...this.singles.map((one) => one.usd)];
    const values = [...this.sorted, ...this.singles].flatMap((one) => [one.quality - (one.half ?? 0), one.quality + (one.half ?? 0)]);
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const margin = 0.08 * (high - low) || 0.01;
    return {
      x: { words: "dollars per 1,000 prompts", values: (u, ticks) => ticks.map(money) },
      y: { words: this.state.evaluation.expected ? `quality expected by the router, ${this.state.roles.reference} = 1` : "quality", values: numbers },
      scales: { x: { time: false, range: [0, 1.05 * Math.max(...costs)] }, y: { range: [low - margin, high + margin] } },
      series: [{}, { stroke: colour("strong"), width: 2.5, points: { show: false } }, ...[0, 1].map(() => ({ width: 0, points: { show: false } }))],
      bands: [{ series: [3, 2], fill: colour("band") }],
      tip: (k) => `${dollars(this.sorted[k].cost)}: quality ${number(this.sorted[k].quality, 3)}${this.sorted[k].half ? ` ± ${number(this.sorted[k].half, 3)}` : ""}, threshold ${number(this.sorted[k].threshold, 3)}`,
      hooks: { draw: [(u) => this.mark(u)], ready: [(u) => this.listen(u)] },
    };
  }

  mark(u) {
    const draw = pen(u);
    for (let k = 1; k < this.hull.length; k++) {
      draw.line([this.hull[k - 1].usd, this.hull[k - 1].quality], [this.hull[k].usd, this.hull[k].quality], { stroke: colour("faint"), dash: [5, 5] });
    }
    for (const { model, usd, quality } of this.singles) {
      draw.dot([usd, quality], { fill: colour("weak"), ring: colour("panel"), radius: 5 });
      const left = usd > 0.6 * u.scales.x.max;
      draw.words(model, [usd, quality], { fill: colour("faint"), dx: left ? 0 : 8, dy: left ? 20 : 4, align: left ? "right" : "left" });
    }
    const { point, inForce } = this.state;
    if (inForce) draw.dot([inForce.usd[0], inForce.quality[0]], { fill: colour("panel"), ring: colour("good"), radius: 6.5 });
    const here = [point.usd[0], point.quality[0]];
    draw.line([here[0], u.scales.y.min], here, { stroke: colour("strong"), width: 1 });
    draw.line([0, here[1]], here, { stroke: colour("strong"), width: 1 });
    draw.dot(here, { fill: colour("strong"), ring: colour("panel"), radius: 6.5 });
  }

  listen(u) {
    u.over.addEventListener("click", () => {
      if (u.cursor.idx != null) this.choose({ threshold: this.sorted[u.cursor.idx].threshold });
    });
  }
}
