"""The routers of a deployment: loaded, named, with a threshold for every form of request."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pointsman.core.calibration import Calibration
from pointsman.core.checkpoint import Checkpoint
from pointsman.core.errors import ConfigError
from pointsman.core.reference import Reference, read_reference
from pointsman.core.router import Router
from pointsman.serve.checkpoints.load import check_size, load_checkpoint, load_router
from pointsman.serve.config import RouterConfig
from pointsman.serve.config.secret import read_key
from pointsman.serve.http.errors import RequestError
from pointsman.serve.protocols.model_field import ModelField, stored_field

__all__ = ["ServedRouter", "no_stored_threshold", "serve_router"]

_DEFAULT_SHARE = 0.5
_STORED = ("max_loss", "max_cost_usd")
_UNIFORM = Calibration("uniform by construction", 1, (0.0, 1.0))


@dataclass(frozen=True, slots=True)
class ServedRouter:
    """One router as requests name it.

    Attributes:
        calibration: quantiles of its win rates; None if its checkpoint has none.
        default_threshold: for requests that name none; None if it cannot be derived.
        thresholds: those that `pointsman calibrate` stored in its checkpoint, by the rule that gave them.
        has_own_default: whether the configuration gives it a threshold or a share of its own.
        reference: sample that live prompts are compared with; None if its checkpoint has none for this pair.
        checkpoint: name of the folder that it was read from, if any.
        labelled: results of every threshold on the labels of its calibration, see `core.operating_points`; of more
            than two candidates quality against dollars as an evaluation has it; None without labels.
        candidates: more than two by the checkpoint's names, the reference first; empty for a pair.
    """

    name: str
    router: Router
    calibration: Calibration | None
    default_threshold: float | None
    thresholds: Mapping[str, Any] = field(default_factory=dict)
    has_own_default: bool = False
    reference: Reference | None = None
    checkpoint: str | None = None
    labelled: Mapping[str, Any] | None = None
    candidates: tuple[str, ...] = ()

    def stored_threshold(self, rule: str, wanted: float) -> float | None:
        """The threshold that calibration stored for a rule, e.g. "max_loss", and its value.

        Of several with different confidences, the one with the highest.
        """
        fitting = [found for found in self.thresholds.values() if _is_for(found, rule, wanted)]
        best = max(fitting, key=lambda found: float(found.get("confidence", 0.0)), default=None)
        return None if best is None else float(best["threshold"])

    def stored_fields(self) -> tuple[str, ...]:
        """Model fields that name a stored threshold, e.g. "router-mf-loss0.02"."""
        fields = (stored_field(self.name, found) for found in self.thresholds.values())
        return tuple(dict.fromkeys(found for found in fields if found is not None))

    def threshold(self, wanted: ModelField) -> float:
        """The threshold that a request asks for.

        Raises:
            RequestError: 400 if it needs a calibration, and the router has none.
        """
        if wanted.threshold is not None:
            return wanted.threshold
        if wanted.rule is not None and wanted.wanted is not None:
            return self._stored(wanted.rule, wanted.wanted)
        if wanted.strong_share is not None and self.calibration is not None:
            return self.calibration.threshold(wanted.strong_share)
        if wanted.strong_share is None and self.default_threshold is not None:
            return self.default_threshold
        raise RequestError(
            f"router {self.name!r} is not calibrated for these models: name a threshold, as in router-{self.name}-0.5, "
            "or calibrate its checkpoint with `pointsman calibrate`",
            param="model",
            code="not_calibrated",
        )

    def _stored(self, rule: str, wanted: float) -> float:
        found = self.stored_threshold(rule, wanted)
        if found is None:
            raise RequestError(no_stored_threshold(self, rule, wanted), param="model", code="not_calibrated")
        return found


def serve_router(name: str, config: RouterConfig, *, candidates: Sequence[str] = ()) -> ServedRouter:
    """Loads a configured router.

    Args:
        candidates: the models to choose among, the reference first, by their configured names; a pair if empty.

    Raises:
        ConfigError: it has no checkpoint, does not know a candidate, or asks for a share without being calibrated.
        CheckpointError, EmbedderMismatchError: its checkpoint is damaged or does not fit its embedder.
    """
    if config.checkpoint is not None and not Path(config.checkpoint).exists():
        raise ConfigError(
            f"routers.{name}.checkpoint is {config.checkpoint!r}, which is not a directory; "
            "a RouteLLM checkpoint is converted with `pointsman import-routellm`"
        )
    checkpoint = load_checkpoint(config.kind or name, config.checkpoint)
    weighed = _weighed(name, config, checkpoint, candidates)
    router = load_router(checkpoint, candidates=weighed, embedder=_embedder_options(config.embedder))
    fits = weighed == checkpoint.candidates
    calibration = checkpoint.calibration if fits else None
    if checkpoint.kind == "random":
        calibration = _UNIFORM if len(weighed) == 2 else None
    thresholds = checkpoint.thresholds if fits else {}
    reference = read_reference(checkpoint) if fits else None
    served = ServedRouter(
        name,
        router,
        calibration,
        None,
        thresholds,
        has_own_default=_has_own_default(config),
        reference=reference,
        checkpoint=checkpoint.path.name if checkpoint.path is not None else None,
        labelled=_labelled(checkpoint) if fits else None,
        candidates=weighed if len(weighed) > 2 else (),
    )
    return replace(served, default_threshold=_default_threshold(served, config))


def _labelled(checkpoint: Checkpoint) -> Mapping[str, Any] | None:
    """What was measured of these candidates."""
    found: Mapping[str, Any] | None = checkpoint.metrics.get("labelled")
    known = None if found is None else found.get("candidates", list(checkpoint.candidates))
    return found if known == list(checkpoint.candidates) else None


def _weighed(name: str, config: RouterConfig, checkpoint: Checkpoint, candidates: Sequence[str]) -> tuple[str, ...]:
    """The models that a router chooses among, by the checkpoint's names, the reference first."""
    if len(candidates) < 3:
        mapped = tuple(config.candidates.get(each, each) for each in candidates)
        if config.pair is not None:
            return config.pair.strong, config.pair.weak
        known = mapped and set(mapped) <= set(checkpoint.models)
        return mapped if known else (checkpoint.pair.strong, checkpoint.pair.weak)
    if config.pair is not None:
        raise ConfigError(
            f"routers.{name}.pair is set, but there are {len(candidates)} candidates: "
            f"set routers.{name}.candidates instead"
        )
    mapped = tuple(config.candidates.get(each, each) for each in candidates)
    check_size(checkpoint, candidates)
    if twice := next((each for each in mapped if mapped.count(each) > 1), None):
        same = [each for each, known in zip(candidates, mapped, strict=True) if known == twice]
        raise ConfigError(f"routers.{name}.candidates maps {' and '.join(same)} to {twice!r}, wanted a model for each")
    unknown = [each for each in mapped if each not in checkpoint.models] if checkpoint.kind != "random" else []
    if unknown:
        known_models = ", ".join(checkpoint.models[:20]) + (", ..." if len(checkpoint.models) > 20 else "")
        raise ConfigError(
            f"router {name!r} does not know {', '.join(map(repr, unknown))}; its checkpoint knows {known_models}: "
            f"train it on the candidates, or give its names for them under routers.{name}.candidates"
        )
    return mapped


def no_stored_threshold(router: ServedRouter, rule: str, wanted: float) -> str:
    """The error for a router without a threshold for a rule."""
    option = rule.replace("_", "-")
    words = "TABLE" + (f" --candidates {','.join(router.candidates)}" if router.candidates else "")
    return (
        f"router {router.name!r} has no threshold for {rule} {wanted:g}, it has "
        f"{', '.join(router.thresholds) or 'none from calibration'}: store one with "
        f"`pointsman calibrate {words} --{option} {wanted:g} --checkpoint {router.checkpoint or 'DIR'}`"
    )


def _is_for(found: Any, rule: str, wanted: float) -> bool:
    return isinstance(found, Mapping) and found.get("rule") == rule and found.get("wanted") == wanted


def _has_own_default(config: RouterConfig) -> bool:
    return any(getattr(config, name) is not None for name in ("threshold", "strong_share", *_STORED))


def _default_threshold(router: ServedRouter, config: RouterConfig) -> float | None:
    if config.threshold is not None:
        return config.threshold
    for rule in _STORED:
        wanted = getattr(config, rule)
        if wanted is not None:
            found = router.stored_threshold(rule, wanted)
            if found is None:
                raise ConfigError(f"routers.{router.name}.{rule}: {no_stored_threshold(router, rule, wanted)}")
            return found
    if router.calibration is not None:
        return router.calibration.threshold(_DEFAULT_SHARE if config.strong_share is None else config.strong_share)
    if config.strong_share is not None:
        named = f" --candidates {','.join(router.candidates)}" if router.candidates else ""
        raise ConfigError(
            f"routers.{router.name}.strong_share needs a calibration for these models, in this order: "
            f"make one with `pointsman calibrate TABLE{named} --strong-share {config.strong_share:g} --checkpoint "
            f"{router.checkpoint or 'DIR'}`, or give a threshold"
        )
    return None


def _embedder_options(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: read_key(value).value if name == "api_key" else value for name, value in options.items()}
