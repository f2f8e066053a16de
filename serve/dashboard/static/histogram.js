// How many prompts have which win rate, parted by the threshold.

import { Chart, colour, numbers, pen, percents } from "./chart.js";
import { byId, legend } from "./el.js";
import { number, percent } from "./numbers.js";
import { bins } from "./points.js";

export class Histogram {
  constructor() {
    this.chart = new Chart(byId("histogram"), () => this.describe());
  }

  show(state) {
    this.state = state;
    this.bins = bins(state.row.points);
    legend("histogram-legend", [["to weak", colour("weak-fill"), "block"], ["to strong", colour("strong-fill"), "block"], ["threshold", colour("ink")]]);
    this.chart.show(this.data(), { whole: true, words: this.words() });
  }

  move(state) {
    this.state = state;
    this.chart.show(this.data(), { words: this.words() });
  }

  data() {
    const strong = (bin) => bin.from >= this.state.threshold - 1e-9;
    const centres = this.bins.map((bin) => (bin.from + bin.to) / 2);
    return [centres, this.bins.map((bin) => (strong(bin) ? null : bin.share)), this.bins.map((bin) => (strong(bin) ? bin.share : null))];
  }

  words() {
    const [low, high] = this.state.range;
    return `Histogram of win rates between ${low} and ${high}; ${percent(this.state.point.share[0])} are at the threshold ${this.state.threshold} or above.`;
  }

  describe() {
    const [low, high] = this.state.range;
    const highest = Math.max(...this.bins.map((bin) => bin.share));
    const bars = (name) => ({ fill: colour(name), stroke: colour(name), width: 0, points: { show: false }, paths: uPlot.paths.bars({ size: [0.9, 100] }) });
    return {
      x: { words: "win rate of the strong model", values: numbers },
      y: { words: "", values: percents, size: 54 },
      scales: { x: { time: false, range: [low, high] }, y: { range: [0, 1.1 * highest] } },
      series: [{}, bars("weak-fill"), bars("strong-fill")],
      tip: (k) => `${number(this.bins[k].from, 3)} to ${number(this.bins[k].to, 3)}: ${percent(this.bins[k].share)} of prompts`,
      hooks: { draw: [(u) => this.mark(u)] },
    };
  }

  mark(u) {
    const [low, high] = this.state.range;
    const at = Math.min(high, Math.max(low, this.state.threshold));
    pen(u).line([at, 0], [at, u.scales.y.max], { stroke: colour("ink"), width: 1.5 });
  }
}
