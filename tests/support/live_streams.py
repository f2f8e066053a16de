"""Streams of planted truth through the live parts of an autopilot that certifies a cascade, or one of three candidates.

Two processes draw from one stream by `Draws`, as a server with a cascade does: while nothing is certified the weak
answer of a request is read only if it may be drawn; afterwards it is read always, returned or escalated. Rows go to one
`AutopilotState`, which certifies, plans and serves. Answers come out of order, one comparison in twenty fails, and now
and then a process is killed: what it has not handed over is lost, and the state is read back as it was kept.

Scores of answers are 0, .05, ..., .95, and 1 for a tenth of them, which always go to the strong model. A step's loss is
the mean loss times the share of the scores below its threshold. `at`: the first step whose loss is too high exceeds the
bound by a billionth; `below`: the cheapest step has 98 % of the bound; `far`: a fifth.

Of three candidates the reference's win rates over the two others are .1, .3, ..., .9, in all combinations, the cheapest
one loses half as much again as the middle one, and each comparison is of one of them with the reference.

Where win rates are learned, half of the prompts, which their embedding alone tells, lose four times as much as the
others. After 150 comparisons a generation is trained on them, and certified beside the first one by those that follow.
"""

import asyncio
import json
import random
from dataclasses import dataclass, field
from itertools import product

import numpy as np
from prometheus_client import CollectorRegistry, Counter

from pointsman.core.errors import UpstreamError
from pointsman.core.ladder import ladder, rung_at
from pointsman.core.pair import ModelPair
from pointsman.serve.autopilot.draw import Draws
from pointsman.serve.autopilot.place import Prompt
from pointsman.serve.autopilot.state import AutopilotState
from pointsman.serve.autopilot.train_generation import train_candidates
from pointsman.serve.config.autopilot import AutopilotConfig
from pointsman.serve.feedback.comparison import Compared, Other
from pointsman.serve.feedback.sample import Sample
from pointsman.serve.protocols.usage import Charge
from pointsman.serve.store.rows import AutopilotRow, ComparisonRow, Row
from pointsman.serve.upstreams.tries import Attempt

__all__ = ["CONFIDENCE", "OF_THREE", "SCENARIOS", "Scenario", "stream_is_broken"]

_BOUND, CONFIDENCE, _READABLE, _TURN, _FAILING = 0.1, 0.95, 0.9, 25, 0.05
_PAIR = ModelPair("big", "small")
_CONFIG = AutopilotConfig(
    max_loss=_BOUND,
    confidence=CONFIDENCE,
    judge="none",
    label_share=1.0,
    compare=0.6,
    max_failures=0.9,
    queue=1000,
    concurrency=64,
).model_copy(update={"label_share": 0.0})  # losses are planted: nobody is asked


@dataclass(frozen=True)
class Scenario:
    """Planted streams; see above.

    Attributes:
        loss: mean loss of a weak answer that can be read; of the middle one of three candidates.
        graded: losses spread over an interval; else -1, 0 and 1.
        many: the choice among three candidates is certified.
        learns: by win rates that are learned, too.
    """

    name: str
    loss: float
    graded: bool = False
    many: bool = False
    learns: bool = False


_AT = _BOUND * (1.0 + 1e-9) / (0.5 * _READABLE)  # the step of half of the readable answers is the first above the bound
SCENARIOS = tuple(
    Scenario(f"{name}, {'graded' if graded else 'binary'}", loss, graded)
    for name, loss in (("at", _AT), ("below", 0.98 * _BOUND / _READABLE), ("far", 0.2 * _BOUND / _READABLE))
    for graded in (False, True)
)

_BILLS = (("big", 1.0), ("middle", 0.4), ("small", 0.0))
_LOSES = (0.0, 1.0, 1.5)  # of each candidate, times the scenario's loss
_LENGTH = 500  # of a typical prompt: its rungs begin where its win rates say
_KINDS = [(0.5, *rates) for rates in product((0.1, 0.3, 0.5, 0.7, 0.9), repeat=2)]
_LADDERS = {rates: ladder(rates, [bill for _, bill in _BILLS]) for rates in _KINDS}
_EMBEDDINGS = tuple(np.eye(2, dtype=np.float32))  # of prompts that lose little and much
_FACTORS = (0.4, 1.6)
_TRAINED_ON = 150


def _lost_among_three(threshold: float) -> float:
    """Mean loss of what a threshold serves, in losses of the middle candidate."""
    return sum(_LOSES[rung_at(rungs, threshold)] for rungs in _LADDERS.values()) / len(_LADDERS)


_BEGINS = sorted(rung.since for rungs in _LADDERS.values() for rung in rungs)
_AT_MIDDLE = _lost_among_three(_BEGINS[len(_BEGINS) // 2] + 1e-9)
OF_THREE = tuple(
    Scenario(f"{name} of three{', learned' * learns}, {'graded' if graded else 'binary'}", loss, graded, True, learns)
    for learns in (False, True)
    for name, loss in (("at", _BOUND * (1.0 + 1e-9) / _AT_MIDDLE), ("below", 0.98 * _BOUND / _lost_among_three(1.0)),
                       ("far", 0.2 * _BOUND / _lost_among_three(1.0)))
    for graded in (False, True)
)  # fmt: skip


@dataclass
class _Process:
    """One process: its draws, and the rows that it has not handed over."""

    draws: Draws
    rows: list[AutopilotRow] = field(default_factory=list)


class _Stream:
    """The parts of a server with two processes, and what is planted."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self.scenario, self.rng = scenario, random.Random(seed)
        self.state = AutopilotState("")
        self.state.serve("answers", None, "terms", 0.0, bills=_BILLS if scenario.many else ())
        self.losses: dict[str, dict[str, float]] = {}  # by request and by who answers in place of big
        self.rows: list[AutopilotRow] = []  # to learn from
        self.processes = [self._process(), self._process()]

    def _process(self) -> _Process:
        results = Counter("results", "Results.", ["result"], registry=CollectorRegistry())
        rng, found = random.Random(self.rng.random()), list[AutopilotRow]()

        def put(row: Row) -> None:
            if isinstance(row, AutopilotRow):
                found.append(row)

        process = _Process(Draws(_CONFIG, put=put, compare=self._compare, results=results, rng=rng), found)
        process.draws.follow(self._kept().running)
        return process

    def _kept(self) -> AutopilotState:
        """The state as a process reads it from the store."""
        return AutopilotState.from_dict(json.loads(json.dumps(self.state.to_dict())))

    async def _compare(self, sample: Sample, other: Other | None, charges: list[Charge]) -> Compared:
        for _ in range(self.rng.randrange(3)):
            await asyncio.sleep(0)
        if self.rng.random() < _FAILING:
            raise UpstreamError("planted")
        weak = sample.against or "small"
        row = ComparisonRow(id=sample.request_id, request_id=sample.request_id, at=1.0, model_a="big", model_b=weak,
                            outcome=0.5, judge="planted")  # fmt: skip
        share = (1.0 + self.losses[sample.request_id][weak]) / 2.0
        return Compared(row, True, share, other or Other("b", Attempt(weak), 1), "a")

    def request(self, number: int) -> None:
        """One request to one of the processes."""
        rng, draws = self.rng, self.rng.choice(self.processes).draws
        readable = rng.random() < _READABLE
        score = rng.randrange(20) / 20.0 if readable else 1.0
        luck, mean = rng.random(), self.scenario.loss
        sample = Sample(f"{number:06}", None, "big", {}, "q", "a", 1)
        hard = rng.randrange(2) if self.scenario.learns else 0
        mean *= _FACTORS[hard] if self.scenario.learns else 1.0
        means = {"middle": mean, "small": _LOSES[2] * mean} if self.scenario.many else {"small": mean}
        self.losses[sample.request_id] = {name: self._lost(luck, each) for name, each in means.items()}
        if self.scenario.many:
            rates = rng.choice(_KINDS)
            embedding = _EMBEDDINGS[hard] if self.scenario.learns else None
            prompt = Prompt(sum(rates[1:]) / 2.0, _LENGTH, embedding, rates)
            draws.see(prompt)
            draws.draw(lambda: sample, prompt, _CONFIG)
            return
        prompt, other = Prompt(score, 1, None), Other("b", Attempt("small"), 1)
        if not self.threshold:

            async def read(charges: list[Charge]) -> tuple[Prompt, Other]:
                await asyncio.sleep(0)
                return prompt, other

            draws.draw(lambda: sample, None, _CONFIG, read=read)
            return
        draws.see(prompt)
        if score >= 1.0:
            draws.pass_over()
        else:
            draws.draw(lambda: sample, prompt, _CONFIG, other=other if score >= self.threshold else None)

    def _lost(self, luck: float, mean: float) -> float:
        if self.scenario.graded:
            return mean + 0.5 * (2.0 * luck - 1.0)
        return 1.0 if luck < mean + 0.05 else -1.0 if luck > 0.95 else 0.0

    @property
    def threshold(self) -> float:
        """That is certified; 0 while nothing is."""
        current = self.state.current
        return max(current.threshold, 0.0) if current is not None else 0.0

    @property
    def true_loss(self) -> float:
        """Of what is served: the mean loss times the share of the answers whose score is below the threshold."""
        if self.scenario.many:
            return self.scenario.loss * sum(_LOSES[m] * factor for m, factor in self.chosen()) / (2.0 * len(_KINDS))
        n_below = sum(k / 20.0 < self.threshold for k in range(20))
        return self.scenario.loss * _READABLE * n_below / 20.0

    def chosen(self) -> list[tuple[int, float]]:
        """Of three candidates who answers each kind of prompt, and how much more such prompts lose."""
        current, threshold = self.state.current, self.threshold
        if current is None or not threshold:
            return []
        factors = _FACTORS if self.scenario.learns else (1.0, 1.0)
        return [
            (rung_at(current.rungs(rates, _LENGTH, embedding), threshold), factor)
            for rates in _KINDS
            for embedding, factor in zip(_EMBEDDINGS, factors, strict=True)
        ]

    def learn(self, rows: list[AutopilotRow]) -> None:
        """Has a generation begin once there are enough comparisons, whether or not it is expected to pay."""
        before = len(self.rows)
        self.rows += rows
        if self.scenario.learns and before < _TRAINED_ON <= len(self.rows):
            found = train_candidates(self.rows, serving=None, max_loss=_BOUND, bills=_BILLS)
            self.state.trained(found | {"pays": True}, 1.0)

    async def turn(self) -> None:
        """Hands over what is compared; now and then a process is killed instead, and all is read back."""
        for _ in range(self.rng.randrange(2, 9)):
            await asyncio.sleep(0)
        for place, process in enumerate(self.processes):
            if self.rng.random() < 0.05:
                await process.draws.close()
                self.processes[place] = self._process()
                continue
            process.draws.flush(_CONFIG, _PAIR)
            rows, process.rows[:] = list(process.rows), []
            for number, scores in process.draws.warmed_up().items():
                self.state.begin_chain(number, scores, _CONFIG, 1.0)
            self.state.count(rows, _CONFIG, 1.0)
            self.learn(rows)
        if self.rng.random() < 0.1:
            self.state = self._kept()
        for process in self.processes:
            process.draws.follow(self._kept().running)


async def stream_is_broken(scenario: Scenario, seed: int, *, n_requests: int) -> tuple[bool, float]:
    """Whether what was served ever lost more than the bound, and the share that is certified at the end."""
    stream, broken = _Stream(scenario, seed), False
    for number in range(n_requests):
        stream.request(number)
        if number % _TURN == _TURN - 1:
            await stream.turn()
            broken = broken or stream.true_loss > _BOUND
    for process in stream.processes:
        await process.draws.close()
    if scenario.many:
        return broken, sum(m > 0 for m, _ in stream.chosen()) / (2.0 * len(_KINDS))
    share = sum(k / 20.0 < stream.threshold for k in range(20)) / 20.0
    return broken, share
