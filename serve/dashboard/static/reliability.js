// Win rates against what came out: on the diagonal they mean what they say.

import { Chart, colour, numbers, pen } from "./chart.js";
import { byId, legend } from "./el.js";
import { number } from "./numbers.js";

export class Reliability {
  constructor() {
    this.chart = new Chart(byId("reliability"), () => this.describe());
  }

  show({ row }) {
    const found = row.reliability;
    if (!found) {
      legend("reliability-legend", []);
      this.chart.element.removeAttribute("role");
      this.chart.element.removeAttribute("aria-label");
      this.chart.clear("Nothing to compare with: no outcomes are known here.");
      return;
    }
    this.bins = found.win_rate.map((rate, k) => ({ rate, outcome: found.outcome[k], error: found.outcome_error[k] ?? 0 }))
      .sort((a, b) => a.rate - b.rate);
    legend("reliability-legend", [["bins, ± 2 standard errors", colour("strong"), "dot"], ["calibrated", colour("faint"), "dashed"]]);
    const words = `Reliability: expected calibration error ${number(row.ece, 3)}. ` +
      this.bins.map((bin) => `win rate ${number(bin.rate, 2)}: outcome ${number(bin.outcome, 2)}`).join("; ") + ".";
    this.chart.show([this.bins.map((bin) => bin.rate), this.bins.map((bin) => bin.outcome)], { whole: true, words });
  }

  describe() {
    const lows = this.bins.map((bin) => Math.min(bin.rate, bin.outcome - 2 * bin.error));
    const highs = this.bins.map((bin) => Math.max(bin.rate, bin.outcome + 2 * bin.error));
    const rates = this.bins.map((bin) => bin.rate);
    const margin = 0.06 * (Math.max(...rates) - Math.min(...rates)) || 0.05;
    const clip = (value) => Math.min(1, Math.max(0, value));
    return {
      x: { words: "win rate", values: numbers },
      y: { words: "outcome (a tie is a half)", values: numbers, size: 44 },
      scales: {
        x: { time: false, range: [clip(Math.min(...rates) - margin), clip(Math.max(...rates) + margin)] },
        y: { range: [clip(Math.min(...lows) - 0.02), clip(Math.max(...highs) + 0.02)] },
      },
      series: [{}, { paths: () => null, points: { show: true, size: 8, fill: colour("strong"), stroke: colour("panel"), width: 1.5 } }],
      tip: (k) => `win rate ${number(this.bins[k].rate, 3)}: outcome ${number(this.bins[k].outcome, 3)} ± ${number(2 * this.bins[k].error, 3)}`,
      hooks: { drawAxes: [(u) => this.mark(u)] },
    };
  }

  mark(u) {
    const draw = pen(u);
    const { x, y } = u.scales;
    const [from, to] = [Math.max(x.min, y.min), Math.min(x.max, y.max)];
    if (from < to) draw.line([from, from], [to, to], { stroke: colour("faint"), dash: [5, 5] });
    for (const { rate, outcome, error } of this.bins) {
      draw.line([rate, Math.max(y.min, outcome - 2 * error)], [rate, Math.min(y.max, outcome + 2 * error)], { stroke: colour("strong"), width: 1.5 });
    }
  }
}
