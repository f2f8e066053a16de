"""Steps of the line that follow rules: threshold, capabilities, conversations, and what is counted of a decision."""

import time
from collections.abc import Collection, Mapping
from typing import NoReturn, TypeAlias

from pointsman.core.pair import ModelPair
from pointsman.core.prices import Price
from pointsman.core.sessions import Sessions, upgrade_threshold
from pointsman.serve.config import Config, SessionsConfig
from pointsman.serve.engine.steps.step import CheckSurface, Step
from pointsman.serve.http.errors import RequestError
from pointsman.serve.policy.rules import Policies
from pointsman.serve.protocols.capabilities import find_needs
from pointsman.serve.protocols.surfaces import COUNT_TOKENS
from pointsman.serve.request.context import Exchange
from pointsman.serve.request.conversations import is_first_turn, next_turn, session_of
from pointsman.serve.upstreams.base import Upstream

__all__ = ["CheckNeeds", "CountDecision", "KeepConversation", "SetThreshold", "steps_before_choice"]

_MARGIN = 0.05  # win rate that an upgrade needs more, where no prices say what it costs
Prices: TypeAlias = tuple[Price | None, Price | None]  # of the strong and the weak model


def steps_before_choice(
    config: Config, pair: ModelPair, policies: Policies, prices: Prices, upstreams: Mapping[str, Upstream]
) -> tuple[Step, ...]:
    """What has a say before a model is chosen."""
    capabilities = {name: model.capabilities for name, model in config.models.items() if model.capabilities is not None}
    steps: list[Step] = [SetThreshold(policies, pair), CheckSurface(upstreams)]
    if capabilities:
        steps.append(CheckNeeds(capabilities))
    sessions = policies.sessions(config.sessions)
    if sessions is not None and config.sessions is not None:
        steps.append(KeepConversation(sessions, config.sessions, prices))
    return tuple(steps)


class SetThreshold:
    """Asks the rules for the threshold. A hard budget that is spent leaves the weak model alone."""

    def __init__(self, policies: Policies, pair: ModelPair) -> None:
        self._policies = policies
        self._pair = pair

    async def __call__(self, exchange: Exchange) -> None:
        exchange.pair = exchange.candidates = (self._pair.strong, self._pair.weak)
        field = exchange.wanted
        if field is None or field.router is None:
            self._check_wall(exchange)
            return
        exchange.ruled = ruled = self._policies.rule(field, exchange.key)
        exchange.threshold, exchange.policy = ruled.ruling.threshold, ruled.ruling.policy
        if ruled.walled:
            exchange.candidates = (self._pair.weak,)

    def _check_wall(self, exchange: Exchange) -> None:
        model = exchange.wanted.model if exchange.wanted is not None else None
        if model not in (None, self._pair.weak) and (spent := self._policies.spent_wall(exchange.key)):
            raise _out_of_money(f"{spent} is spent: until its next period only {self._pair.weak} and routers answer")


class CheckNeeds:
    """Leaves out the models that cannot do what the request needs."""

    def __init__(self, capabilities: Mapping[str, Collection[str]]) -> None:
        """Takes the capabilities of the models that declare theirs; the others can do everything."""
        self._capabilities = capabilities

    async def __call__(self, exchange: Exchange) -> None:
        if exchange.wanted is None:
            return
        needs = find_needs(exchange.request.document)
        if not needs:
            return
        named = exchange.wanted.model
        models = exchange.candidates if named is None else (named,)
        able = tuple(model for model in models if all(need in self._capabilities.get(model, needs) for need in needs))
        if not able:
            self._refuse(exchange, needs, models)
        if named is None and len(able) < len(models):
            exchange.candidates = able
            exchange.reason = f"needs {', '.join(needs)}"

    def _refuse(self, exchange: Exchange, needs: Collection[str], models: Collection[str]) -> NoReturn:
        if exchange.ruled is not None and exchange.ruled.walled:
            raise _out_of_money(f"{exchange.policy}, and what is left does not do {', '.join(needs)}")
        declared = "; ".join(f"{model} does {', '.join(self._capabilities[model]) or 'text'}" for model in models)
        raise RequestError(
            f"the request needs {', '.join(needs)}, and no model that it may go to declares that: {declared}; "
            "leave it out, name another model, or extend models.<name>.capabilities in the server's configuration",
            code="unsupported_capability",
        )


class KeepConversation:
    """Lets a conversation stay with its model, unless the win rate argues for the strong one by enough."""

    def __init__(self, sessions: Sessions, config: SessionsConfig, prices: Prices) -> None:
        self._sessions = sessions
        self._prices = prices
        self._output_tokens = config.output_tokens
        default = _MARGIN if None in prices else 0.0
        self._margin = default if config.margin is None else config.margin

    async def __call__(self, exchange: Exchange) -> None:
        if exchange.wanted is None or exchange.wanted.router is None or exchange.pair is None:
            return
        exchange.session = session_of(exchange)
        if is_first_turn(exchange):
            return
        model = self._sessions.model(exchange.session, time.time())
        if model in exchange.candidates and self._stays(exchange, strong=model == exchange.pair[0]):
            exchange.stays = model

    def _stays(self, exchange: Exchange, *, strong: bool) -> bool:
        if strong or exchange.threshold is None or not exchange.request.prompt:
            return True
        if exchange.win_rate is None:
            return False
        turn = next_turn(exchange, output_tokens=self._output_tokens)
        dear, cheap = self._prices
        return exchange.win_rate < upgrade_threshold(
            exchange.threshold, turn, strong=dear, weak=cheap, margin=self._margin
        )


class CountDecision:
    """Lets the rules and the conversation know where the request goes. What is only asked about is not counted."""

    def __init__(self, policies: Policies, sessions: Sessions | None) -> None:
        self._policies = policies
        self._sessions = sessions

    async def __call__(self, exchange: Exchange) -> None:
        decision, ruled = exchange.decision, exchange.ruled
        counted = not exchange.dry and exchange.surface is not COUNT_TOKENS
        if not counted or decision is None or ruled is None or decision.router is None:
            return
        strong = exchange.pair is not None and decision.model == exchange.pair[0]
        self._policies.learn(decision.router, decision.win_rate, ruled, strong=strong)
        self._policies.begin(id(exchange), ruled.budgets, strong=strong)
        if self._sessions is not None and exchange.session is not None:
            self._sessions.keep(exchange.session, decision.model, time.time())


def _out_of_money(problem: str) -> RequestError:
    return RequestError(f"the {problem}", status=429, type="insufficient_quota", code="budget_spent")
