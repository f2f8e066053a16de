// The threshold simulator: three linked ways to set one threshold, and what it gives.

import { read } from "./api.js";
import { Curve } from "./curve.js";
import { byId, options } from "./el.js";
import { showFigures } from "./figures.js";
import { Histogram } from "./histogram.js";
import { number } from "./numbers.js";
import { asked, dollarsOf, figuresAt, nearest, pointAt, span } from "./points.js";
import { Readouts } from "./readouts.js";
import { Reliability } from "./reliability.js";

const KINDS = {
  report: "Your evaluations", bundled: "The bundled router on benchmarks", traffic: "Prompts routed here", calibration: "Calibrations", file: "Opened",
};
const TITLES = { traffic: (router) => `Routed by ${router}`, calibration: (router) => `Calibration of ${router}` };
const EXAMPLE = { strong: 10, weak: 0.5 };

export class Simulator {
  constructor(about, complain) {
    this.about = about;
    this.complain = complain;
    this.opened = new Map();
    this.prices = { ...EXAMPLE, ...about.prices, ...JSON.parse(localStorage.getItem("pointsman-prices") ?? "{}") };
    this.readouts = new Readouts();
    this.curve = new Curve((wanted) => (wanted.share === undefined ? this.setThreshold(wanted.threshold) : this.setShare(wanted.share)));
    this.histogram = new Histogram();
    this.reliability = new Reliability();
    this.listSources();
    this.listen();
    byId("apply-row").hidden = !about.admin;
    if (about.admin) this.setPolicy();
  }

  listSources() {
    const cards = [...this.about.sources, ...[...this.opened.keys()].map((title) => ({ id: `file/${title}`, kind: "file", title }))];
    const groups = Object.entries(KINDS).map(([kind, words]) => {
      const group = document.createElement("optgroup");
      group.label = words;
      options(group, cards.filter((card) => card.kind === kind).map(({ id, title }) => [id, TITLES[kind]?.(title) ?? title]));
      return group;
    });
    byId("source").replaceChildren(...groups.filter((group) => group.children.length));
  }

  listen() {
    byId("source").addEventListener("change", () => this.open(byId("source").value));
    byId("row").addEventListener("change", () => this.choose(byId("row").value));
    byId("file").addEventListener("change", () => this.openFile(byId("file").files[0]));
    const follow = (id, set, event = "input") => byId(id).addEventListener(event, () => {
      const value = byId(id).valueAsNumber;
      if (Number.isFinite(value)) set(value, byId(id));
    });
    follow("threshold", (value, self) => this.setThreshold(value, self));
    follow("share", (value, self) => this.setShare(value / 100, self));
    follow("dollars", (value, self) => this.setDollars(value, self));
    follow("threshold-number", (value) => this.setThreshold(value), "change");
    follow("share-number", (value) => this.setShare(value / 100), "change");
    follow("dollars-number", (value) => this.setDollars(value), "change");
    for (const side of ["strong", "weak"]) follow(`${side}-usd`, (value) => this.setPrice(side, Math.max(0, value)));
    byId("copy-field").addEventListener("click", () => this.copy("model-field"));
    byId("copy-config").addEventListener("click", () => this.copy("config-line"));
    byId("apply").addEventListener("click", () => this.setPolicy({ threshold: this.threshold }));
    byId("undo").addEventListener("click", () => this.setPolicy({ reset: true }));
    document.querySelector(".controls").addEventListener("submit", (event) => event.preventDefault());
  }

  async open(id) {
    this.wanted = id;
    const before = byId("about-source").textContent;
    byId("about-source").textContent = "Asking for it.";
    try {
      const evaluation = id.startsWith("file/") ? this.opened.get(id.slice(5)) : await read(`/api/sources/${id}`);
      if (id === this.wanted) this.show(id, evaluation);
      return true;
    } catch (error) {
      this.complain(error.message);
      byId("about-source").textContent = before;
      if (this.row) byId("source").value = this.source;
      return false;
    }
  }

  async openFile(file) {
    if (!file) return;
    try {
      const evaluation = JSON.parse(await file.text());
      if (!evaluation.rows?.some((row) => row.points)) throw new Error("no router in it has thresholds");
      this.opened.set(file.name, evaluation);
      this.listSources();
      this.show(`file/${file.name}`, evaluation);
    } catch (error) {
      this.complain(`${file.name}: wanted what \`pointsman evaluate --json\` prints: ${error.message}`);
    }
    byId("file").value = "";
  }

  show(id, evaluation) {
    this.complain("");
    this.evaluation = evaluation;
    this.source = this.wanted = id;
    byId("source").value = id;
    this.rows = evaluation.rows.filter((row) => row.points);
    options(byId("row"), this.rows.map((row) => [row.name, row.name]));
    const models = evaluation.strong_model ? `, ${evaluation.strong_model} or ${evaluation.weak_model}` : "";
    const title = id.startsWith("calibration/") ? evaluation.source : byId("source").selectedOptions[0].text;
    byId("about-source").textContent = `${title}: ${number(evaluation.n_prompts)} prompts${models}`;
    this.choose(this.rows[0].name);
    showFigures(evaluation);
  }

  choose(name) {
    this.row = this.rows.find((row) => row.name === name);
    this.range = span(this.row.points);
    const slider = byId("threshold");
    [slider.min, slider.max, slider.step] = [this.range[0], this.range[1], 0.001];
    this.measured = Boolean(this.row.points.usd);
    byId("prices").disabled = this.measured;
    byId("about-prices").textContent = this.measured ? "Not used: these prompts' own dollars are known." : localStorage.getItem("pointsman-prices") ? "Your prices, kept in this browser."
      : this.about.prices ? `As configured, for ${this.about.prices.tokens} tokens in and ${this.about.prices.tokens} out.`
        : "Examples: put in what yours cost.";
    this.showPrices();
    const start = this.threshold ?? this.about.routers.find((router) => router.name === this.served())?.threshold;
    const inside = start !== undefined && start !== null && start >= this.range[0] && start <= this.range[1];
    this.threshold = asked(this.row.points, inside ? start : this.row.points.threshold[nearest(this.row.points.share, 0.5)]);
    this.evaluate();
    this.curve.show(this);
    this.histogram.show(this);
    this.reliability.show(this);
    this.write();
  }

  evaluate() {
    this.k = pointAt(this.row.points, this.threshold);
    this.point = figuresAt(this.row.points, this.k, this.prices);
    const own = this.about.prices || localStorage.getItem("pointsman-prices");
    this.pricedBy = this.measured ? "as measured" : own ? "by your prices" : "at example prices";
  }

  setThreshold(value, self) {
    this.threshold = asked(this.row.points, value);
    this.move(self);
  }

  setShare(value, self) {
    this.threshold = this.row.points.threshold[nearest(this.row.points.share, value)];
    this.move(self);
  }

  setDollars(value, self) {
    this.threshold = this.row.points.threshold[nearest(this.costs, value)];
    this.move(self);
  }

  setPrice(side, value) {
    this.prices[side] = value;
    localStorage.setItem("pointsman-prices", JSON.stringify(this.prices));
    byId("about-prices").textContent = "Your prices, kept in this browser.";
    this.showPrices(byId(`${side}-usd`));
    this.move();
  }

  showPrices(self) {
    for (const side of ["strong", "weak"]) if (byId(`${side}-usd`) !== self) byId(`${side}-usd`).value = this.prices[side];
    this.costs = dollarsOf(this.row.points, this.prices);
    const [low, high] = [Math.min(...this.costs), Math.max(...this.costs)];
    const slider = byId("dollars");
    [slider.min, slider.max, slider.step] = [low, high, (high - low) / 1000 || 0.001];
    slider.disabled = !(high > low);
  }

  // A new point; the slider that is being moved stays where the hand has it.
  move(self) {
    this.evaluate();
    this.write(self);
    this.curve.move(this);
    this.histogram.move(this);
  }

  write(self) {
    const { share, usd } = this.point;
    const put = (id, value) => byId(id) !== self && (byId(id).value = value);
    put("threshold", this.threshold);
    put("share", 100 * share[0]);
    put("dollars", usd[0]);
    byId("threshold-number").value = this.threshold;
    byId("share-number").value = (100 * share[0]).toFixed(1);
    byId("dollars-number").value = usd[0] >= 1 ? usd[0].toFixed(2) : Number(usd[0].toPrecision(3));
    byId("share").setAttribute("aria-valuetext", `${(100 * share[0]).toFixed(1)} percent`);
    byId("dollars").setAttribute("aria-valuetext", `${usd[0].toFixed(2)} dollars`);
    this.readouts.show(this);
    const served = this.served();
    const router = served ?? this.about.routers[0].name;
    byId("about-use").textContent = served ? "" : `“${this.row.name}” is not served here. Use it for ${router} only if its win rates are the same.`;
    byId("model-field").textContent = `router-${router}-${this.threshold}`;
    byId("config-line").textContent = `policy: {threshold: ${this.threshold}}`;
    byId("copied").textContent = "\u00a0";
  }

  // The router here that these win rates are of; undefined or null where it is none of them.
  served() {
    if (this.source.startsWith("bundled/")) return this.about.bundled;
    return this.about.routers.find(({ name }) => name === this.row.name)?.name;
  }

  // Sets the threshold of requests that name none, takes that back, or asks what is in force.
  async setPolicy(body) {
    byId("apply").disabled = byId("undo").disabled = true;
    try {
      const { overridden, setting } = await read("/v1/policy", { body });
      const words = Object.entries(setting).map(([name, value]) => (name === "threshold" ? value : `${name.replaceAll("_", " ")} ${value}`));
      byId("apply-state").textContent = overridden ? `In force: ${words.join(", ")}` : "For requests that name no threshold";
      byId("undo").hidden = !overridden;
    } catch (error) {
      byId("apply-state").textContent = error.message;
    }
    byId("apply").disabled = byId("undo").disabled = false;
  }

  async copy(id) {
    const code = byId(id);
    try {
      await navigator.clipboard.writeText(code.textContent);
      byId("copied").textContent = `Copied ${code.textContent}`;
    } catch {
      getSelection().selectAllChildren(code);
      byId("copied").textContent = "Selected: this browser lets no page copy here. Press Ctrl+C.";
    }
  }
}
