// The threshold simulator: three linked ways to set one threshold, and what it gives.

import { read } from "./api.js";
import { asRows } from "./candidates.js";
import { Curve } from "./curve.js";
import { DollarCurve } from "./dollar_curve.js";
import { byId, el, options } from "./el.js";
import { showFigures } from "./figures.js";
import { Histogram } from "./histogram.js";
import { dollars, number, plain } from "./numbers.js";
import { asked as askedOf, remember } from "./place.js";
import { asked, dollarsOf, figuresAt, nearest, pointAt, span } from "./points.js";
import { Readouts } from "./readouts.js";
import { Reliability } from "./reliability.js";
import { roles } from "./roles.js";

const KINDS = {
  report: "Your evaluations", bundled: "The bundled router on benchmarks", traffic: "Prompts routed here", calibration: "Calibrations", file: "Opened",
};
const TITLES = { traffic: (router) => `Routed by ${router}`, calibration: (router) => `Calibration of ${router}` };
const EXAMPLE = { strong: 10, weak: 0.5 };
const PAIR = { candidates: ["strong", "weak"], pair: ["strong", "weak"] };

export class Simulator {
  constructor(about, complain) {
    this.about = about;
    this.complain = complain;
    this.opened = new Map();
    const { candidates, prices } = about;
    this.sides = candidates.length > 2 ? candidates : ["strong", "weak"];
    this.kept = candidates.length > 2 ? `pointsman-prices ${candidates.join(" ")}` : "pointsman-prices";
    const example = this.sides.map((side, k) => [side, EXAMPLE.strong * (EXAMPLE.weak / EXAMPLE.strong) ** (k / (this.sides.length - 1))]);
    const configured = prices?.map(({ model, usd }) => [candidates.length > 2 ? model : this.sides[candidates.indexOf(model)], usd]);
    this.prices = { ...Object.fromEntries(configured ?? example), ...JSON.parse(localStorage.getItem(this.kept) ?? "{}") };
    this.readouts = new Readouts();
    const clicked = (wanted) => (wanted.share === undefined ? this.setThreshold(wanted.threshold) : this.setShare(wanted.share));
    this.byShare = new Curve(clicked);
    this.byDollars = new DollarCurve(clicked);
    this.curve = this.byShare;
    this.histogram = new Histogram();
    this.reliability = new Reliability();
    this.listSources();
    this.listen();
    byId("apply-row").hidden = !about.admin;
    if (about.admin) this.setPolicy();
  }

  // Shows what the address names; what it does not name stays, or is the first that can be read.
  async enter() {
    const wanted = askedOf();
    if (wanted.has("threshold")) this.threshold = Math.min(1, Math.max(0, Number(wanted.get("threshold")) || 0));
    const source = wanted.get("source") ?? this.source;
    if (!this.row || source !== this.source) {
      const ids = this.about.sources.map((one) => one.id);
      for (const id of [...ids.filter((one) => one === source), ...ids]) if (await this.open(id)) break;
    }
    if (this.row) this.choose(this.rows.some((row) => row.name === wanted.get("router")) ? wanted.get("router") : this.row.name);
    this.keep();
  }

  keep() {
    if (this.row) remember("simulator", { source: this.source, router: this.rows.length > 1 ? this.row.name : "", threshold: this.threshold });
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
      if (evaluation.routers) evaluation.rows = asRows(evaluation);
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
    if (evaluation.routers && !evaluation.rows) evaluation.rows = asRows(evaluation);
    this.evaluation = evaluation;
    this.source = this.wanted = id;
    byId("source").value = id;
    this.rows = evaluation.rows.filter((row) => row.points);
    options(byId("row"), this.rows.map((row) => [row.name, row.name]));
    const models = evaluation.candidates ? `, ${evaluation.candidates.length} candidates` : evaluation.strong_model ? `, ${evaluation.strong_model} or ${evaluation.weak_model}` : "";
    const title = id.startsWith("calibration/") ? evaluation.source : byId("source").selectedOptions[0].text;
    byId("about-source").textContent = `${title}: ${number(evaluation.n_prompts)} prompts${models}`;
    this.choose(this.rows[0].name);
    showFigures(evaluation);
  }

  choose(name) {
    this.row = this.rows.find((row) => row.name === name);
    byId("row").value = name;
    const curve = this.row.dollars ? this.byDollars : this.byShare;
    if (curve !== this.curve) this.curve.chart.clear("");
    this.curve = curve;
    this.ofPrompts = !this.row.dollars && !this.row.spending; // of many candidates no share is one of prompts
    byId("histogram-panel").parentElement.hidden = !this.ofPrompts;
    this.range = span(this.row.points);
    const slider = byId("threshold");
    [slider.min, slider.max, slider.step] = [this.range[0], this.range[1], 0.001];
    const { candidates } = this.evaluation;
    this.roles = roles(candidates?.length > 2 ? { candidates, pair: [candidates[0], this.cheapest()] } : PAIR);
    document.querySelector("label[for=share]").textContent = this.roles.percent;
    byId("share-number").setAttribute("aria-label", `${this.roles.percent}, as a number`);
    this.measured = Boolean(this.row.points.usd);
    byId("prices").disabled = this.measured;
    this.listPrices();
    byId("about-prices").textContent = this.aboutPrices();
    this.showPrices();
    const start = this.threshold ?? this.about.routers.find((router) => router.name === this.served())?.threshold;
    const inside = start !== undefined && start !== null && start >= this.range[0] && start <= this.range[1];
    this.threshold = asked(this.row.points, inside ? start : this.row.points.threshold[nearest(this.row.points.share, 0.5)]);
    this.evaluate();
    this.curve.show(this);
    if (this.ofPrompts) {
      this.histogram.show(this);
      this.reliability.show(this);
    }
    this.write();
  }

  // The cheapest candidate of the evaluation on show.
  cheapest() {
    const singles = this.row.dollars?.singles ?? this.sides.map((model) => ({ model, usd: this.prices[model] }));
    return singles.slice(1).reduce((least, one) => (one.usd < least.usd ? one : least)).model;
  }

  // What the two ends of every share cost: the reference, and the cheapest.
  ends() {
    const usd = this.sides.map((side) => this.prices[side]);
    return { strong: usd[0], weak: Math.min(...usd.slice(1)) };
  }

  // A field for each model: what it costs here, or what it cost alone on the evaluation's own prompts.
  listPrices() {
    const singles = this.row.dollars?.singles.map(({ model, usd }) => [model, 1000 * usd]);
    this.priceFields = new Map((singles ?? this.sides.map((side) => [side, this.prices[side]])).map(([side, usd]) => {
      const field = el("input", { id: `${side}-usd`, type: "number", min: "0", step: "any", inputmode: "decimal" });
      field.value = plain(usd);
      if (!singles) field.addEventListener("input", () => Number.isFinite(field.valueAsNumber) && this.setPrice(side, Math.max(0, field.valueAsNumber)));
      return [side, field];
    }));
    byId("price-fields").replaceChildren(...[...this.priceFields].map(([side, field]) =>
      el("label", { class: "field" }, `${this.sides.length === 2 && !singles ? side[0].toUpperCase() + side.slice(1) : side}, $`, field)));
  }

  aboutPrices() {
    if (this.row.dollars) return this.evaluation.expected ? "Each alone, as expected for these prompts." : "Each alone, on these prompts.";
    if (this.measured) return "Not used: these prompts' own dollars are known.";
    if (localStorage.getItem(this.kept)) return "Your prices, kept in this browser.";
    if (!this.about.prices) return "Examples: put in what yours cost.";
    const tokens = this.about.prices.map((one) => [one.model, `${number(one.input_tokens)} tokens in, ${number(one.output_tokens)} out`]);
    const all = new Set(tokens.map(([, words]) => words));
    return all.size === 1 ? `As configured, for ${[...all][0]}.` : `As configured, for ${tokens.map(([name, words]) => `${words} (${name})`).join("; ")}.`;
  }

  evaluate() {
    this.k = pointAt(this.row.points, this.threshold);
    this.point = figuresAt(this.row.points, this.k, this.ends());
    const own = this.about.prices || localStorage.getItem(this.kept);
    const served = this.about.routers.find((router) => router.name === this.served())?.threshold;
    this.inForce = this.row.dollars && served != null ? figuresAt(this.row.points, pointAt(this.row.points, served), this.ends()) : null;
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
    localStorage.setItem(this.kept, JSON.stringify(this.prices));
    byId("about-prices").textContent = this.aboutPrices();
    this.showPrices();
    this.move();
  }

  showPrices() {
    this.costs = dollarsOf(this.row.points, this.ends());
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
    if (this.ofPrompts) this.histogram.move(this);
    this.keep();
  }

  write(self) {
    const { share, usd } = this.point;
    const put = (id, value) => byId(id) !== self && (byId(id).value = value);
    put("threshold", this.threshold);
    put("share", 100 * share[0]);
    put("dollars", usd[0]);
    byId("threshold-number").value = plain(this.threshold);
    byId("share-number").value = (100 * share[0]).toFixed(1);
    byId("dollars-number").value = usd[0] >= 1 ? usd[0].toFixed(2) : Number(usd[0].toPrecision(3));
    byId("share").setAttribute("aria-valuetext", `${(100 * share[0]).toFixed(1)} percent`);
    byId("dollars").setAttribute("aria-valuetext", `${dollars(usd[0])}`);
    this.readouts.show(this);
    const served = this.served();
    const router = served ?? this.about.routers[0].name;
    byId("about-use").textContent = served ? "" : `“${this.row.name}” is not served here. Use it for ${router} only if its win rates are the same.`;
    byId("model-field").textContent = `router-${router}-${plain(this.threshold)}`;
    byId("config-line").textContent = `policy: {threshold: ${plain(this.threshold)}}`;
    byId("copied").textContent = "\u00a0";
  }

  // The router here that these win rates are of; undefined or null where it is none of them.
  served() {
    if (this.source?.startsWith("bundled/")) return this.about.bundled;
    return this.about.routers.find(({ name }) => name === this.row?.name)?.name;
  }

  // Sets the threshold of requests that name none, takes that back, or asks what is in force.
  async setPolicy(body) {
    byId("apply").disabled = byId("undo").disabled = true;
    try {
      const { overridden, setting, routers } = await read("/v1/policy", { body });
      const words = Object.entries(setting).map(([name, value]) => (name === "threshold" ? plain(value) : `${name.replaceAll("_", " ")} ${plain(value)}`));
      byId("apply-state").textContent = overridden ? this.inForceWords(words.join(", "), routers) : "For requests that name no threshold";
      byId("undo").hidden = !overridden;
    } catch (error) {
      byId("apply-state").textContent = error.message;
    }
    byId("apply").disabled = byId("undo").disabled = false;
  }

  // What was set, and the rule that overrides it now, if one does.
  inForceWords(words, routers) {
    const router = routers.find((one) => one.router === this.served()) ?? routers[0];
    if (this.about.autopilot === router.router) return `Set: ${words}. The autopilot overrides it for ${router.router}.`;
    if (router.policy === "admin") return `In force: ${words}`;
    return `Set: ${words}. ${router.policy} overrides it: threshold ${number(router.threshold, 3)} is in force now.`;
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
