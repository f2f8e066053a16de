"""Asks two models, then a judge in both orders, and turns its verdicts into battles.

Both orders cancel the judge's preference for the first or the last answer: one that always says A gives each a win.
Equal answers are a tie without a judge.
Every finished call is in the journal before it counts, so a killed run continues where it stopped and pays
nothing twice, except for calls in flight.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from pointsman.core.answer_signals import Answer, known_signals
from pointsman.core.errors import UpstreamError
from pointsman.core.prices import Price
from pointsman.serve.judging.budget import Budget, BudgetReachedError, estimate_tokens
from pointsman.serve.judging.journal import Journal, Reply, call_key
from pointsman.serve.judging.verdict import TEMPLATE, judge_prompt, parse_verdict

__all__ = ["Ask", "Judging", "JudgingReport", "estimate_cost_usd", "judge_prompts"]

Ask: TypeAlias = Callable[[str, str], Awaitable[Reply]]


@dataclass(frozen=True, slots=True)
class Judging:
    """What to judge, and the limits.

    Attributes:
        model_a, model_b: the models to compare.
        judge: the model that compares them.
        prices: by model.
        max_cost_usd: ceiling in dollars; None for none.
        max_tokens: most tokens of one reply, for the estimate and the ceiling.
        concurrency: number of concurrent calls.
        requests_per_minute: most calls started per minute; None for no limit.
        settings: other parameters that change replies (temperature, ...), part of each call's identity.
        keep_answers: write the answers' texts beside the verdicts; what a verifier reads of them is always written.

    Raises:
        ValueError: the two models are the same, or a limit is not positive.
    """

    model_a: str
    model_b: str
    judge: str
    prices: Mapping[str, Price] = field(default_factory=dict)
    max_cost_usd: float | None = None
    max_tokens: int = 1024
    concurrency: int = 8
    requests_per_minute: float | None = None
    settings: str = ""
    keep_answers: bool = False

    def __post_init__(self) -> None:
        if self.model_a == self.model_b:
            raise ValueError(f"model_a and model_b are both {self.model_a!r}, wanted two different models")
        for name in ("max_cost_usd", "max_tokens", "concurrency", "requests_per_minute"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} is {value}, wanted a positive number")
        unpriced = {self.model_a, self.model_b, self.judge} - set(self.prices)
        if self.max_cost_usd is not None and unpriced:
            raise ValueError(
                f"a ceiling in dollars needs the price of {', '.join(sorted(unpriced))}: --price MODEL=IN,OUT, or "
                "models.<name>.price in the configuration"
            )


@dataclass(slots=True)
class JudgingReport:
    """The results of a run.

    Attributes:
        battles: JSON-ready rows, two per judged prompt (one per order) unless a verdict could not be read.
        n_prompts: prompts that were judged in both orders.
        n_calls, n_from_journal: calls made now, and calls that an earlier run had paid for.
        n_refused: calls that the service or the model declined.
        n_unparsable: verdicts that could not be read.
        n_failed: prompts abandoned because a call failed for good; `failures` has the first messages.
        spent_usd: dollars, earlier runs of the same journal included.
        stopped: whether the ceiling ended the run early.
    """

    battles: list[dict[str, Any]] = field(default_factory=list)
    n_prompts: int = 0
    n_calls: int = 0
    n_from_journal: int = 0
    n_refused: int = 0
    n_unparsable: int = 0
    n_failed: int = 0
    failures: list[str] = field(default_factory=list)
    spent_usd: float = 0.0
    stopped: bool = False


def estimate_cost_usd(judging: Judging, prompts: Iterable[str]) -> float:
    """The most that judging these prompts can cost in dollars, if every reply is as long as allowed."""
    budget = Budget(judging.prices, max_cost_usd=None, max_tokens=judging.max_tokens)
    total = 0.0
    for prompt in prompts:
        tokens = estimate_tokens(prompt)
        total += budget.most_usd(judging.model_a, tokens) + budget.most_usd(judging.model_b, tokens)
        seen = tokens + 2 * judging.max_tokens + estimate_tokens(TEMPLATE)
        total += 2 * budget.most_usd(judging.judge, seen)
    return total


async def judge_prompts(
    prompts: Sequence[str],
    judging: Judging,
    ask: Ask,
    journal: Journal,
    *,
    on_prompt: Callable[[], None] = lambda: None,
) -> JudgingReport:
    """Battles between the two models on these prompts.

    Args:
        ask: asks a model (by name) a prompt; raises `UpstreamError` when the call failed for good.
        journal: open journal of this job.
        on_prompt: called once per finished prompt.

    Returns:
        The report, with battles in the order of the prompts; a prompt that occurs twice is judged once.
    """
    run = _Run(judging, ask, journal)
    prompts = list(dict.fromkeys(prompts))
    rows: list[list[dict[str, Any]]] = [[] for _ in prompts]
    waiting = iter(range(len(prompts)))

    async def work() -> None:
        for i in waiting:
            if run.report.stopped:
                return
            rows[i] = await run.judge(prompts[i])
            on_prompt()

    await asyncio.gather(*(work() for _ in range(min(judging.concurrency, len(prompts)))))
    run.report.battles = [battle for battles in rows for battle in battles]
    run.report.spent_usd = run.budget.spent_usd
    return run.report


class _Run:
    """The state of one run: report, budget and pace."""

    def __init__(self, judging: Judging, ask: Ask, journal: Journal) -> None:
        self.judging = judging
        self.report = JudgingReport()
        self.budget = Budget(judging.prices, max_cost_usd=judging.max_cost_usd, max_tokens=judging.max_tokens)
        self._ask = ask
        self._journal = journal
        self._calls = asyncio.Semaphore(judging.concurrency)
        self._next_start = 0.0
        for model, reply in journal.replies():
            self.budget.spend(model, reply)

    async def judge(self, prompt: str) -> list[dict[str, Any]]:
        """The battles of one prompt: both orders, or none if a call failed or the ceiling was reached."""
        judging = self.judging
        try:
            a, b = await _both(self._call(judging.model_a, prompt), self._call(judging.model_b, prompt))
            winners = ["tie", "tie"] if a.text == b.text else await self._verdicts(prompt, a.text, b.text)
        except BudgetReachedError:
            self.report.stopped = True
            return []
        except UpstreamError as error:
            self.report.n_failed += 1
            self.report.failures = [*self.report.failures, str(error)][:5]
            return []
        sides = {judging.model_a: self._kept(prompt, a), judging.model_b: self._kept(prompt, b)}
        battles = [
            {
                "prompt": prompt,
                "model_a": first,
                "model_b": second,
                "winner": winner,
                "judge": judging.judge,
                **{f"{name}_a": value for name, value in sides[first].items()},
                **{f"{name}_b": value for name, value in sides[second].items()},
            }
            for (first, second), winner in zip((tuple(sides), tuple(reversed(sides))), winners, strict=True)
            if winner is not None
        ]
        self.report.n_prompts += len(battles) == 2
        return battles

    def _kept(self, prompt: str, reply: Reply) -> dict[str, Any]:
        """What a verifier uses of an answer."""
        answer = Answer(
            reply.text,
            token_logprobs=reply.logprobs,
            margin=reply.margin,
            output_tokens=reply.output_tokens,
            finish_reason=reply.finish_reason,
        )
        found: dict[str, Any] = {"signals": json.dumps(known_signals(prompt, answer))}
        return {**found, "answer": reply.text} if self.judging.keep_answers else found

    async def _verdicts(self, prompt: str, answer_a: str, answer_b: str) -> list[str | None]:
        """The judge's verdict in both orders; None where it could not be read."""
        replies = await _both(
            self._call(self.judging.judge, judge_prompt(prompt, answer_a, answer_b)),
            self._call(self.judging.judge, judge_prompt(prompt, answer_b, answer_a)),
        )
        winners = [parse_verdict(reply.text) for reply in replies]
        self.report.n_unparsable += sum(
            winner is None and not reply.refused for winner, reply in zip(winners, replies, strict=True)
        )
        return winners

    async def _call(self, model: str, prompt: str) -> Reply:
        key = call_key(model, prompt, self.judging.settings)
        reply = self._journal.get(key)
        if reply is None:
            reply = await self._pay(key, model, prompt)
        else:
            self.report.n_from_journal += 1
        self.report.n_refused += reply.refused
        return reply

    async def _pay(self, key: str, model: str, prompt: str) -> Reply:
        async with self._calls:
            held = self.budget.hold(model, prompt)
            try:
                await self._pace()
                reply = await self._ask(model, prompt)
                self._journal.add(key, model, reply)
                self.budget.spend(model, reply)
            finally:
                self.budget.release(held)
        self.report.n_calls += 1
        return reply

    async def _pace(self) -> None:
        if self.judging.requests_per_minute is None:
            return
        now = asyncio.get_running_loop().time()
        start = max(now, self._next_start)
        self._next_start = start + 60.0 / self.judging.requests_per_minute
        await asyncio.sleep(start - now)


async def _both(first: Coroutine[Any, Any, Reply], second: Coroutine[Any, Any, Reply]) -> tuple[Reply, Reply]:
    """Both replies; if one fails, the other is still finished and recorded before the failure is raised."""
    tasks = asyncio.create_task(first), asyncio.create_task(second)
    await asyncio.wait(tasks)
    for task in tasks:
        task.exception()  # marks it as seen, so that the second of two failures is not a warning
    return tasks[0].result(), tasks[1].result()
