// What happens now: counts, charts and the newest decisions, as the server sends them.

import { request, whatIsWrong } from "./api.js";
import { Chart, colour, numbers, pen, percents } from "./chart.js";
import { Decisions } from "./decisions.js";
import { byId, el, legend } from "./el.js";
import { events } from "./events.js";
import { money as dollars, milliseconds, number, percent } from "./numbers.js";
import { roles } from "./roles.js";

const SECONDS = 300;
const ROLLING = 30;
const FEW = 5; // of fewer prompts no share is drawn
const RETRY_MS = 1500;
const DRIFT = { alarm: "alarm", watching: "none seen", "warming up": "too early", "not watched": "–" };
const [TIME, N, ROUTED, STRONG, FAILED, COST, SHARE] = [0, 1, 2, 3, 4, 5, 9];

export class Live {
  constructor(about) {
    this.seconds = new Map();
    this.hub = null;
    this.last = 0;
    this.cards = new Map();
    this.decisions = new Decisions(about);
    this.roles = roles(about);
    byId("strong-title").textContent = `${this.roles.shareTitle}, over 30 s`;
    this.rate = new Chart(byId("rate"), () => this.describeRate());
    this.strong = new Chart(byId("strong"), () => this.describeStrong());
    if (about.workers) byId("live-note").textContent = "One of several worker processes; the table" + (about.store ? " pages through all of them." : ", too.");
  }

  enter() {
    this.decisions.enter();
    this.stop = new AbortController();
    this.follow(this.stop.signal);
  }

  leave() {
    this.stop?.abort();
  }

  // Follows until told to stop. The server ends every stream after a while; then it is asked again.
  async follow(signal) {
    while (!signal.aborted) {
      try {
        const answer = await request(`/api/events?hub=${this.hub ?? ""}&after=${this.last}`, { signal });
        if (!answer.ok) {
          this.state("down", await whatIsWrong(answer));
          if (answer.status === 403) return;
        } else {
          for await (const data of events(answer)) this.take(JSON.parse(data));
          continue;
        }
      } catch (error) {
        if (signal.aborted) return;
        this.state("down", "the server does not answer; asking again");
      }
      await new Promise((done) => setTimeout(done, RETRY_MS));
    }
  }

  state(kind, words) {
    byId("live-state").className = `state ${kind}`;
    byId("live-state").textContent = words;
  }

  take(event) {
    this.state("up", "connected");
    if (event.hub !== this.hub) {
      this.seconds.clear();
      if (this.hub !== null) this.decisions.load();
    }
    this.hub = event.hub;
    this.last = event.last;
    for (const second of event.seconds) this.seconds.set(second[TIME], second);
    for (const time of this.seconds.keys()) if (time <= event.now - SECONDS) this.seconds.delete(time);
    this.now = event.now;
    this.event = event;
    this.showCards(event);
    this.showCharts();
    if (event.decisions.length) this.decisions.add(event.decisions, !event.whole);
  }

  sum(column, seconds) {
    let sum = 0;
    for (let time = this.now - seconds; time < this.now; time++) sum += this.seconds.get(time)?.[column] ?? 0;
    return sum;
  }

  card(name, title, value, ...notes) {
    if (!this.cards.has(name)) {
      const made = { value: el("div", { class: "value", "data-figure": name }), notes: [el("p"), el("p"), el("p")] };
      byId("live-cards").append(el("div", { class: "card" }, el("h3", {}, title), made.value, ...made.notes));
      this.cards.set(name, made);
    }
    const card = this.cards.get(name);
    card.value.textContent = value;
    const told = notes.filter(Boolean);
    card.notes.forEach((note, k) => note.replaceChildren(told[k] ?? "\u00a0"));
  }

  showCards(event) {
    const [, routed, strong, failed, cost, saved, , , spent] = event.totals;
    const { many, reference, always } = this.roles;
    const all = event.totals[0];
    this.card("rate", "Requests / s", number(this.sum(N, 10) / 10, 1), `${number(all)} in all`);
    const target = event.target_share;
    const allowed = Math.min(...event.budgets.map((each) => each.strong_share ?? 1));
    this.card("strong", this.roles.share, routed ? percent(spent / routed) : "–",
      many ? `${number(strong)} of ${number(routed)} to ${reference}` : `${number(strong)} of ${number(routed)}`, target == null ? "" : `wanted ${percent(target)}`,
      allowed < Math.min(1, target ?? 1) ? `budget: ${percent(allowed)}` : "");
    const budget = event.budgets.toSorted((one, other) => other.spent_usd / other.usd - one.spent_usd / one.usd)[0];
    if (budget) {
      const over = budget.spent_usd > budget.planned_usd;
      this.card("spend", budget.per === "day" ? "Spent today" : `Spent this ${budget.per}`, dollars(budget.spent_usd), `of ${dollars(budget.usd)}`,
        `${dollars(Math.abs(budget.spent_usd - budget.planned_usd))} ${over ? "over" : "under"} plan`, meter(budget));
    } else {
      this.card("spend", "Spent", event.priced ? dollars(cost) : "–",
        event.priced ? `${dollars(this.sum(COST, 60) * 60)} an hour` : "no prices configured");
    }
    this.card("saved", "Saved", event.priced ? dollars(saved) : "–", event.priced ? `vs. ${always},` : "no prices configured",
      event.priced ? `at ${many ? "expected lengths" : "equal answer length"}` : "");
    const { routing, upstream, overhead } = event.latency;
    this.card("latency", "Upstream, median", milliseconds(upstream?.[0]), `99th: ${milliseconds(upstream?.[1])}`,
      `routing ${milliseconds(routing?.[0])}`, `overhead ${milliseconds(overhead?.[0])}`);
    this.card("failed", "Errors", all ? percent(failed / all, 2) : "–", `${number(failed)} of ${number(all)}`, this.models(event.models));
    this.showDrift(event.drift);
  }

  showDrift(routers) {
    if (!routers) return;
    const [name, watch] = Object.entries(routers).find(([, each]) => each.alarm) ?? Object.entries(routers)[0] ?? [];
    if (!name) return;
    this.card("drift", "Drift", DRIFT[watch.state] ?? watch.state, el("span", { class: `state ${watch.alarm ? "down" : watch.state === "watching" ? "up" : ""}` }, name),
      `${number(watch.n_prompts)} prompts`);
  }

  models(states) {
    const down = Object.entries(states).filter(([, up]) => !up).map(([name]) => name);
    return down.length ? el("span", { class: "state down", title: down.join(", ") }, `circuit open: ${down.join(", ")}`) : el("span", { class: "state up" }, "all models up");
  }

  showCharts() {
    const times = Array.from({ length: SECONDS - 1 }, (_, k) => this.now - SECONDS + 1 + k);
    const row = (time) => this.seconds.get(time);
    const all = times.map((time) => row(time)?.[N] ?? 0);
    const strong = times.map((time) => row(time)?.[STRONG] ?? 0);
    let [routed, chosen] = [0, 0];
    const share = times.map((time, k) => {
      routed += (row(time)?.[ROUTED] ?? 0) - (k >= ROLLING ? row(times[k - ROLLING])?.[ROUTED] ?? 0 : 0);
      chosen += (row(time)?.[SHARE] ?? 0) - (k >= ROLLING ? row(times[k - ROLLING])?.[SHARE] ?? 0 : 0);
      return routed >= FEW ? chosen / routed : null;
    });
    const ago = times.map((time) => time - this.now);
    legend("rate-legend", [[this.roles.to, colour("strong-fill"), "block"], ["others", colour("weak-fill"), "block"]]);
    legend("strong-legend", [["share", colour("strong")], ...(this.event.target_share == null ? [] : [["wanted", colour("faint"), "dashed"]])]);
    this.rate.show([ago, all, strong], { words: `Requests per second over five minutes; ${number(this.sum(N, 10) / 10, 1)} now.` });
    this.strong.show([ago, share], { words: `${this.roles.shareTitle}, over five minutes; ${percent(share.at(-1))} now.` });
  }

  ago(k) {
    return `${number(-this.rate.data[0][k])} s ago`;
  }

  describeRate() {
    const bars = (name) => ({ fill: colour(name), stroke: colour(name), width: 0, points: { show: false }, paths: uPlot.paths.bars({ size: [1, 100], gap: 0 }) });
    return {
      x: { words: "seconds ago", values: (u, values) => values.map((v) => number(Math.abs(v))) },
      y: { words: "", values: numbers },
      scales: { x: { time: false, range: [-SECONDS, 0] }, y: { range: (u, low, high) => [0, Math.max(5, 1.15 * (high ?? 0))] } },
      series: [{}, bars("weak-fill"), bars("strong-fill")],
      tip: (k) => `${this.ago(k)}: ${number(this.rate.data[1][k])} requests, ${number(this.rate.data[2][k])} ${this.roles.to}`,
    };
  }

  describeStrong() {
    return {
      x: { words: "seconds ago", values: (u, values) => values.map((v) => number(Math.abs(v))) },
      y: { words: "", values: percents },
      scales: { x: { time: false, range: [-SECONDS, 0] }, y: { range: [0, 1] } },
      series: [{}, { stroke: colour("strong"), width: 2, points: { show: false } }],
      tip: (k) => `${this.ago(k)}: ${this.roles.spent(percent(this.strong.data[1][k]))}`,
      hooks: { drawAxes: [(u) => {
        const target = this.event.target_share;
        if (target != null) pen(u).line([-SECONDS, target], [0, target], { stroke: colour("faint"), dash: [5, 5] });
      }] },
    };
  }
}

// What is spent of a budget, and where the plan is.
function meter(budget) {
  const [spent, plan] = [el("span", { class: "spent" }), el("span", { class: "plan" })];
  spent.style.width = `${Math.min(100, (100 * budget.spent_usd) / budget.usd)}%`;
  plan.style.left = `${Math.min(100, (100 * budget.planned_usd) / budget.usd)}%`;
  return el("span", { class: budget.spent_usd > budget.planned_usd ? "meter over" : "meter" }, spent, plan);
}
