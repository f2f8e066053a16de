"""Explains decisions: the figures behind each, its cost and its savings."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from pointsman.core.arrays import Float32Array
from pointsman.core.decision import Decision
from pointsman.core.dollars import dollars
from pointsman.core.knn import nearest
from pointsman.core.pair import ModelPair
from pointsman.core.reference import Reference
from pointsman.core.routers.knn import KNNRouter
from pointsman.serve.drift.monitor import DriftMonitor
from pointsman.serve.engine.explain_cascade import cascade_lines, explain_cascade
from pointsman.serve.http.errors import RequestError
from pointsman.serve.money.price_list import ListedPrice
from pointsman.serve.policy.served_router import ServedRouter
from pointsman.serve.protocols.token_count import count_tokens
from pointsman.serve.request.context import RequestContext

__all__ = ["Explainer", "explanation_lines"]

_OF_CALIBRATION = ("win_rate_percentile", "calibration", "strong_share", "spend_share")
_N_NEAREST = 3
_OUTPUT_TOKENS = 300


class Explainer:
    """Explains new and stored decisions of a set of routers."""

    def __init__(
        self,
        routers: Mapping[str, ServedRouter],
        pair: ModelPair,
        price_list: Mapping[str, ListedPrice],
        *,
        drift: DriftMonitor | None = None,
    ) -> None:
        self._routers = routers
        self._pair = pair
        self._price_list = price_list
        self._drift = drift

    @staticmethod
    def wanted_by(document: Mapping[str, Any]) -> bool:
        """Whether a request for a decision asks for an explanation, too.

        Raises:
            RequestError: 400, `explain` is neither true nor false.
        """
        explain = document.get("explain", False)
        if not isinstance(explain, bool):
            raise RequestError(f"explain is {explain!r:.60}, wanted true or false", param="explain")
        return explain

    def explain_context(self, decision: Decision, context: RequestContext) -> dict[str, Any]:
        """`explain` for a request that was just decided, with its prompt."""
        request = context.request
        found = self.explain(decision, prompt=request.prompt, embedding=context.embedding)
        if context.rule is not None:
            found["rule"] = context.rule.to_dict()
        if context.score is not None:  # learned from comparisons: the calibration knows nothing of such scores
            found = {name: value for name, value in found.items() if name not in _OF_CALIBRATION}
        n_input = count_tokens(request.prompt)
        if cascade := explain_cascade(context, lambda model: self._side(model, n_input, _OUTPUT_TOKENS)["usd"]):
            found["cascade"] = cascade
        return {**found, "read": asdict(request.task)}

    def explain(
        self,
        decision: Decision,
        *,
        prompt: str = "",
        embedding: Float32Array | None = None,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
    ) -> dict[str, Any]:
        """What is known about a decision beyond the decision itself, as JSON types; unknown facts are None or absent.

        Args:
            prompt: the text that was scored.
            embedding: of the prompt, shape (dim,).
            input_tokens, output_tokens: of the request; if None, estimated from the prompt, and 300.
        """
        served = self._routers.get(decision.router) if decision.router is not None else None
        found: dict[str, Any] = {"summary": _summary(decision)}
        if served is not None:
            found |= _placed(served, decision)
            found["novelty"] = _novelty(served.reference, embedding)
            if isinstance(served.router, KNNRouter) and embedding is not None:
                found["neighbours"] = _neighbours(served.router, embedding)
        if decision.weighed:
            found["candidates"], found["margin"] = _weighed(decision), decision.margin
        if decision.router is not None:
            found["cost"] = self._cost(decision, prompt, input_tokens, output_tokens)
            if self._drift is not None:
                found["drift"] = self._drift.status()["routers"].get(decision.router)
        return found

    def _cost(
        self, decision: Decision, prompt: str, input_tokens: int | None, output_tokens: int | None
    ) -> dict[str, Any]:
        n_input = count_tokens(prompt) if input_tokens is None else input_tokens
        n_output = _OUTPUT_TOKENS if output_tokens is None else output_tokens
        strong, weak = (self._side(model, n_input, n_output) for model in (self._pair.strong, self._pair.weak))
        chosen = self._side(decision.model, n_input, n_output)
        if len(decision.weighed) > 2 and output_tokens is None:  # each is expected to answer at its own length
            bills = {each.candidate.name: each.candidate.usd for each in decision.weighed}
            strong, weak, chosen = ({**side, "usd": bills.get(side["model"])} for side in (strong, weak, chosen))
        known = strong["usd"] is not None and chosen["usd"] is not None
        return {
            "strong": strong,
            "weak": weak,
            "saving_usd": strong["usd"] - chosen["usd"] if known else None,
            "input_tokens": n_input,
            "output_tokens": n_output,
            "estimated": input_tokens is None or output_tokens is None,
        }

    def _side(self, model: str, n_input: int, n_output: int) -> dict[str, Any]:
        entry = self._price_list.get(model)
        if entry is None:
            return {"model": model, "usd": None, "price": None}
        price = {**asdict(entry.price), "source": entry.source}
        return {"model": model, "usd": entry.price.cost_usd(n_input, n_output), "price": price}


def _weighed(decision: Decision) -> list[dict[str, Any]]:
    """Every candidate in the order of the choice: quality against the reference's (1 - 2 W), bill and score."""
    return [
        {
            "model": each.candidate.name,
            "quality": None if each.candidate.win_rate is None else 1.0 - 2.0 * each.candidate.win_rate,
            "usd": each.candidate.usd,
            "relative_bill": each.relative_bill,
            "score": each.score,
        }
        for each in decision.weighed
    ]


def explanation_lines(explanation: Mapping[str, Any]) -> list[str]:
    """An explanation as lines for a terminal."""
    lines = [explanation["summary"]]
    if (rule := explanation.get("rule")) is not None:
        note = f"; it did not choose the model: {rule['note']}" if "note" in rule else ""
        lines.append(f"Rule {rule['name']}: {', '.join(rule['because'])}{note}.")
    if (percentile := explanation.get("win_rate_percentile")) is not None:
        lines.append(f"The win rate is higher than that of {percentile:.1%} of the calibration prompts.")
    if (share := explanation.get("strong_share")) is not None:
        lines.append(f"At this threshold {share:.1%} of the calibration prompts go to the strong model.")
    if (share := explanation.get("spend_share")) is not None:
        lines.append(
            f"At this threshold the calibration's prompts spend {share:.1%} of the way from the cheapest candidate's "
            "bill to the reference's."
        )
    if (novelty := explanation.get("novelty")) is not None:
        lines.append(f"Novelty: further from the training prompts than {novelty['percentile']:.1%} of the calibration.")
        named = [near for near in novelty["nearest"] if near["example"]]
        lines += [f"  {near['cosine']:.2f}  {_one_line(near['example'])}" for near in named]
    for near in explanation.get("neighbours", ()):
        lines.append(f"  neighbour at {near['cosine']:.2f}: strong's share of the win was {near['strong_share']:.2f}")
    for each in explanation.get("candidates", ()):
        bill = "" if each["usd"] is None else f", expected bill {dollars(each['usd'])}"
        quality = "" if each["quality"] is None else f"expected quality {each['quality']:+.4f} against the reference"
        lines.append(f"  {each['model']}: {quality}{bill}")
    if (margin := explanation.get("margin")) is not None:
        lines.append(f"  ahead of the next one by {margin:.4f} in win rate")
    if (cost := explanation.get("cost")) is not None:
        lines += _cost_lines(cost, of_many=len(explanation.get("candidates", ())) > 2)
    if (cascade := explanation.get("cascade")) is not None:
        lines += cascade_lines(cascade)
    if (drift := explanation.get("drift")) is not None and drift["alarm"] is not None:
        lines.append("Drift: live prompts differ from those of the calibration, so its guarantees are void.")
    return lines


def _summary(decision: Decision) -> str:
    if decision.router is None:
        return f"The request named {decision.model} itself."
    rule = f"; threshold set by {decision.policy}" if decision.policy else ""
    return f"{decision.model}: {decision.why}{rule}."


def _placed(served: ServedRouter, decision: Decision) -> dict[str, Any]:
    """Ranks of the win rate and the threshold among the calibration's win rates; of more than two candidates these are
    turning points, see `core.choice`, which say what share of spending the threshold gives.
    """
    if served.calibration is None or decision.win_rate is None:
        return {}
    quantiles = np.asarray(served.calibration.quantiles)
    last = quantiles.size - 1

    def below(value: float) -> float:
        first, end = np.searchsorted(quantiles, value, "left"), np.searchsorted(quantiles, value, "right")
        return float(np.clip((first + end - 1) / 2 / last, 0.0, 1.0))

    placed: dict[str, Any] = {"calibration": served.calibration.source}
    if not decision.weighed:
        placed["win_rate_percentile"] = below(decision.win_rate)
    if decision.threshold is not None:
        placed["spend_share" if decision.weighed else "strong_share"] = 1.0 - below(decision.threshold)
    return placed


def _novelty(reference: Reference | None, embedding: Float32Array | None) -> dict[str, Any] | None:
    if reference is None or reference.centroids is None or embedding is None:
        return None
    cosines = reference.centroids.cosines(embedding[None, :])[0]
    distance = float(np.clip(1.0 - float(cosines.max()), 0.0, 2.0))
    rows = np.argsort(-cosines)[:_N_NEAREST]
    examples = reference.examples or ("",) * len(cosines)
    return {
        "distance": distance,
        "percentile": reference.novelty(distance),
        "nearest": [{"centroid": int(k), "cosine": float(cosines[k]), "example": examples[k]} for k in rows],
    }


def _neighbours(router: KNNRouter, embedding: Float32Array) -> list[dict[str, float]]:
    rows, cosines = nearest(router.neighbours, embedding, _N_NEAREST)
    shares = router.neighbours.share[rows]
    return [{"cosine": float(c), "strong_share": float(s)} for c, s in zip(cosines, shares, strict=True)]


def _cost_lines(cost: Mapping[str, Any], *, of_many: bool) -> list[str]:
    known = [] if of_many else [side for side in (cost["strong"], cost["weak"]) if side["usd"] is not None]
    about = "about " if cost["estimated"] else ""
    tokens = f"{about}{cost['input_tokens']:,} tokens in and {cost['output_tokens']:,} out"
    lines = [f"{side['model']} costs {about}{dollars(side['usd'])} for {tokens}." for side in known]
    if cost["saving_usd"] is not None:
        dearest = "reference" if of_many else "strong model"
        lines.append(f"Saved against always asking the {dearest}: {about}{dollars(cost['saving_usd'])}.")
    return lines


def _one_line(text: str, *, width: int = 90) -> str:
    words = " ".join(text.split())
    return words if len(words) <= width else words[: width - 1] + "…"
