// The table of decisions: the newest come by themselves, older ones by the page.

import { read } from "./api.js";
import { byId, el, options } from "./el.js";
import { explain } from "./explanation.js";
import { clock, milliseconds, number } from "./numbers.js";

const SHOWN = 50;
const OUTCOMES = ["answered", "refused", "failed", "broken", "gone", "crashed"];
const HEAD = ["Time", "Prompt", "Model", "Win rate", "Threshold", "Outcome", "Total"];
const NUMBERS = new Set(["Win rate", "Threshold", "Total"]);

// The same for a row of the store and for the event of the same request; request ids may repeat.
const keyOf = (row) => `${row.request_id} ${row.total_ms}`;

export class Decisions {
  constructor(about, complain) {
    this.about = about;
    this.complain = complain;
    this.rows = new Map();
    this.next = null;
    this.paged = false;
    this.waiting = [];
    options(byId("by-model"), [["", "all"], ...about.models.map((name) => [name, name])]);
    options(byId("by-outcome"), [["", "all"], ...OUTCOMES.map((name) => [name, name])]);
    this.body = el("tbody");
    byId("decisions").replaceChildren(
      el("thead", {}, el("tr", {}, ...HEAD.map((words) => el("th", { scope: "col", class: NUMBERS.has(words) ? "number" : null }, words)))),
      this.body,
    );
    let later;
    byId("find").addEventListener("input", () => {
      clearTimeout(later);
      later = setTimeout(() => this.load(), 250);
    });
    byId("by-model").addEventListener("change", () => this.load());
    byId("by-outcome").addEventListener("change", () => this.load());
    byId("waiting").addEventListener("click", () => this.showWaiting());
    byId("decisions").addEventListener("mouseleave", () => this.held() || this.showWaiting());
    byId("older").addEventListener("click", () => this.load(this.next));
    this.load();
  }

  filters() {
    return { text: byId("find").value.trim(), model: byId("by-model").value, outcome: byId("by-outcome").value };
  }

  async load(before = null) {
    const query = new URLSearchParams(Object.entries({ ...this.filters(), before: before ?? "" }).filter(([, value]) => value));
    const asked = (this.asked = query.toString());
    try {
      const page = await read(`/api/decisions?${query}`);
      if (asked !== this.asked) return;
      this.next = page.next;
      this.paged = before !== null;
      if (before === null) this.forget();
      this.put(page.decisions, false, false);
      byId("older").disabled = !page.next;
      byId("more").hidden = false;
      byId("decisions-note").textContent = page.kept ? "" : "Only the last 500 of this process are kept: configure a store to keep them.";
    } catch (error) {
      byId("decisions-note").textContent = error.message;
    }
  }

  forget() {
    this.waiting = [];
    this.rows.clear();
    this.body.replaceChildren();
  }

  // Whether somebody is at a row: nothing may then move under their hands.
  held() {
    const table = byId("decisions");
    return table.matches(":hover") || table.contains(document.activeElement) || table.querySelector("[aria-expanded='true']") !== null;
  }

  showWaiting(fresh = true) {
    this.put(this.waiting, true, fresh);
    this.waiting = [];
    byId("waiting").classList.remove("some");
  }

  // Newest first. Those that the filter leaves out are not shown.
  add(decisions, fresh) {
    const { text, model, outcome } = this.filters();
    const fits = (row) => (!model || row.model === model) && (!outcome || row.outcome === outcome) &&
      (!text || `${row.prompt ?? ""} ${row.request_id}`.toLowerCase().includes(text.toLowerCase()));
    this.waiting = [...decisions.filter(fits), ...this.waiting].slice(0, SHOWN);
    if (!this.held()) {
      this.showWaiting(fresh);
      return;
    }
    byId("waiting").textContent = `Show ${this.waiting.length} new`;
    byId("waiting").classList.toggle("some", this.waiting.length > 0);
  }

  put(decisions, first, fresh) {
    const made = decisions.filter((row) => !this.rows.has(keyOf(row))).map((row) => this.row(row, fresh));
    if (first) this.body.prepend(...made);
    else this.body.append(...made);
    if (first && !this.paged) {
      while (this.rows.size > SHOWN) {
        const oldest = this.body.lastElementChild;
        this.rows.delete(oldest.dataset.id);
        oldest.remove();
      }
    }
  }

  row(decision, fresh) {
    const strong = decision.model === this.about.pair[0];
    const side = strong ? "strong" : decision.model === this.about.pair[1] ? "weak" : "";
    const opener = el("button", { type: "button", "aria-expanded": "false" }, decision.prompt || `(${decision.path})`);
    const cell = (words, kind) => el("td", { class: kind }, words);
    const row = el("tr", { class: fresh ? "fresh" : null, "data-id": keyOf(decision) },
      cell(clock(decision.at)), el("td", { class: "prompt" }, opener), cell(decision.model ?? "–", side || null),
      cell(number(decision.win_rate, 4), "number"), cell(number(decision.threshold, 4), "number"),
      cell(decision.outcome, decision.outcome === "answered" ? null : "bad"), cell(milliseconds(decision.total_ms), "number"),
    );
    opener.addEventListener("click", () => this.open(opener, row, decision));
    this.rows.set(keyOf(decision), decision);
    return row;
  }

  open(opener, row, decision) {
    const opened = opener.getAttribute("aria-expanded") === "true";
    opener.setAttribute("aria-expanded", String(!opened));
    if (opened) row.nextElementSibling.remove();
    else row.after(el("tr", { "data-id": keyOf(decision) }, el("td", { colspan: HEAD.length }, explain(decision, this.about))));
  }
}
