"""The routers of a deployment: loaded, named, and with a threshold for every way to ask for one."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pointsman.core.calibration import Calibration
from pointsman.core.errors import ConfigError
from pointsman.core.pair import ModelPair
from pointsman.core.router import Router
from pointsman.serve.config import RouterConfig
from pointsman.serve.errors import RequestError
from pointsman.serve.loading import load_checkpoint, load_router
from pointsman.serve.model_field import ModelField
from pointsman.serve.secret import read_key

__all__ = ["ServedRouter", "serve_router"]

_DEFAULT_SHARE = 0.5
_UNIFORM = Calibration("uniform by construction", 1, (0.0, 1.0))


@dataclass(frozen=True, slots=True)
class ServedRouter:
    """One router as requests name it.

    Attributes:
        calibration: quantiles of its win rates; None if its checkpoint has none.
        default_threshold: for requests that name none; None if there is nothing to take it from.
    """

    name: str
    router: Router
    calibration: Calibration | None
    default_threshold: float | None

    def threshold(self, field: ModelField) -> float:
        """The threshold that a request asks for.

        Raises:
            RequestError: 400 where it takes a calibration that the router does not have.
        """
        if field.threshold is not None:
            return field.threshold
        if field.strong_share is not None and self.calibration is not None:
            return self.calibration.threshold(field.strong_share)
        if field.strong_share is None and self.default_threshold is not None:
            return self.default_threshold
        raise RequestError(
            f"router {self.name!r} is not calibrated: name a threshold, as in router-{self.name}-0.5, "
            "or calibrate its checkpoint with `pointsman calibrate`",
            param="model",
            code="not_calibrated",
        )


def serve_router(name: str, config: RouterConfig) -> ServedRouter:
    """Loads a configured router.

    Raises:
        ConfigError: it has no checkpoint, or asks for a strong share without being calibrated.
        CheckpointError, EmbedderMismatchError: its checkpoint is damaged or does not fit its embedder.
    """
    if config.checkpoint is not None and not Path(config.checkpoint).exists():
        raise ConfigError(
            f"routers.{name}.checkpoint is {config.checkpoint!r}, and there is no such directory; "
            "a RouteLLM checkpoint is converted with `pointsman import-routellm`"
        )
    checkpoint = load_checkpoint(config.kind or name, config.checkpoint)
    pair = ModelPair(config.pair.strong, config.pair.weak) if config.pair else None
    router = load_router(checkpoint, pair=pair, embedder=_embedder_options(config.embedder))
    calibration = _UNIFORM if checkpoint.kind == "random" else checkpoint.calibration
    if pair is not None and pair != checkpoint.pair:
        calibration = None
    return ServedRouter(name, router, calibration, _default_threshold(name, config, calibration))


def _default_threshold(name: str, config: RouterConfig, calibration: Calibration | None) -> float | None:
    if config.threshold is not None:
        return config.threshold
    if calibration is not None:
        return calibration.threshold(_DEFAULT_SHARE if config.strong_share is None else config.strong_share)
    if config.strong_share is not None:
        raise ConfigError(
            f"routers.{name}.strong_share needs a calibration for this checkpoint and pair: "
            "calibrate it with `pointsman calibrate`, or give a threshold"
        )
    return None


def _embedder_options(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: read_key(value).value if name == "api_key" else value for name, value in options.items()}
