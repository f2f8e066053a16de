// The first view: am I saving money, is quality holding, what should I change. The server reckons; this shows it.

import { read } from "./api.js";
import { actions } from "./actions.js";
import { Autopilot } from "./autopilot.js";
import { byId, el, tableParts } from "./el.js";
import { roles } from "./roles.js";
import { clock, money as dollars, number, percent, points } from "./numbers.js";
import { QualityBySpan, SavingBySpan } from "./spans.js";

const EVERY_MS = 10_000;
const OLD_S = 15; // figures of a busy store are kept for a while
const STATES = { good: "✓", bad: "✕", unknown: "–" };

export class Overview {
  constructor(about, complain) {
    this.about = about;
    this.complain = complain;
    this.roles = roles(about);
    this.shown = {};
    this.saving = new SavingBySpan();
    this.quality = new QualityBySpan();
    this.autopilot = new Autopilot((action) => this.act(action));
    byId("by").addEventListener("change", () => this.load());
    document.addEventListener("visibilitychange", () => document.hidden || !this.entered || this.load());
  }

  async enter() {
    this.entered = true;
    this.timer = setInterval(() => document.hidden || this.load(), EVERY_MS);
    await this.load();
  }

  leave() {
    this.entered = false;
    clearInterval(this.timer);
  }

  async load() {
    const by = byId("by").value;
    try {
      const seen = await read(`/api/overview?by=${by}`);
      if (by !== byId("by").value) return;
      byId("overview-note").textContent = seen.age_s > OLD_S ? `Money and quality as of ${clock(seen.read_at)}` : "";
      this.show(seen);
    } catch (error) {
      byId("overview-note").textContent = error.message;
    }
  }

  // Makes a part anew only where it has changed: a button keeps its focus.
  part(id, facts, make) {
    const key = JSON.stringify(facts);
    if (this.shown[id] === key) return;
    this.shown[id] = key;
    const made = make(facts);
    byId(id).hidden = !made.length;
    byId(id).replaceChildren(...made);
  }

  show(seen) {
    byId("overview-body").hidden = false;
    byId("advice-title").textContent = seen.autopilot ? "What happens next?" : "What should I change?";
    this.part("verdict-line", seen.verdict, (parts) => parts.map(({ state, text }) =>
      el("span", { class: `part ${state}` }, el("span", { class: "sign", "aria-hidden": "true" }, STATES[state]), text[0].toUpperCase() + text.slice(1))));
    this.part("alarms", seen.alarms, (alarms) => alarms.map((alarm) => el("div", { class: "panel alarm" },
      el("h3", {}, alarm.cause), el("p", {}, alarm.effect), el("p", { class: "step" }, el("span", {}, alarm.do), this.button(alarm.action)))));
    this.part("saving-facts", [seen.saving, seen.kept], () => savingFacts(seen, this.roles));
    this.part("quality-facts", [seen.loss, seen.ratings, seen.bound], () => qualityFacts(seen, this.roles));
    this.part("advice", [seen.advice], ([advice]) => [el("p", { class: "big" }, advice.text), el("p", {}, advice.worth),
      ...[this.button(advice.action, "primary")].filter(Boolean), ...(advice.action?.kind === "copy" ? [el("pre", {}, el("code", {}, advice.action.text))] : [])]);
    this.part("checklist", seen.checklist, (steps) => steps.every((step) => step.done) ? [] : checklist(steps));
    this.part("why", seen.why, (rules) => rules.flatMap((rule) => [el("dt", {}, rule.router), el("dd", {}, rule.words)]));
    this.part("budgets", seen.budgets, (budgets) => budgets.length ? [budgetTable(budgets, this.roles)] : []);
    this.part("cascade", [seen.cascade], ([cascade]) => cascade ? cascadeFacts(cascade, this.roles) : []);
    this.autopilot.show(seen.autopilot, this.about);
    this.saving.show(seen.spans);
    this.quality.show(seen.spans, seen.bound);
  }

  button(action, kind = "") {
    return action && el("button", { type: "button", class: kind, onclick: (event) => this.act(action, event.target) }, action.label);
  }

  async act(action, button) {
    try {
      const said = await actions[action.kind](action);
      if (said && button) button.textContent = said;
      if (action.kind === "post") await this.load();
    } catch (error) {
      this.complain(error.message);
    }
  }
}

const range = (low, high, format) => (low == null ? "" : `${format(low)} to ${format(high)}`);
const line = (...words) => el("p", { class: "faint" }, ...words);
const value = (words, figure) => el("div", { class: "value", "data-figure": figure }, words);

function savingFacts({ saving, kept }, { reference }) {
  if (!saving) return [value("–", "saved-total"), line("Nothing is known yet: no routed request whose prices are known.")];
  return [
    value(saving.share == null ? "–" : `${percent(saving.share, 0)} · ${dollars(saving.saved_usd)}`, "saved-total"),
    line(saving.low == null ? `${saving.method[0].toUpperCase()}${saving.method.slice(1)}.` : `${range(saving.low, saving.high, (part) => percent(part, 1))}; ${range(saving.low_usd, saving.high_usd, dollars)} (95\u00a0%)`),
    line(`${number(saving.n_requests)} requests cost ${dollars(saving.spent_usd)}`, saving.compared_usd ? `, comparisons ${dollars(saving.compared_usd)}` : "",
      `; always asking ${reference} ${dollars(saving.always_usd)}.`),
    line(saving.month_usd == null ? "" : `${dollars(saving.month_usd)} a month at this rate. `, kept ? "" : "Since this process started; a store keeps more."),
  ];
}

const BOUND = { held: "in force", void: "void", overridden: "overridden", broken: "not kept" };

function qualityFacts({ loss, ratings, bound, reference }, roles) {
  const found = [value(loss?.tells ? points(loss.value) : "–", "quality-change")];
  if (!loss) found.push(line(`Not measured: no answer was compared with ${roles.reference}'s.`));
  else if (loss.weak_share === 0) found.push(line(`${reference} answers everything: nothing is lost.`));
  else {
    found.push(line(`${range(-loss.high, -loss.low, (part) => points(-part))} (95\u00a0%) against ${reference}, over all requests so far`),
      line(`${percent(loss.weak_share, 0)} were answered by others: ${number(loss.n_comparisons)} comparisons of their answers${loss.tells ? "" : ", too few to tell"}`));
  }
  if (bound) {
    const good = bound.state === "held";
    found.push(el("p", {}, el("span", { class: `state ${good ? "up" : "down"}` }, `Bound of ${points(bound.max_loss)}: ${BOUND[bound.state]}`),
      bound.confidence ? ` (${percent(bound.confidence, 0)} confidence, ${bound.source})` : ` (${bound.source})`));
    if (bound.why) found.push(line(`${bound.why}.`));
  } else found.push(line("No bound is promised."));
  if (ratings) {
    found.push(line(`Users' ratings: ${number(ratings.others, 2)} for ${number(ratings.n[1])} answers of others, ${number(ratings.reference, 2)} for ${number(ratings.n[0])} of ${reference}, on other prompts.`));
  }
  return found;
}

function checklist(steps) {
  const next = steps.find((step) => !step.done);
  return [el("h3", {}, "From stand-ins to a certified router"), el("ol", { class: "steps" }, ...steps.map((step) =>
    el("li", { class: step.done ? "done" : step === next ? "next" : "", "aria-current": step === next ? "step" : null },
      el("strong", {}, step.name), step.done ? el("span", { class: "good" }, " done") : ` ${step.how}`)))];
}

function budgetTable(budgets, roles) {
  const head = ["Budget", "Spent", "Plan by now", "Ceiling", "Prompts to come", "Allows"];
  const rows = budgets.map((one) => [`${one.name.replace("budget:", "")}${one.hard ? ", hard" : ""}`, dollars(one.spent_usd), dollars(one.planned_usd),
    dollars(one.usd), number(one.prompts_to_come), roles.spent(percent(one.strong_share))]);
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Budgets" }, el("table", { class: "stack" }, ...tableParts(head, rows)));
}

const REASONS = { verifier: "the verifier expects the next answer to be better", empty: "empty", refusal: "a refusal", length: "cut short", json: "not the JSON that was asked for",
  tools: "tool calls that are wrong", checker: "your checker refused it", unread: "it could not be read" };

function cascadeFacts(found, { reference }) {
  const share = found.n_read ? found.n_escalated / found.n_read : null;
  return [
    el("h3", {}, "Cascade"),
    el("p", {}, `${number(found.n_read)} cheap answers read since this process started, ${percent(share)} escalated`,
      found.n_escalated ? ": " + Object.entries(found.reasons).map(([reason, n]) => `${number(n)} ${REASONS[reason] ?? reason}`).join(", ") + "." : "."),
    line(`Saved ${dollars(found.saved_usd)} against always asking ${reference}; ${dollars(found.unused_usd)} went to answers that were not returned.`),
  ];
}
