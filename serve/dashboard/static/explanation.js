// Why a request went where it went.

import { el } from "./el.js";
import { dollars, milliseconds, moment, number } from "./numbers.js";
import { scale } from "./scale.js";

function list(entries) {
  return el("dl", {}, ...entries.filter(([, value]) => value !== null && value !== undefined && value !== "")
    .flatMap(([words, value]) => [el("dt", {}, words), el("dd", {}, value)]));
}

export function explain(decision, about) {
  const { win_rate: rate, threshold } = decision;
  const chosen = decision.decided === about.pair[0] ? "the strong model" : decision.decided === about.pair[1] ? "the weak model" : decision.decided;
  const why = rate != null && threshold != null
    ? `${chosen}, as the win rate is ${rate >= threshold ? "at or above" : "below"} the threshold`
    : `${chosen ?? "nobody"}: ${decision.reason ?? "the request was refused before"}`;
  return el("div", { class: "explained" },
    el("div", {},
      el("h4", {}, "Decision"),
      rate != null && threshold != null ? scale(rate, threshold) : null,
      list([["to", why], ["asked for", decision.requested], ["router", decision.router], ["policy", decision.policy],
        ["reason", decision.reason], ["key", decision.key_id], ["session", decision.session]]),
    ),
    el("div", {},
      el("h4", {}, "What happened"),
      list([["tries", decision.trail?.length ? el("ol", {}, ...decision.trail.map((attempt) => el("li", {}, attempt))) : null],
        ["status", String(decision.status)], ["tokens", decision.input_tokens == null ? null : `${number(decision.input_tokens)} in, ${number(decision.output_tokens)} out`],
        ["cost", decision.cost_usd == null ? null : dollars(decision.cost_usd)],
        ["time", `${milliseconds(decision.routing_ms)} routing, ${milliseconds(decision.upstream_ms)} upstream, ${milliseconds(decision.total_ms)} in all`],
        ["ended", moment(decision.at)], ["request", decision.request_id]]),
    ),
    decision.prompt ? el("div", {}, el("h4", {}, "Prompt"), el("pre", { tabindex: "0" }, decision.prompt)) : null,
  );
}
