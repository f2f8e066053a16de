"""A deployment's verifier: loaded, checked against the models, with a threshold for every request."""

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from pointsman.core.answer_signals import Answer
from pointsman.core.calibration import Calibration
from pointsman.core.cascade import Window, expected_escalation
from pointsman.core.embedding import EmbedderIdentity
from pointsman.core.errors import ConfigError
from pointsman.core.prices import Price
from pointsman.core.router import EmbeddingRouter
from pointsman.core.verifier import Verifier, read_verifier
from pointsman.serve.checkpoints.load import load_checkpoint, load_embedder
from pointsman.serve.config import Config
from pointsman.serve.config.cascade import CascadeConfig
from pointsman.serve.policy.served_router import ServedRouter
from pointsman.serve.request.cascade_run import CascadeRun
from pointsman.serve.request.context import RequestContext

__all__ = ["ServedVerifier", "serve_verifiers"]

_USUAL_TOKENS = (500, 300)  # of a prompt and its answer, where the verifier's training knew no dollars


class ServedVerifier:
    """Scores prompts and answers, off the event loop.

    Attributes:
        reads_probabilities: whether it uses log-probabilities.
    """

    def __init__(
        self,
        verifier: Verifier,
        routers: Mapping[str, ServedRouter],
        *,
        zone: Window,
        calibration: Calibration | None,
        fixed: float | None,
    ) -> None:
        self.reads_probabilities = verifier.reads("doubt")
        self.seconds = verifier.seconds
        self._verifier = verifier
        self._routers = routers
        self._zone = zone
        self._calibration = calibration
        self._fixed = fixed
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="pointsman-verifier")

    def close(self) -> None:
        """Ends its threads as soon as each is idle."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def reads(self, signal: str) -> bool:
        """Whether it uses a signal."""
        return self._verifier.reads(signal)

    async def look(self, context: RequestContext, models: tuple[str, ...]) -> CascadeRun:
        """The score of the prompt alone."""
        win_rate = await self._run(self._prompt_win_rate, context)
        threshold = self.threshold(context)
        return CascadeRun(
            models,
            self._zone.look(win_rate, threshold) if threshold > 0.0 else "strong",
            threshold,
            win_rate,
            expected_escalation(win_rate, threshold, self._verifier.residuals),
        )

    async def read(self, context: RequestContext, answers: list[Answer]) -> float:
        """Strong model's win rate given an answer; the highest of several."""
        return await self._run(self._answer_win_rate, context, answers)

    async def _run(self, function: Any, *args: Any) -> float:
        return float(await asyncio.get_running_loop().run_in_executor(self._threads, function, *args))

    def _prompt_win_rate(self, context: RequestContext) -> float:
        found = self._verifier.prompt_win_rates([context.request.prompt], **self._known(context, 1))
        return float(found[0])

    def _answer_win_rate(self, context: RequestContext, answers: list[Answer]) -> float:
        prompts = [context.request.prompt] * len(answers)
        return float(self._verifier.win_rates(prompts, answers, **self._known(context, len(answers))).max())

    def _known(self, context: RequestContext, n: int) -> dict[str, Any]:
        """The router's embedding and win rate of the prompt, if the verifier can use them."""
        found: dict[str, Any] = {}
        router = self._routers.get(context.parsed.router) if context.parsed and context.parsed.router else None
        same = router is not None and _identity(router) == self._verifier.embed.identity
        if same and context.embedding is not None:
            found["embeddings"] = np.repeat(context.embedding[None, :], n, axis=0)
        if self._verifier.reads_win_rate:
            found["win_rates"] = np.full(n, 0.5 if context.win_rate is None else context.win_rate)
        return found

    def threshold(self, context: RequestContext) -> float:
        """The configured or certified threshold; for other requests one that gives the router's strong share.

        So budgets, shares and a request's own threshold steer the cascade as they steer the router.
        """
        field, threshold = context.parsed, context.threshold
        if self._fixed is not None and context.policy in (None, "default"):
            return self._fixed
        if threshold is None:
            return self._fixed if self._fixed is not None else 0.5
        served = self._routers.get(field.router) if field is not None and field.router is not None else None
        if served is None or served.calibration is None or self._calibration is None:
            return threshold
        quantiles = served.calibration.quantiles
        below = float(np.interp(threshold, quantiles, np.linspace(0.0, 1.0, len(quantiles))))
        return self._calibration.threshold(1.0 - below)


def _identity(router: ServedRouter) -> EmbedderIdentity | None:
    return router.router.embed.identity if isinstance(router.router, EmbeddingRouter) else None


def serve_verifiers(
    config: Config, routers: Mapping[str, ServedRouter], models: tuple[str, ...], prices: Mapping[str, Price]
) -> dict[str, ServedVerifier]:
    """The verifiers that a configuration names, by the model whose answers they read.

    Args:
        models: in the order of the cascade.
        prices: of the models, where known.

    Raises:
        ConfigError: the directory does not exist, its verifier is for other models, or nothing is certified for the
            configured loss.
        CheckpointError, EmbedderMismatchError: it is damaged, belongs to a router, or does not fit its embedder.
    """
    cascade = config.cascade
    if cascade is None or cascade.verifier is None:
        return {}
    named = {models[0]: cascade.verifier} if isinstance(cascade.verifier, str) else cascade.verifier
    if unknown := sorted(set(named) - set(models[:-1])):
        raise ConfigError(
            f"cascade.verifier names {unknown[0]!r}, whose answers are not read: wanted {', '.join(models[:-1])}"
        )
    return {name: _served(config, cascade, folder, name, models, routers, prices) for name, folder in named.items()}


def _served(
    config: Config,
    cascade: CascadeConfig,
    folder: str,
    model: str,
    models: tuple[str, ...],
    routers: Mapping[str, ServedRouter],
    prices: Mapping[str, Price],
) -> ServedVerifier:
    if not Path(folder).is_dir():
        raise ConfigError(
            f"cascade.verifier: there is no directory {folder}: make one with "
            f"`pointsman train verifier TABLE -o {folder}`"
        )
    checkpoint = load_checkpoint(folder)
    verifier = read_verifier(checkpoint, load_embedder(checkpoint))
    _check_models(config, cascade, folder, verifier, (model, models[-1]))
    given, following = cascade.threshold, models[models.index(model) + 1]
    fixed, zone = (
        given[model] if isinstance(given, dict) else given,
        _window(cascade, verifier, (model, following), prices),
    )
    if cascade.max_loss is not None:
        stored = [found for found in checkpoint.thresholds.values() if found.get("wanted") == cascade.max_loss]
        if not stored:
            raise ConfigError(
                f"cascade.max_loss: {folder} has no policy for a loss of {cascade.max_loss:g}, it has "
                f"{', '.join(checkpoint.thresholds) or 'none'}: store one with "
                f"`pointsman calibrate TABLE --verifier {folder} --max-loss {cascade.max_loss:g}`"
            )
        best = max(stored, key=lambda found: float(found["confidence"]))
        fixed, zone = float(best["threshold"]), Window(float(best["hard"]), float(best["easy"]))
    return ServedVerifier(verifier, routers, zone=zone, calibration=checkpoint.calibration, fixed=fixed)


def _window(cascade: CascadeConfig, verifier: Verifier, pair: tuple[str, str], prices: Mapping[str, Price]) -> Window:
    """Relative cost of a model before the next one: by the configured prices, and the signals that the verifier reads.

    By the training data's dollars where a price is not known.
    """
    if not set(pair) <= set(prices):
        return verifier.window()
    weak, strong = (prices[name].cost_usd(*_USUAL_TOKENS) for name in pair)
    asked = cascade.samples * weak if verifier.reads("agreement") else 0.0
    if verifier.reads("p_true") and cascade.p_true is not None and cascade.p_true in prices:
        asked += prices[cascade.p_true].cost_usd(sum(_USUAL_TOKENS), 1)
    if verifier.reads("checker") and cascade.checker is not None:
        asked += cascade.checker.usd
    return verifier.window(weak_usd=weak, strong_usd=strong, verifier_usd=asked)


def _check_models(
    config: Config, cascade: CascadeConfig, folder: str, verifier: Verifier, pair: tuple[str, str]
) -> None:
    given = cascade.pair
    own = (verifier.pair.weak, verifier.pair.strong)
    if given is not None:
        if (given.weak, given.strong) != own:
            raise ConfigError(
                f"cascade.pair names {given.weak!r} and {given.strong!r}, but {folder} is a verifier of "
                f"{own[0]!r} and {own[1]!r}"
            )
        return
    for name, wanted in zip(pair, own, strict=True):
        served = config.models[name].model if name in config.models else None
        if wanted not in (name, served, (served or name).rpartition("/")[2]):
            raise ConfigError(
                f"cascade.verifier: {folder} is a verifier of {own[0]!r} and {own[1]!r}, but the cascade "
                f"asks {pair[0]!r} and {pair[1]!r}: train one for them, or say that they are the same with "
                f"cascade.pair: {{weak: {own[0]}, strong: {own[1]}}}"
            )
