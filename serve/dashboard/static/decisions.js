// The table of decisions: the newest come by themselves, older ones by the page.

import { read } from "./api.js";
import { byId, el, options } from "./el.js";
import { explain, inWords } from "./explanation.js";
import { clock, dollars, milliseconds } from "./numbers.js";
import { asked as askedOf, remember } from "./place.js";

const SHOWN = 50;
const FIELDS = { text: "find", model: "by-model", outcome: "by-outcome", key_id: "by-key", rule: "by-rule" };
const OUTCOMES = ["answered", "refused", "failed", "broken", "gone", "crashed"];
const HEAD = [["Time", "time"], ["Prompt", "prompt"], ["Model", "model"], ["Why", "why-short"], ["Key", "key"], ["Cost", "cost number"],
  ["Total", "total number"], ["Outcome", "outcome"]];

// The same for a row of the store and for the event of the same request; request ids may repeat.
const keyOf = (row) => `${row.request_id} ${row.total_ms}`;

export class Decisions {
  constructor(about) {
    this.about = about;
    this.shown = [];
    this.opened = new Map();
    this.next = null;
    this.waiting = [];
    this.told = [];
    this.paged = false;
    options(byId("by-model"), [["", "all"], ...about.models.map((name) => [name, name])]);
    options(byId("by-outcome"), [["", "all"], ...OUTCOMES.map((name) => [name, name])]);
    options(byId("by-rule"), [["", "all"], ...about.rules.map((name) => [name, name])]);
    byId("by-rule-field").hidden = !about.rules.length;
    this.body = el("tbody");
    byId("decisions").replaceChildren(
      el("thead", {}, el("tr", {}, ...HEAD.map(([words, kind]) => el("th", { scope: "col", class: kind }, words)))),
      this.body,
    );
    this.body.parentElement.classList.toggle("keyless", !about.keys);
    byId("by-key-field").hidden = !about.keys;
    const wanted = askedOf();
    for (const [name, id] of Object.entries(FIELDS)) byId(id).value = wanted.get(name) ?? "";
    this.say("Asking for them.");
    let later;
    byId("find").addEventListener("input", () => {
      clearTimeout(later);
      later = setTimeout(() => this.load(), 250);
    });
    byId("by-key").addEventListener("change", () => this.load());
    byId("by-model").addEventListener("change", () => this.load());
    byId("by-outcome").addEventListener("change", () => this.load());
    byId("by-rule").addEventListener("change", () => this.load());
    byId("waiting").addEventListener("click", () => this.showWaiting());
    byId("decisions").addEventListener("mouseleave", () => this.held() || this.showWaiting());
    byId("older").addEventListener("click", () => this.load(this.next));
    this.load();
  }

  // The filters of the address, where it has any; else those that are set.
  enter() {
    const wanted = askedOf();
    if (!wanted.size) remember("live", this.filters());
    else if (Object.entries(FIELDS).some(([name, id]) => (wanted.get(name) ?? "") !== byId(id).value)) {
      for (const [name, id] of Object.entries(FIELDS)) byId(id).value = wanted.get(name) ?? "";
      this.load();
    }
  }

  filters() {
    return Object.fromEntries(Object.entries(FIELDS).map(([name, id]) => [name, byId(id).value.trim()]));
  }

  async load(before = null) {
    const query = new URLSearchParams(Object.entries({ ...this.filters(), before: before ?? "" }).filter(([, value]) => value));
    remember("live", this.filters());
    const asked = (this.asked = query.toString());
    try {
      const page = await read(`/api/decisions?${query}`);
      if (asked !== this.asked) return;
      this.next = page.next;
      this.paged = before !== null;
      if (!this.paged) this.forget(page.decisions[0]?.at ?? 0);
      this.shown.push(...page.decisions.filter(this.unseen()));
      this.draw();
      byId("older").disabled = !page.next;
      byId("more").hidden = false;
      byId("decisions-note").textContent = page.kept ? "" : "Only the last 500 of this process are kept: configure a store to keep them.";
    } catch (error) {
      if (asked !== this.asked) return;
      byId("decisions-note").textContent = error.message;
      if (!this.shown.length) this.say(error.message);
    }
  }

  // Keeps what was told of since `at`: a store has it a little later.
  forget(at) {
    this.shown = this.told.filter((row) => row.at >= at && this.fits(row)).slice(0, SHOWN);
    this.waiting = [];
    this.opened.clear();
    this.showCount();
  }

  fits(row) {
    const { text, model, outcome, key_id: key, rule } = this.filters();
    return (!model || row.model === model) && (!outcome || row.outcome === outcome) && (!key || row.key_id === key) &&
      (!rule || row.rule === rule) && (!text || `${row.prompt ?? ""} ${row.request_id}`.toLowerCase().includes(text.toLowerCase()));
  }

  // Whether somebody is at a row, or has paged on: nothing may then move under their hands.
  held() {
    const table = byId("decisions");
    return this.paged || this.opened.size > 0 || table.matches(":hover") || table.contains(document.activeElement);
  }

  showCount() {
    byId("waiting").textContent = `Show ${this.waiting.length} new`;
    byId("waiting").classList.toggle("some", this.waiting.length > 0);
  }

  showWaiting(fresh = true) {
    const added = this.waiting.filter(this.unseen());
    this.shown = [...added, ...this.shown].slice(0, this.paged ? undefined : SHOWN);
    this.waiting = [];
    this.showCount();
    const kept = new Set(this.shown.map(keyOf));
    for (const key of this.opened.keys()) if (!kept.has(key)) this.opened.delete(key);
    if (added.length) this.draw(new Set(fresh ? added : []));
  }

  // Newest first. Those that the filter leaves out are not shown.
  add(decisions, fresh) {
    this.told = [...decisions, ...this.told].slice(0, SHOWN);
    this.waiting = [...decisions.filter((row) => this.fits(row)), ...this.waiting].slice(0, SHOWN);
    if (this.held()) this.showCount();
    else this.showWaiting(fresh);
  }

  // A filter that lets a decision through once.
  unseen() {
    const seen = new Set(this.shown.map(keyOf));
    return (row) => !seen.has(keyOf(row)) && seen.add(keyOf(row));
  }

  // The rows are made anew: what is in them changes, not where they are.
  draw(fresh = new Set()) {
    if (!this.shown.length) {
      const filtered = Object.values(this.filters()).some(Boolean);
      this.say(filtered ? "No decision is like that." : `Nothing has been asked yet. Clients find this server at ${location.origin}/v1.`);
      return;
    }
    this.body.replaceChildren(...this.shown.flatMap((decision) => [
      this.row(decision, fresh.has(decision)), ...[this.opened.get(keyOf(decision))].filter(Boolean)]));
  }

  say(words) {
    this.body.replaceChildren(el("tr", { class: "none" }, el("td", { colspan: HEAD.length }, words)));
  }

  row(decision, fresh) {
    const key = keyOf(decision);
    const side = decision.model === this.about.pair[0] ? "strong" : this.about.candidates.includes(decision.model) ? "weak" : "";
    const opener = decision.prompt ? el("button", { type: "button" }, decision.prompt)
      : el("button", { type: "button", class: "untold" }, decision.router ? "prompt not kept" : decision.path);
    opener.setAttribute("aria-expanded", String(this.opened.has(key)));
    const cells = [clock(decision.at), opener, el("span", { class: side, title: decision.model }, decision.model ?? "–"),
      el("span", { title: inWords(decision) }, inWords(decision)), decision.key_id ?? "–", dollars(decision.cost_usd), milliseconds(decision.total_ms),
      el("span", { class: decision.outcome === "answered" ? null : "bad" }, decision.outcome)];
    const row = el("tr", { class: fresh ? "fresh" : null }, ...HEAD.map(([, kind], k) => el("td", { class: kind }, cells[k])));
    opener.addEventListener("click", () => this.open(opener, row, decision));
    return row;
  }

  open(opener, row, decision) {
    const key = keyOf(decision);
    const opened = this.opened.get(key);
    opener.setAttribute("aria-expanded", String(!opened));
    if (opened) {
      opened.remove();
      this.opened.delete(key);
      return;
    }
    this.opened.set(key, el("tr", { class: "why" }, el("td", { colspan: HEAD.length - (this.about.keys ? 0 : 1) }, explain(decision, this.about))));
    row.after(this.opened.get(key));
  }
}
