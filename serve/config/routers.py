"""The routers in the configuration."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from pointsman.serve.config.base import Name, Part, Share

__all__ = ["PairConfig", "RouterConfig"]

_DEFAULTS = ("threshold", "strong_share", "max_loss", "max_cost_usd")


class PairConfig(Part):
    """Two models as the checkpoint names them."""

    strong: Name
    weak: Name


class RouterConfig(Part):
    """One router.

    Attributes:
        kind: the bundled router to use if `checkpoint` is not given; the router's name if None.
        checkpoint: checkpoint directory, or a folder of named ones of which one is promoted; relative to the
            configuration file's folder.
        threshold: default threshold; if None, the one for `strong_share`.
        strong_share: default share of prompts for the strong model, by the checkpoint's calibration.
        max_loss: default threshold that `pointsman calibrate --max-loss` stored in the checkpoint for this loss.
        max_cost_usd: likewise of `--max-cost-usd`.
        pair: the checkpoint's models whose win rate to predict; the checkpoint's own pair if None.
        candidates: the checkpoint's names of the candidates, by their configured names; the same names if None.
        embedder: options for the checkpoint's embedder, e.g. base_url and api_key (env:NAME).
    """

    kind: Name | None = None
    checkpoint: str | None = None
    threshold: Share | None = None
    strong_share: Share | None = None
    max_loss: Annotated[float, Field(ge=0.0)] | None = None
    max_cost_usd: Annotated[float, Field(gt=0.0)] | None = None
    pair: PairConfig | None = None
    candidates: dict[Name, Name] = Field(default_factory=dict)
    embedder: dict[str, str | int | float | bool] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_alternatives(self) -> Self:
        given = [name for name in _DEFAULTS if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} are both given, wanted one of them")
        if self.kind is not None and self.checkpoint is not None:
            raise ValueError("kind and checkpoint are both given, wanted one of them: a checkpoint has its own kind")
        key = self.embedder.get("api_key")
        if key is not None and not str(key).startswith("env:"):
            raise ValueError("embedder.api_key is not env:NAME: keys are read from the environment")
        return self
