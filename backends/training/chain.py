"""Which models form a cascade: chosen from a table of answers of any number of models.

For every model that may come last a verifier of each weaker one is trained against it. A chain is such models in any
order of rising mean score; `core.chain` makes all of its thresholds of one number. Of all chains and numbers whose mean
score on rows left out of training reaches the goal, the cheapest is chosen. What it promises on these rows flatters it
a little, for being the best of many: it is to be measured on others.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pointsman.backends.data.answers import AnswerTable
from pointsman.backends.training.answer_data import Known
from pointsman.backends.training.embeddings import PromptEmbeddings
from pointsman.backends.training.verifier import VerifierRecipe, fit_left_out
from pointsman.core.arrays import FloatArray
from pointsman.core.cascade import Window, window
from pointsman.core.chain import Played, chain_thresholds, play_chain
from pointsman.core.checkpoint import Checkpoint
from pointsman.core.dollars import dollars
from pointsman.core.errors import DataError

__all__ = ["Chain", "fit_chain"]

_N_LAST = 2  # models that may come last: the best ones
_LEAST_SCORE = 0.5  # of the best one's, for a model to be worth asking first
_PER_LAST_USD = np.linspace(-0.1, 0.6, 141)  # quality that the last model's mean dollars must buy


@dataclass(frozen=True, slots=True, eq=False)
class Chain:
    """A chosen cascade.

    Attributes:
        models: in the order in which they are asked.
        verifiers: of each model but the last.
        thresholds: of each model but the last.
        zones: around the prompt's win rate, of each model but the last.
        best: the best single model, whose quality is the goal.
        goal, best_usd: its mean score less the allowed loss, and its mean dollars.
        score, usd: mean over rows left out of training.
        shares: of the prompts that each model answers.
    """

    models: tuple[str, ...]
    verifiers: tuple[Checkpoint, ...]
    thresholds: tuple[float, ...]
    zones: tuple[Window, ...]
    best: str
    goal: float
    best_usd: float
    score: float
    usd: float
    shares: tuple[float, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Fitted:
    """A verifier, and its predictions for rows left out."""

    checkpoint: Checkpoint
    prompt: FloatArray
    read: FloatArray
    residuals: FloatArray


def fit_chain(
    table: AnswerTable,
    embeddings: PromptEmbeddings,
    candidates: Sequence[str],
    recipe: VerifierRecipe | None = None,
    *,
    max_loss: float = 0.0,
    max_models: int = 4,
    on_fitted: Callable[[], None] = lambda: None,
) -> Chain:
    """The cheapest chain of candidates that reaches the best single one's mean score.

    Args:
        table: in which all candidates have scores and dollars.
        embeddings: of its prompts, in their order.
        max_loss: of that score, in [0, 1].
        max_models: longest chain.
        on_fitted: called for every verifier that was trained.

    Raises:
        DataError: scores, answers or dollars of a candidate are missing, or no chain is cheaper than the best single.
    """
    some, values = _complete(table, embeddings, candidates)
    column = {name: some.models.index(name) for name in candidates}
    score = {name: float(some.score[:, k].mean()) for name, k in column.items()}
    usd = {name: float(some.usd[:, k].mean()) for name, k in column.items()}
    ranked = sorted(candidates, key=lambda name: -score[name])
    best, goal = ranked[0], score[ranked[0]] - max_loss
    fitted: dict[tuple[str, str], _Fitted] = {}
    known = Known()
    for last in ranked[:_N_LAST]:
        for name in ranked[ranked.index(last) + 1 :]:
            if score[name] >= _LEAST_SCORE * score[best] and np.any(
                some.score[:, column[last]] != some.score[:, column[name]]
            ):
                fitted[name, last] = _fit(some.pair(last, name), values, recipe, known)
                on_fitted()
    found: list[tuple[float, tuple[str, ...], tuple[float, ...], Played, list[Window]]] = []
    for models in _chains(ranked, fitted, max_models):
        places = [column[name] for name in models]
        of = [fitted[name, models[-1]] for name in models[:-1]]
        zones = [
            window(one.residuals, weak_usd=usd[name], strong_usd=usd[after])
            for one, name, after in zip(of, models, models[1:], strict=False)
        ]
        for part in _PER_LAST_USD:
            thresholds = chain_thresholds([usd[name] for name in models], float(part) / max(usd[models[-1]], 1e-12))
            played = play_chain(
                [one.prompt for one in of],
                [one.read for one in of],
                thresholds,
                zones,
                score=some.score[:, places],
                usd=some.usd[:, places],
            )
            if played.score.mean() >= goal - 1e-12:
                found.append((float(played.usd.mean()), models, thresholds, played, zones))
    cheapest = min(found, key=lambda each: each[:2], default=None)
    if cheapest is None or cheapest[0] >= usd[best]:
        raise DataError(
            f"{table.report.source}: no cascade reaches the quality of {best!r} ({goal:.4f}) below its cost of "
            f"{dollars(usd[best])} a prompt: ask {best!r} alone, or allow a loss with --max-loss"
        )
    bill, models, thresholds, played, zones = cheapest
    return Chain(
        models,
        tuple(fitted[name, models[-1]].checkpoint for name in models[:-1]),
        thresholds,
        tuple(zones),
        best,
        goal,
        usd[best],
        float(played.score.mean()),
        bill,
        tuple(float((played.answered == k).mean()) for k in range(len(models))),
    )


def _complete(
    table: AnswerTable, embeddings: PromptEmbeddings, candidates: Sequence[str]
) -> tuple[AnswerTable, PromptEmbeddings]:
    """The rows that every candidate answered, at a known bill."""
    if missing := [name for name in candidates if name not in table.models]:
        raise DataError(
            f"{table.report.source} has too few answers of {missing[0]!r}; it has those of {', '.join(table.models)}"
        )
    places = [table.models.index(name) for name in candidates]
    known = ~np.isnan(table.score[:, places]).any(axis=1)
    for k in places:
        known &= np.array([answer is not None for answer in table.answers[k]])
    if known.any() and np.isnan(table.usd[np.ix_(known, places)]).any():
        raise DataError(f"{table.report.source} lacks cost_usd of some answers: a chain is chosen by its dollars")
    rows = np.flatnonzero(known)
    return table.rows(rows.tolist()), replace(embeddings, values=embeddings.values[rows])


def _fit(table: AnswerTable, embeddings: PromptEmbeddings, recipe: VerifierRecipe | None, known: Known) -> _Fitted:
    checkpoint, prompt, read = fit_left_out(table, embeddings, recipe, known=known)
    return _Fitted(checkpoint, prompt, read, checkpoint.array("residuals", ndim=1))


def _chains(
    ranked: Sequence[str], fitted: dict[tuple[str, str], _Fitted], max_models: int
) -> Iterator[tuple[str, ...]]:
    """Models of rising mean score, up to each that may come last."""
    for last in dict.fromkeys(last for _, last in fitted):
        before = [name for name in reversed(ranked) if (name, last) in fitted]
        for n_before in range(1, max_models):
            for chosen in itertools.combinations(before, n_before):
                yield (*chosen, last)
