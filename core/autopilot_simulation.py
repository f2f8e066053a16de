"""A labelled table replayed as traffic: what would have been certified when, and whether the bound held."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from pointsman.core.arrays import FloatArray, IntArray
from pointsman.core.autopilot import TRAINED_AT, expected_to_pay, make_joint_plan, served_generation
from pointsman.core.certificate import Certificate, generation_error, make_chain

__all__ = ["Learner", "Moment", "Simulation", "Table", "simulate"]

_WARM_UP = 60
_REPLAN_EVERY = 10
Learner: TypeAlias = Callable[[IntArray, FloatArray], tuple[FloatArray, FloatArray]]


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Prompts whose outcomes are known.

    Attributes:
        scores: of generation 0, the higher the more the strong model is needed, shape (n_prompts,).
        losses: strong's score less weak's, in [-1, 1], shape (n_prompts,).
        saved_usd: dollars saved against the strong model alone, where the strong and where the weak model's answer is
            given, shape (2, n_prompts).
        compared_usd: dollars of comparing in the two cases, shape (2, n_prompts).
    """

    scores: FloatArray
    losses: FloatArray
    saved_usd: FloatArray
    compared_usd: FloatArray


@dataclass(frozen=True, slots=True)
class Moment:
    """What was so after some requests.

    Attributes:
        requests: that had come.
        weak_share: share of all traffic that is certified to the weak model now.
        policy_loss: true mean loss of what is served now.
        loss: mean loss of the requests so far.
        compared: comparisons so far.
        saved_usd, compared_usd: dollars so far.
        generation: that serves.
        needed: about how many more requests would open its next step; None if no number would, or all are open.
    """

    requests: int
    weak_share: float
    policy_loss: float
    loss: float
    compared: int
    saved_usd: float
    compared_usd: float
    generation: int
    needed: int | None


@dataclass(frozen=True, slots=True)
class Simulation:
    """One order of the table as traffic.

    Attributes:
        moments: after the numbers of requests that were asked for.
        broken: whether the true loss of what was served was above the bound at any moment.
        worst_loss: the highest true loss of what was ever served.
        generations: comparisons at which each generation began.
    """

    moments: tuple[Moment, ...]
    broken: bool
    worst_loss: float
    generations: tuple[int, ...]


@dataclass(slots=True, eq=False)
class _Generation:
    scores: FloatArray
    certificate: Certificate
    cells: IntArray
    unseen: np.ndarray  # prompts that it was not trained on: its true loss is theirs


@dataclass(slots=True)
class _Totals:
    loss: float = 0.0
    saved: float = 0.0
    spent: float = 0.0
    compared: int = 0
    worst: float = 0.0
    began: list[int] = field(default_factory=lambda: [0])


def simulate(
    table: Table,
    requests: IntArray,
    *,
    max_loss: float,
    share: float,
    rng: np.random.Generator,
    confidence: float = 0.95,
    learn: Learner | None = None,
) -> Simulation:
    """Replays a table in a random order; started again in another order where more requests are asked for than it has.

    Args:
        requests: numbers of requests at which to look, rising.
        share: of the requests that are compared.
        rng: draws the order and the comparisons.
        learn: from rows and their losses, scores of all prompts, and of those rows each made without its own loss; None
            keeps to generation 0.
    """
    n, last = len(table.losses), int(requests[-1])
    order = np.concatenate([rng.permutation(n) for _ in range(-(-last // n))])[:last]
    drawn_below = rng.random(last)
    error = 1.0 - confidence
    warm = min(_WARM_UP, last)

    def begin(scores: FloatArray, earlier: IntArray, trained: IntArray, number: int) -> _Generation:
        certificate = Certificate(make_chain(scores[earlier]), max_loss=max_loss, error=generation_error(error, number))
        unseen = np.ones(n, dtype=bool)
        unseen[trained] = False
        return _Generation(scores, certificate, certificate.chain.cells(scores), unseen if unseen.any() else ~unseen)

    generations = [begin(table.scores, order[:warm], np.array([], dtype=np.int64), 0)]
    totals, moments, seen = _Totals(), [], list[tuple[int, float]]()
    plan, serving, undrawn, threshold = None, 0, 0, -np.inf
    looks = set(requests.tolist())
    for at, row in enumerate(order):
        is_weak = generations[serving].scores[row] < threshold
        totals.loss += table.losses[row] if is_weak else 0.0
        totals.saved += table.saved_usd[int(is_weak), row] if threshold > -np.inf else 0.0
        if at >= warm:
            if plan is None:
                plan, undrawn = make_joint_plan([g.certificate for g in generations], share), 0
            probability = plan.probability([int(g.cells[row]) for g in generations])
            if drawn_below[at] >= probability:
                undrawn += 1
            else:
                for i, each in enumerate(generations):
                    each.certificate.add(
                        float(each.scores[row]), float(table.losses[row]), probability=probability,
                        least=plan.least(i, len(each.certificate.chain)), n_undrawn=undrawn,
                    )  # fmt: skip
                undrawn = 0
                seen.append((int(row), 1.0 / probability))
                totals.compared += 1
                totals.spent += table.compared_usd[int(is_weak), row]
                if learn is not None and totals.compared in TRAINED_AT:
                    rows = np.array([r for r, _ in seen])
                    weights = np.array([w for _, w in seen])
                    scores, left_out = learn(rows, table.losses[rows])
                    now = generations[serving].scores[rows]
                    if expected_to_pay(left_out, now, table.losses[rows], weights, max_loss):
                        generations = [generations[serving], begin(scores, order[:at], rows, len(totals.began))]
                        totals.began.append(totals.compared)
                        serving, plan = 0, None
                before = serving, threshold
                serving = served_generation([g.certificate for g in generations])
                threshold = generations[serving].certificate.threshold
                if (serving, threshold) != before:
                    plan = None
                    totals.worst = max(totals.worst, _true(generations[serving], table, threshold)[1])
                if totals.compared % _REPLAN_EVERY == 0:
                    plan = None
        if at + 1 in looks:
            weak_share, true_loss = _true(generations[serving], table, threshold)
            moments.append(
                Moment(at + 1, weak_share, true_loss, totals.loss / (at + 1), totals.compared, totals.saved,
                       totals.spent, len(totals.began) - len(generations) + serving,
                       _needed(generations[serving].certificate))
            )  # fmt: skip
    return Simulation(tuple(moments), totals.worst > max_loss, totals.worst, tuple(totals.began))


def _true(generation: _Generation, table: Table, threshold: float) -> tuple[float, float]:
    """Share of the weak model and true mean loss of a threshold."""
    weak = (generation.scores < threshold)[generation.unseen]
    return float(weak.mean()), float((table.losses[generation.unseen] * weak).mean())


def _needed(certificate: Certificate) -> int | None:
    n_open = certificate.n_open
    return certificate.requests_needed(n_open) if n_open < len(certificate.chain) else None
