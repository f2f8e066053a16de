// Dollars and quality by hour, day or week.

import { Chart, colour, numbers, pen } from "./chart.js";
import { byId, legend } from "./el.js";
import { dollars, money, number, percent, points } from "./numbers.js";

const FEW = 5; // the intervals of fewer comparisons may leave the chart
const short = (label) => (label.includes(" ") ? label.slice(11) : label.slice(5));

// The labels of whole numbers, where there is a span of that number.
const named = (spans) => (u, values) => values.map((value) => (Number.isInteger(value) && spans[value] ? short(spans[value].label) : ""));

class BySpan {
  constructor(id) {
    this.id = id;
    this.spans = [];
    this.chart = new Chart(byId(id), () => ({ ...this.describe(), scales: this.scales() }));
  }

  put(spans, data, empty, words) {
    const anew = JSON.stringify([spans.length, spans[0]?.label, this.bound]) !== this.before;
    this.before = JSON.stringify([spans.length, spans[0]?.label, this.bound]);
    this.spans = spans;
    if (!data.slice(1).some((column) => column.some((value) => value))) {
      this.before = null;
      legend(`${this.id.replace("-chart", "")}-legend`, []);
      this.chart.clear(empty);
    } else this.chart.show([spans.map((_, k) => k), ...data.slice(1)], { whole: anew, words });
  }
}

export class SavingBySpan extends BySpan {
  constructor() {
    super("saving-chart");
  }

  show(spans) {
    legend("saving-legend", [["spent", colour("strong-fill"), "block"], ["saved", colour("good-fill"), "block"]]);
    const spent = spans.map((span) => span.spent_usd ?? 0);
    const always = spans.map((span) => Math.max(span.always_usd ?? 0, span.spent_usd ?? 0));
    this.put(spans, [null, always, spent], "No dollars are known by time: that takes a store and prices.",
      "Dollars spent and saved: " + spans.filter((span) => span.n_requests).map((span) => `${span.label} ${dollars(span.saved_usd)} saved, ${dollars(span.spent_usd)} spent`).join("; "));
  }

  scales() {
    return { x: { time: false, range: [-0.6, this.spans.length - 0.4] }, y: { range: (u, low, high) => [0, 1.08 * (high || 1)] } };
  }

  describe() {
    const bars = (name) => ({ fill: colour(name), stroke: colour(name), width: 0, points: { show: false }, paths: uPlot.paths.bars({ size: [0.8, 60] }) });
    return {
      x: { words: "", values: named(this.spans) },
      y: { words: "", values: (u, values) => values.map(money), size: 62 },
      series: [{}, bars("good-fill"), bars("strong-fill")],
      tip: (k) => {
        const span = this.spans[k];
        return `${span.label}: ${dollars(span.saved_usd ?? 0)} saved (${percent(span.share, 0)}), ${dollars(span.spent_usd ?? 0)} spent`;
      },
    };
  }
}

export class QualityBySpan extends BySpan {
  constructor() {
    super("quality-chart");
  }

  show(spans, bound) {
    this.bound = bound && -100 * bound.max_loss;
    legend("quality-legend", [["change, 95 % interval", colour("strong"), "dot"], ...(bound ? [["bound", colour("bad"), "dashed"], ...(spans.some((span) => span.bound && span.bound !== "held") ? [["void or not kept", colour("bad")]] : [])] : [])]);
    const known = spans.filter((span) => span.loss);
    this.put(spans, [null, spans.map((span) => (span.loss ? -100 * span.loss.value : null))], "Too few comparisons to show them by time.",
      "Change of quality in points: " + known.map((span) => `${span.label} ${points(span.loss.value)}, ${span.loss.n_comparisons} comparisons${span.bound ? `, bound ${span.bound}` : ""}`).join("; "));
  }

  scales() {
    const most = Math.max(...this.spans.map(({ loss }) => loss?.n_comparisons ?? 0));
    const ends = this.spans.flatMap(({ loss }) => (loss && loss.n_comparisons >= Math.min(FEW, most) ? [-100 * loss.high, -100 * loss.low] : []));
    const [low, high] = [Math.min(0, this.bound ?? 0, ...ends), Math.max(0, ...ends)];
    const margin = 0.08 * (high - low) || 1;
    return { x: { time: false, range: [-0.6, this.spans.length - 0.4] }, y: { range: [low - margin, high + margin] } };
  }

  describe() {
    return {
      x: { words: "", values: named(this.spans) },
      y: { words: "", values: numbers, size: 44 },
      series: [{}, { paths: () => null, points: { show: true, size: 8, fill: colour("strong"), stroke: colour("panel"), width: 1.5 } }],
      tip: (k) => {
        const { label, loss, bound } = this.spans[k];
        const kept = { held: "; bound held", broken: "; bound not kept", void: "; bound void" }[bound] ?? "";
        return loss ? `${label}: ${points(loss.value)} (${number(-100 * loss.high, 1)} to ${number(-100 * loss.low, 1)}), ${loss.n_comparisons} comparisons${kept}` : `${label}: not compared`;
      },
      hooks: { drawAxes: [(u) => this.mark(u)] },
    };
  }

  mark(u) {
    const draw = pen(u);
    const { min, max } = u.scales.x;
    const { min: low, max: high } = u.scales.y;
    draw.line([min, 0], [max, 0], { stroke: colour("faint"), width: 1 });
    if (this.bound != null) draw.line([min, this.bound], [max, this.bound], { stroke: colour("bad"), dash: [5, 5] });
    this.spans.forEach(({ loss, bound }, k) => loss && draw.line([k, Math.max(low, -100 * loss.high)], [k, Math.min(high, -100 * loss.low)],
      { stroke: colour(bound && bound !== "held" ? "bad" : "strong"), width: bound && bound !== "held" ? 3 : 1.5 }));
  }
}
