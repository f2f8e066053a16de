// Why a request went where it went.

import { read } from "./api.js";
import { el } from "./el.js";
import { dollars, milliseconds, moment, money, number, points } from "./numbers.js";
import { candidates, reasons } from "./reasons.js";
import { scale } from "./scale.js";

function list(entries) {
  return el("dl", {}, ...entries.filter(([, value]) => value !== null && value !== undefined && value !== "")
    .flatMap(([words, value]) => [el("dt", {}, words), el("dd", {}, value)]));
}

// What the router goes by, asked for when it is opened: nothing of it is stored.
function reasonsOf(decision) {
  if (!decision.router || decision.threshold == null) return null;
  if (!decision.prompt) return el("p", { class: "faint" }, "What it rests on is not known: the prompt is not kept (store.prompts).");
  const place = el("div", {}, el("h4", {}, "What it rests on"), el("p", { class: "faint" }, "asking the router"));
  const model = `router-${decision.router}-${Math.min(1, decision.threshold).toFixed(6)}`;
  read("/v1/route", { body: { model, prompt: decision.prompt, explain: true } })
    .then(({ explanation }) => place.lastChild.replaceWith(reasons({ ...explanation, candidates: null })))
    .catch((error) => { place.lastChild.textContent = error.message; });
  return place;
}

const tidy = (words) => words.replaceAll("_", " ");

// What was expected of the one that was chosen among many: its quality against the reference's, and its bill.
function expected({ weighed, decided, reference }) {
  const one = weighed.find(({ model }) => model === decided);
  const quality = decided === reference ? "the reference" : one?.win_rate == null ? "quality not known" : points(2 * one.win_rate - 1);
  return one?.usd == null ? quality : `${quality} for ${money(one.usd)}`;
}

// Why it went where it went, in a few words.
export function inWords(decision) {
  const { win_rate: rate, threshold, policy, reason, cascade, decided, weighed } = decision;
  if (cascade) return `cascade: ${cascade}`;
  if (rate == null || threshold == null) return reason ? tidy(reason) : decided ? "named itself" : "refused before";
  const compared = weighed?.length ? `${expected(decision)}, threshold ${threshold > 1 ? "1" : number(threshold, 3)}` : `win rate ${number(rate, 3)} ${rate >= threshold ? "≥" : "<"} ${threshold > 1 ? "1" : number(threshold, 3)}`;
  return [compared, reason && reason !== "win_rate" ? tidy(reason) : "", policy ?? ""].filter(Boolean).join(", ");
}

export function explain(decision, about) {
  const { win_rate: rate, threshold } = decision;
  const many = Boolean(decision.weighed?.length);
  const chosen = many ? decision.decided : ["the strong model", "the weak model"][about.pair.indexOf(decision.decided)] ?? decision.decided;
  const why = many && rate != null && threshold != null
    ? `${chosen} (${expected(decision)}): least loss of quality and bill together at the threshold ${number(Math.min(1, threshold), 3)}`
    : rate != null && threshold != null
    ? `${chosen}, as the win rate is ${rate >= threshold ? "at or above" : "below"} the threshold`
    : `${chosen ?? "nobody"}: ${decision.reason ?? "the request was refused before"}`;
  return el("div", { class: "explained" },
    el("div", {},
      el("h4", {}, "Decision"),
      rate != null && threshold != null && !many ? scale(rate, threshold) : null,
      list([["to", why], ["asked for", decision.requested], ["router", decision.router], ["policy", decision.policy],
        ["reason", decision.reason], ["rule", decision.rule], ["key", decision.key_id], ["session", decision.session]]),
    ),
    el("div", {},
      el("h4", {}, "What happened"),
      list([["cascade", decision.cascade], ["tries", decision.trail?.length ? el("ol", {}, ...decision.trail.map((attempt) => el("li", {}, attempt))) : null],
        ["status", String(decision.status)], ["tokens", decision.input_tokens == null ? null : `${number(decision.input_tokens)} in, ${number(decision.output_tokens)} out`],
        ["cost", decision.cost_usd == null ? null : dollars(decision.cost_usd)],
        ["time", `${milliseconds(decision.routing_ms)} routing, ${milliseconds(decision.upstream_ms)} upstream, ${milliseconds(decision.total_ms)} in all`],
        ["ended", moment(decision.at)], ["request", decision.request_id]]),
    ),
    decision.weighed?.length ? el("div", {}, el("h4", {}, "Candidates weighed"),
      candidates(decision.weighed.map((one) => ({ ...one, quality: one.win_rate == null ? null : 1 - 2 * one.win_rate })))) : null,
    reasonsOf(decision),
    decision.prompt ? el("div", {}, el("h4", {}, "Prompt"), el("pre", { tabindex: "0" }, decision.prompt)) : null,
  );
}
