"""Shadow comparisons: the other model answers a random share of requests too, and a judge compares both answers.

They run off the request path, within a daily budget, on live traffic. They show where the weak model is good enough and
how long the strong model's answers would have been, and serve as training data.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress

from prometheus_client import CollectorRegistry, Counter

from pointsman.core.errors import UpstreamError
from pointsman.serve.config import ShadowConfig
from pointsman.serve.feedback.compare_answers import AnswerComparer, Scorer
from pointsman.serve.feedback.comparison import Compared, Other
from pointsman.serve.feedback.dollars_of_keys import DollarsOfKeys
from pointsman.serve.feedback.sample import Sample, take_sample
from pointsman.serve.feedback.shadow_request import answer_usd, judging_usd
from pointsman.serve.http.errors import RequestError
from pointsman.serve.money.billing import Billing
from pointsman.serve.money.ledger import SHADOW_KEY, Ledger
from pointsman.serve.money.metrics import MoneyMetrics
from pointsman.serve.protocols.usage import Charge
from pointsman.serve.request.record import Record
from pointsman.serve.store.rows import Row
from pointsman.serve.upstreams.base import Upstream

__all__ = ["Shadow"]

_LOG = logging.getLogger(__name__)


class Shadow:
    """Samples finished requests and compares them; an observer of records, and a component.

    Its money is spending like any other: it counts towards budgets, under a key of its own.
    """

    def __init__(
        self,
        config: ShadowConfig,
        *,
        ledger: Ledger,
        money: MoneyMetrics,
        put: Callable[[Row], None],
        registry: CollectorRegistry,
        rng: random.Random | None = None,
        refused_logprobs: set[str] | None = None,
        keep_characters: int = 0,
    ) -> None:
        """Compares nothing before `show` and `start`.

        Args:
            money: counts what is charged.
            put: takes the comparisons.
            registry: of its own metric.
            refused_logprobs: models that refused to tell log-probabilities; added to.
            keep_characters: so much of each answer's text is kept; its signals always are.
        """
        self._config: ShadowConfig | None = config
        self._n_workers = config.concurrency
        self._ledger = ledger
        self._put = put
        self._rng = rng or random.Random()
        self._queue: asyncio.Queue[Sample] = asyncio.Queue(config.queue)
        self._workers: list[asyncio.Task[None]] = []
        self._held_usd = 0.0
        self._of_keys = DollarsOfKeys(lambda: ledger.period("day"))
        refused = set[str]() if refused_logprobs is None else refused_logprobs
        self._comparer = AnswerComparer(ledger, money, refused_logprobs=refused, keep_characters=keep_characters)
        self._billing: Billing | None = None
        self._exhausted: Callable[[], bool] = lambda: False
        self._results = Counter(
            "pointsman_shadow_comparisons", "Answers drawn for comparison: compared, over budget, busy, failed.",
            ["result"], registry=registry,
        )  # fmt: skip
        for result in ("compared", "over_budget", "busy", "failed"):
            self._results.labels(result)

    def reconfigure(
        self,
        config: ShadowConfig | None,
        upstreams: Mapping[str, Upstream],
        billing: Billing,
        exhausted: Callable[[], bool] = lambda: False,
        *,
        scorer: Scorer | None = None,
        scorer_usd: float = 0.0,
    ) -> None:
        """Compares by these settings, with these models, from now on.

        Args:
            config: None compares nothing.
            exhausted: whether a hard budget is exhausted, so that only the weak model may be called.
            scorer: scores an answer in [0, 1] where no model judges; None where people will.
            scorer_usd: what scoring an answer costs.
        """
        self._config, self._billing, self._exhausted = config, billing, exhausted
        self._comparer.reconfigure(upstreams, billing, scorer, scorer_usd)

    async def start(self) -> None:
        """Begins to compare what is drawn."""
        loop = asyncio.get_running_loop()
        self._workers = [loop.create_task(self._work()) for _ in range(self._n_workers)]

    async def close(self) -> None:
        """Leaves what is not compared yet."""
        for worker in self._workers:
            worker.cancel()
        for worker in self._workers:
            with suppress(asyncio.CancelledError):
                await worker
        self._workers = []

    def __call__(self, record: Record) -> None:
        """Draws from the requests that have ended."""
        if self._config is None or self._billing is None:
            return
        pair = self._billing.pair
        routed = self._billing.candidates or (pair.strong, pair.weak)
        share = self._config.strong_share if record.model == pair.strong else self._config.share
        if record.model not in routed or self._rng.random() >= share:
            return
        if (sample := take_sample(record)) is None:
            return
        try:
            self._queue.put_nowait(sample)
        except asyncio.QueueFull:
            self._results.labels("busy").inc()

    async def _work(self) -> None:
        while True:
            sample = await self._queue.get()
            if self._config is None or self._billing is None:
                continue
            try:
                compared = await self._compare_for_its_key(sample, self._config, self._billing)
                result = "over_budget" if compared is None else "compared"
                if compared is not None:
                    self._put(compared.row)
            except (UpstreamError, RequestError) as error:
                _LOG.warning("shadow comparison of request %s: %s", sample.request_id, error)
                result = "failed"
            except Exception:  # noqa: BLE001  (whatever an upstream answers, the next comparison must still be made)
                _LOG.exception("shadow comparison of request %s", sample.request_id)
                result = "failed"
            self._results.labels(result).inc()

    async def _compare_for_its_key(self, sample: Sample, config: ShadowConfig, billing: Billing) -> Compared | None:
        """Compares if the key's part of the dollars covers it, too; a comparison that fails counts at its most."""
        most_usd = judging_usd(sample, config, billing, scorer_usd=self._comparer.scorer_usd) + answer_usd(
            sample, config, billing
        )
        if not self._of_keys.reserve(sample.key, most_usd, of_usd=config.max_usd_per_day * self._ledger.own_part):
            return None
        compared = await self.compare(sample)
        cost_usd = 0.0 if compared is None else compared.row.cost_usd or 0.0
        self._of_keys.settle(sample.key, reserved_usd=most_usd, usd=cost_usd)
        return compared

    async def compare(
        self, sample: Sample, other: Other | None = None, charges: list[Charge] | None = None
    ) -> Compared | None:
        """Compares if the daily budget covers the maximum cost, and no hard budget is exhausted.

        What it can cost is set aside while it does. None where it is not left, or nothing is to be compared.

        Args:
            other: what the other model said; None asks it.
            charges: of the comparison so far, see `AnswerComparer`; None where there are none.

        Raises:
            UpstreamError, RequestError: the other model or the judge failed.
        """
        config, billing = self._config, self._billing
        if config is None or billing is None:
            return None
        charges = [] if charges is None else charges
        most_usd = judging_usd(sample, config, billing, scorer_usd=self._comparer.scorer_usd)
        if other is None:
            most_usd += answer_usd(sample, config, billing)
        with self._held(most_usd, config) as is_left:
            if not is_left:
                return None
            other = other or await self._comparer.ask_other(sample, config, billing.pair, charges)
            return await self._comparer.compare(sample, other, config, billing.pair, charges)

    async def ask(self, sample: Sample, charges: list[Charge]) -> Other | None:
        """The other model's answer alone, within the same budget; None where it is not left.

        Args:
            charges: what is paid is added, also of what fails.

        Raises:
            UpstreamError, RequestError: it failed.
        """
        config, billing = self._config, self._billing
        if config is None or billing is None:
            return None
        with self._held(answer_usd(sample, config, billing), config) as is_left:
            return await self._comparer.ask_other(sample, config, billing.pair, charges) if is_left else None

    @contextmanager
    def _held(self, usd: float, config: ShadowConfig) -> Iterator[bool]:
        """Reserves dollars, if that many are left."""
        spent_usd = self._ledger.spent_usd("day", key=SHADOW_KEY)
        is_left = not self._exhausted() and spent_usd + self._held_usd + usd <= config.max_usd_per_day
        held_usd = usd if is_left else 0.0
        self._held_usd += held_usd
        try:
            yield is_left
        finally:
            self._held_usd -= held_usd
