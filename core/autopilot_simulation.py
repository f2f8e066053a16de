"""Replays a labelled table as traffic: what would have been certified when, and whether the bound held."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from pointsman.core.arrays import FloatArray, IntArray
from pointsman.core.autopilot import (
    TRAINED_AT,
    JointPlan,
    Policies,
    expected_to_pay,
    make_joint_plan,
    served_generation,
)
from pointsman.core.certificate import Certificate, generation_error
from pointsman.core.ladder import draw_rung
from pointsman.core.threshold_chain import make_chain

__all__ = ["Learner", "Moment", "Simulation", "Table", "simulate"]

_WARM_UP = 60
_REPLAN_EVERY = 10
Learner: TypeAlias = Callable[[IntArray, FloatArray], tuple[FloatArray, FloatArray]]


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Prompts with known outcomes.

    Of many candidates there is a row for each but the reference, as a first axis of `scores` and `losses`.

    Attributes:
        scores: of generation 0, the higher the more the strong model is needed, shape (n_prompts,); of many candidates
            where a prompt's rung begins, see `core.ladder`: infinite where it has none of that candidate.
        losses: strong's score less weak's, in [-1, 1], shape (n_prompts,).
        saved_usd: dollars saved against the strong model alone, by who answers, the strong model first, shape
            (n_models, n_prompts).
        compared_usd: dollars of comparing by who answers and, of many candidates, who is compared with the reference,
            shape (n_models, n_prompts) or (n_models, n_models - 1, n_prompts).
        untils: where rungs end, shape of `scores`; None for a pair.
    """

    scores: FloatArray
    losses: FloatArray
    saved_usd: FloatArray
    compared_usd: FloatArray
    untils: FloatArray | None = None


@dataclass(frozen=True, slots=True)
class Moment:
    """The state after a number of requests.

    Attributes:
        requests: number of requests.
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
        worst_loss: the highest true loss at any moment.
        generations: number of comparisons at which each generation began.
    """

    moments: tuple[Moment, ...]
    broken: bool
    worst_loss: float
    generations: tuple[int, ...]


@dataclass(slots=True, eq=False)
class _Generation:
    scores: FloatArray  # shape (n_models - 1, n_prompts), as are `untils` and `cells`
    untils: FloatArray
    certificate: Certificate
    cells: IntArray
    unseen: np.ndarray  # prompts that it was not trained on: its true loss is theirs

    def chosen(self, threshold: float) -> IntArray:
        """Who answers each prompt at a threshold; 0 the reference, shape (n_prompts,)."""
        on_rung = (self.scores < threshold) & (threshold <= self.untils)
        return np.where(on_rung.any(axis=0), 1 + on_rung.argmax(axis=0), 0)


@dataclass(slots=True)
class _Totals:
    loss: float = 0.0
    saved: float = 0.0
    spent: float = 0.0
    compared: int = 0
    worst: float = 0.0
    began: list[int] = field(default_factory=list)


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
    losses = np.atleast_2d(table.losses)
    (n_others, n), last = losses.shape, int(requests[-1])
    compared_usd = table.compared_usd.reshape(1 + n_others, -1, n)
    lost = np.concatenate([np.zeros((1, n)), losses])  # by who answers
    order = np.concatenate([rng.permutation(n) for _ in range(-(-last // n))])[:last]
    drawn_below = rng.random(last)
    error = 1.0 - confidence
    warm = min(_WARM_UP, last)

    def begin(scores: FloatArray, untils: FloatArray, earlier: IntArray, trained: IntArray) -> _Generation:
        begins = scores[:, earlier]
        chain = make_chain(begins[np.isfinite(begins)], firsts=begins.min(axis=0))
        certificate = Certificate(chain, max_loss=max_loss, error=generation_error(error, len(totals.began)))
        unseen = np.ones(n, dtype=bool)
        unseen[trained] = False
        return _Generation(scores, untils, certificate, chain.cells(scores), unseen if unseen.any() else ~unseen)

    totals, moments, seen = _Totals(), [], list[tuple[int, float]]()
    first = np.atleast_2d(table.scores)
    endless = np.full((1, n), np.inf)
    ends = endless if table.untils is None else np.atleast_2d(table.untils)
    generations = [begin(first, ends, order[:warm], np.array([], dtype=np.int64))]
    totals.began.append(0)
    plan, serving, undrawn, threshold = None, 0, 0, -np.inf
    now = generations[0].chosen(threshold)
    looks = set(requests.tolist())
    for at, row in enumerate(order):
        answered = int(now[row])
        totals.loss += lost[answered, row]
        totals.saved += table.saved_usd[answered, row] if threshold > -np.inf else 0.0
        if at >= warm:
            if plan is None:
                plan, undrawn = make_joint_plan([g.certificate for g in generations], share, most=n_others), 0
            drawn = _drawn(plan, generations, row, drawn_below[at])
            if drawn is None:
                undrawn += 1
            else:
                other, probability = drawn
                for i, each in enumerate(generations):
                    each.certificate.add(
                        float(each.scores[other, row]), float(losses[other, row]), probability=probability,
                        least=plan.least(i, len(each.certificate.chain)), n_undrawn=undrawn,
                        until=float(each.untils[other, row]),
                    )  # fmt: skip
                undrawn = 0
                seen.append((int(row), 1.0 / probability))
                totals.compared += 1
                totals.spent += compared_usd[answered, min(other, compared_usd.shape[1] - 1), row]
                if learn is not None and totals.compared in TRAINED_AT:
                    rows = np.array([r for r, _ in seen])
                    weights = np.array([w for _, w in seen])
                    scores, left_out = learn(rows, losses[0, rows])
                    current, new = Policies(generations[serving].scores[0, rows]), Policies(left_out)
                    if expected_to_pay(new, current, losses[0, rows], weights, max_loss=max_loss):
                        generations = [generations[serving], begin(scores[None], endless, order[:at], rows)]
                        totals.began.append(totals.compared)
                        serving, plan = 0, None
                before = serving, threshold
                serving = served_generation([g.certificate for g in generations])
                threshold = generations[serving].certificate.threshold
                if (serving, threshold) != before:
                    plan, now = None, generations[serving].chosen(threshold)
                    totals.worst = max(totals.worst, _true(generations[serving], lost, now)[1])
                if totals.compared % _REPLAN_EVERY == 0:
                    plan = None
        if at + 1 in looks:
            weak_share, true_loss = _true(generations[serving], lost, now)
            moments.append(
                Moment(at + 1, weak_share, true_loss, totals.loss / (at + 1), totals.compared, totals.saved,
                       totals.spent, len(totals.began) - len(generations) + serving,
                       _needed(generations[serving].certificate))
            )  # fmt: skip
    return Simulation(tuple(moments), totals.worst > max_loss, totals.worst, tuple(totals.began))


def _drawn(plan: JointPlan, generations: Sequence[_Generation], row: int, level: float) -> tuple[int, float] | None:
    """Who is compared with the reference, and with what probability; None where nobody is."""
    n_others = len(generations[0].cells)
    if n_others == 1:
        probability = plan.probability([int(each.cells[0, row]) for each in generations])
        return (0, probability) if level < probability else None
    cells, n_steps = generations[0].cells[:, row], len(generations[0].certificate.chain)
    chosen = {int(other): int(cells[other]) for other in np.flatnonzero(cells < n_steps)}  # ever
    return draw_rung(plan.of_rungs([chosen], n_others), level)


def _true(generation: _Generation, lost: FloatArray, chosen: IntArray) -> tuple[float, float]:
    """Share of the models other than the reference, and true mean loss."""
    unseen = generation.unseen
    at = lost[chosen, np.arange(len(chosen))]
    return float((chosen > 0)[unseen].mean()), float(at[unseen].mean())


def _needed(certificate: Certificate) -> int | None:
    n_open = certificate.n_open
    return certificate.requests_needed(n_open) if n_open < len(certificate.chain) else None
