"""The cost of a request: the charge of each attempt, at the price of the model called."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from pointsman.core.pair import ModelPair
from pointsman.core.prices import Price
from pointsman.serve.protocols.usage import Charge, Usage
from pointsman.serve.request.context import RequestContext
from pointsman.serve.request.record import Record

__all__ = ["Billing"]

_LOG = logging.getLogger(__name__)
_DISAGREES = "model %s reports totals that are not the sum of their parts; the difference is charged as output"


@dataclass(frozen=True, slots=True)
class Billing:
    """Prices requests.

    Attributes:
        prices: by model; unknown ones are left out.
        pair: the two models to route between; of more candidates the reference and the cheapest.
        candidates: all models to route among, the reference first.
        answer_tokens: how long an answer of a candidate to a request is expected to be; as long as the one that was
            given if None.
    """

    prices: Mapping[str, Price]
    pair: ModelPair
    candidates: tuple[str, ...] = ()
    answer_tokens: Callable[[RequestContext, str], float] | None = None
    _warned: set[str] = field(default_factory=set, init=False, repr=False, compare=False)

    def settle(self, record: Record) -> None:
        """Fills in the usage and cost of a finished request.

        `usage` is that of the answer, or of the last attempt without one. `cost_usd` is over all attempts;
        None if the price of a charged one is unknown. `strong_usd` and `weak_usd` are what a routed request
        costs at either model of the pair, with as many tokens; of more than two candidates with an answer as long as
        that model's is expected to be: efforts of one model differ in nothing else.
        """
        context = record.context
        if context is None or not context.attempts or not context.surface.charged:
            return
        charges = []
        for attempt in context.attempts:
            if (usage := attempt.usage(context.request.document)) is not None:
                charges.append(Charge(attempt.model, usage, self.cost_usd(attempt.model, usage)))
                if usage.disagrees and attempt.model not in self._warned:
                    self._warned.add(attempt.model)
                    _LOG.warning(_DISAGREES, attempt.model)
        if not charges:
            return
        record.charges = tuple(charges)
        record.usage = next((c.usage for c in reversed(charges) if c.model == record.model), charges[-1].usage)
        costs = [charge.cost_usd for charge in charges if charge.cost_usd is not None]
        record.cost_usd = sum(costs) if len(costs) == len(charges) else None
        if record.decision is not None and record.decision.router is not None:
            record.strong_usd = self._at(self.pair.strong, record, record.usage)
            record.weak_usd = self._at(self.pair.weak, record, record.usage)

    def _at(self, model: str, record: Record, usage: Usage) -> float | None:
        """Dollars of a finished request at a model that may not have answered it."""
        if self.answer_tokens is not None and record.context is not None and model != record.model:
            usage = replace(
                usage, output_tokens=round(self.answer_tokens(record.context, model)), audio_output_tokens=0
            )
        return self.cost_usd(model, usage)

    def cost_usd(self, model: str, usage: Usage) -> float | None:
        """Dollars for this many tokens of a model; None if its price is unknown."""
        price = self.prices.get(model)
        if price is None:
            return None
        return price.cost_usd(
            usage.input_tokens,
            usage.output_tokens,
            cached_tokens=usage.cached_tokens,
            cache_write_tokens=usage.cache_write_tokens,
            cache_write_hour_tokens=usage.cache_write_hour_tokens,
            audio_input_tokens=usage.audio_input_tokens,
            audio_output_tokens=usage.audio_output_tokens,
        )
