"""The router that the autopilot controls, and what its certificate depends on."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from pointsman.core.errors import ConfigError
from pointsman.core.ladder import fixed_bills
from pointsman.core.pair import ModelPair
from pointsman.core.prices import Price
from pointsman.serve.autopilot.serving import Serving
from pointsman.serve.checkpoints.load import checkpoint_folder
from pointsman.serve.config import Config, ModelConfig
from pointsman.serve.policy.served_router import ServedRouter

__all__ = ["steered"]

_ASKED = {"model", "base_url", "provider"}  # of a model: who answers; its price changes what is saved and nothing else
_USUAL_TOKENS = (500, 300)  # of a prompt and its answer
_META = "pointsman.json"  # holds the hashes of a checkpoint's other files


def steered(
    config: Config,
    routers: Mapping[str, ServedRouter],
    pair: ModelPair,
    prices: Mapping[str, Price],
    typical_usd: Mapping[str, Sequence[float | None]],
) -> Serving:
    """The default router, and a digest each of what it scores with and of models, judge, bound and cascade.

    Args:
        typical_usd: by router, each candidate's bill of a typical prompt.

    Raises:
        ConfigError: no candidate is cheaper than the reference.
    """
    name, router = next(iter(routers.items()))
    settings = config.routers[name]
    folder = checkpoint_folder(settings.kind or name, settings.checkpoint)
    weights = (folder / _META).read_bytes() if folder is not None else (settings.kind or name).encode()
    many = config.candidates if len(config.candidates) > 2 else ()
    bills = tuple(zip(many, fixed_bills(typical_usd[name]), strict=True)) if many else ()
    if many and config.autopilot is not None and min(bill for _, bill in bills) >= 1.0:
        raise ConfigError(
            f"autopilot is given, and no candidate is cheaper than {many[0]}, the reference: there is nothing to save; "
            "name the dearest and best candidate first, or check models.<name>.price"
        )
    terms: dict[str, object] = {"pair": many or [pair.strong, pair.weak]}
    if (autopilot := config.autopilot) is not None:
        asked = {each: config.settings_of(each) for each in (*(many or (pair.strong, pair.weak)), autopilot.judge)}
        terms["models"] = {each: _who_answers(model) for each, model in asked.items()}
        terms["bound"] = [autopilot.max_loss, autopilot.confidence, autopilot.judge]
        if autopilot.scorer is not None:
            terms["scorer"] = autopilot.scorer.model_dump(mode="json", include={"url", "entry_point"})
        if autopilot.label_share > 0.0:
            terms["label_share"] = autopilot.label_share
    if (cascade := config.cascade) is not None:
        terms["cascade"] = cascade.model_dump(mode="json", include={"checks", "logprobs", "checker"})
        if isinstance(cascade.verifier, str):
            terms["verifier"] = _digest((Path(cascade.verifier) / _META).read_bytes())
    dollars = [prices[each].cost_usd(*_USUAL_TOKENS) if each in prices else 0.0 for each in (pair.weak, pair.strong)]
    return Serving(
        name,
        _digest(weights),
        router.checkpoint,
        pair,
        _digest(json.dumps(terms, sort_keys=True).encode()),
        reads_answers=cascade is not None,
        bills=bills,
        weak_cost=dollars[0] / dollars[1] if cascade is not None and dollars[1] > 0.0 else 0.0,
    )


def _who_answers(model: ModelConfig) -> dict[str, object]:
    more = {"parameters", "override"} if model.parameters else set()  # e.g. a reasoning effort: another model in effect
    return model.model_dump(mode="json", include=_ASKED | more)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
