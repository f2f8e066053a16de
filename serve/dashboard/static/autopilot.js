// The autopilot: what is certified, what it rests on, and what opens next.

import { byId, el, tableParts } from "./el.js";
import { money as dollars, moment, number, percent, points } from "./numbers.js";

// Whom else than the reference the certificate sends requests to.
const others = ({ candidates, weak }) => (candidates.length > 2 ? "cheaper candidates" : weak);

const STATES = {
  "warming up": ({ strong }) => `Warming up: ${strong} answers everything; the first requests say how prompts differ.`,
  earning: ({ strong }) => `Learning: ${strong} answers everything until comparisons certify more.`,
  certified: (status) => status.threshold > 0 ? `${percent(status.certified_share, 0)} may go to ${others(status)}; ${status.strong} answers the rest.` : `${status.strong} answers everything.`,
  paused: (status) => `Paused (${status.paused}): what is certified is served, nothing new is compared.`,
  "store away": () => "The store is away: what is certified is served, nothing new is compared.",
  superseded: ({ strong }) => `Other servers of this store have a newer configuration: ${strong} answers everything here until this one is reloaded.`,
};

export class Autopilot {
  constructor(act) {
    this.act = act;
  }

  show(status, about) {
    const key = JSON.stringify(status);
    if (this.shown === key) return;
    this.shown = key;
    byId("autopilot").hidden = !status;
    if (!status) return;
    byId("autopilot-cards").replaceChildren(...cards(status));
    byId("autopilot-state").textContent = STATES[status.state](status) + (status.why ? ` What was certified before is void: ${reason(status.why)}.` : "");
    byId("autopilot-more").replaceChildren(generations(status), events(status));
    const button = (label, action) => el("button", { type: "button", onclick: (event) => this.post(action, event.target) }, label);
    byId("autopilot-buttons").replaceChildren(...(about.admin
      ? [status.paused ? button("Resume", "resume") : button("Pause comparing", "pause"), button("Start over…", "reset")] : []));
  }

  post(action, button) {
    if (action === "reset" && button.dataset.sure === undefined) {
      button.dataset.sure = "";
      button.textContent = "Void what is certified?";
      return;
    }
    this.act({ kind: "post", path: "/v1/autopilot", body: { action } }, null);
  }
}

function cards(status) {
  const card = (title, value, ...notes) => el("div", { class: "card" }, el("h4", {}, title), el("div", { class: "value" }, value),
    ...notes.filter(Boolean).map((note) => el("p", {}, note)));
  const { loss, bound, next, comparisons, training, labels, history } = status;
  const today = history.at(-1);
  return [
    card(`Certified for ${others(status)}`, percent(status.certified_share, 0), status.threshold == null ? "nothing yet" : below(status),
      `router ${status.router}, decides by ${decidesBy(status)}`),
    card("Change of quality", loss ? points(loss.value) : "–", loss ? `${points(loss.high)} to ${points(loss.low)} over all prompts` : "nothing is sent away",
      loss ? `if ${others(status)} ${others(status) === status.weak ? "answers" : "answer"} ${percent(status.certified_share, 0)} of them` : "", `bound ${points(bound.max_loss)}, ${percent(bound.confidence, 0)}`),
    card("Comparisons", number(comparisons.n), `${dollars(comparisons.usd)}, at most ${dollars(status.max_usd_per_day)} a day`,
      comparisons.failed ? `${number(comparisons.failed)} failed` : comparisons.judge_disagrees_with_itself == null ? "" : `judge disagrees with itself: ${percent(comparisons.judge_disagrees_with_itself, 0)}`),
    card("Next step", next ? shareAfter(next.share, status.certified_share) : "–", next?.comparisons != null ? `after about ${number(next.comparisons)} comparisons` : next ? "not in sight" : status.certified_share > 0 ? "all that can be is certified" : "the first requests say which",
      next?.usd != null ? `for ${dollars(next.usd)}` : ""),
    card("Saved, net", dollars(status.net_saved_usd), `${dollars(status.saved_usd)} saved, ${dollars(comparisons.usd)} for comparisons`, today ? `today ${dollars(today.saved_usd - today.compared_usd)}` : "",
      `${number(status.requests.weak)} of ${number(status.requests.n)} requests to ${others(status)}`),
    ...(training?.on ? [card("Training", training.running ? "running" : number(training.comparisons), training.running ? "the next generation" : "comparisons to learn from",
      training.next_at == null ? "" : `next at ${number(training.next_at)}`)] : []),
    ...(labels?.n ? [card("Judge beside people", points(-labels.judge_bias), `bias over ${number(labels.n)} labels`, labels.needed == null ? "" : `about ${number(labels.needed)} tell it from the bound`)] : []),
  ];
}

// Which prompts, or of a cascade which answers, the certificate is about.
function below({ threshold, generation, decides_by: by, candidates }) {
  if (candidates.length > 2) return `up to threshold ${number(threshold, 3)}`;
  const score = by === "answer" ? "answers with a doubt" : generation?.score === "learned" ? "prompts with a learned score" : "prompts with a win rate";
  return `${score} below ${number(threshold, 3)}`;
}

// The next share, told from the one now: as precisely as it takes.
const shareAfter = (share, now) => percent(share, percent(share, 0) === percent(now, 0) ? 1 : 0);

// What the autopilot looks at, and what looking costs.
function decidesBy({ decides_by: by, strong, weak, weak_cost: cost, certified_share: share }) {
  if (by !== "answer") return "the prompt";
  const unused = share > 0 && share <= cost ? ": more than is certified, so it is not used yet" : "";
  return `${weak}'s answer, which costs ${percent(cost)} of ${strong}'s${unused}`;
}

function generations({ generations: all }) {
  const head = ["Generation", "Since", "Comparisons", "Steps open", "Certified", "State"];
  const rows = all.toReversed().map((one) => [`${one.number}${one.score === "learned" ? " (learned)" : ""}`, one.began_at ? moment(one.began_at) : "–", number(one.n_compared ?? 0),
    one.steps ? `${one.steps_open} of ${one.steps}` : "–", percent(one.certified_share, 0), one.closed ? `void: ${one.closed}` : one.role]);
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Generations" }, el("table", { class: "stack" }, ...tableParts(head, rows, null)));
}

const reason = (why) => (why === "drift" ? "the traffic has changed (drift)" : why);

const EVENTS = {
  "took over": ({ generation, before }) => `generation ${generation} took over from ${before}`,
  "generation began": ({ generation, trained_on: n }) => `generation ${generation} began${n ? `, learned from ${number(n)} comparisons` : ""}`,
  "trained, not expected to pay": ({ trained_on: n }) => `trained on ${number(n)} comparisons: no better than what serves`,
  opened: ({ generation, share, steps }) => `step ${steps} of generation ${generation} opened: ${percent(share, 0)} certified`,
  closed: ({ generation, why }) => `${generation == null ? "" : `generation ${generation} `}void: ${reason(why)}`,
  "chain made": ({ generation, steps }) => `generation ${generation}: ${steps} steps to certify, the safest first`,
  paused: ({ why }) => `comparing paused: ${why}`,
  pause: () => "paused by an administrator", resume: () => "resumed", reset: () => "started over by an administrator", rollback: () => "rolled back by an administrator",
};

function events({ events: all }) {
  return el("ol", { class: "events" }, ...all.slice(-8).toReversed().map((event) =>
    el("li", {}, el("span", { class: "faint" }, `${moment(event.at)} `), EVENTS[event.what]?.(event) ?? event.what + (event.why ? `: ${event.why}` : ""))));
}
