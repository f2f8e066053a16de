"""A labelled table as traffic for the autopilot's simulation: scores without labels, losses, dollars, and a learner."""

from dataclasses import dataclass

import numpy as np

from pointsman.backends.data.tables import Source, column_names, read_table
from pointsman.backends.embedders import resolve_embedder
from pointsman.backends.evaluation.outcome_pairs import PairOutcomes, holds_rows_per_model, read_pair_outcomes
from pointsman.core.arrays import FloatArray, IntArray
from pointsman.core.autopilot import first_score
from pointsman.core.autopilot_simulation import Learner, Table
from pointsman.core.counted import counted
from pointsman.core.errors import DataError
from pointsman.core.learned_score import Seen, fit_learned_score
from pointsman.core.router import Router

__all__ = ["LabelledTraffic", "comparison_learner", "read_labelled_traffic"]

_CONFIDENCE = "confidence"


@dataclass(frozen=True, slots=True, eq=False)
class LabelledTraffic:
    """Prompts whose outcomes are known.

    Attributes:
        outcomes: of the pair.
        look: the column that the cascade's second look reads, or None: prompts alone are looked at.
        doubt: less the weak model's confidence in its answer, or a score of that column; None with `look`.
    """

    outcomes: PairOutcomes
    look: str | None
    doubt: FloatArray | None

    def table(self, router: Router, *, judge_usd: float = 0.0) -> Table:
        """As the simulation takes it.

        Args:
            router: says how generation 0 scores prompts, where there is no second look.
            judge_usd: dollars of having two answers judged.
        """
        outcomes, (low, high) = self.outcomes, self.outcomes.scale
        losses = (outcomes.strong - outcomes.weak) / (high - low)
        zero = np.zeros(len(outcomes))
        known = outcomes.strong_usd is not None and outcomes.weak_usd is not None
        strong, weak = (outcomes.strong_usd, outcomes.weak_usd) if known else (zero, zero)
        assert strong is not None and weak is not None
        if self.doubt is None:
            lengths = np.array([float(len(prompt)) for prompt in outcomes.prompts])
            scores = first_score(router.win_rates(list(outcomes.prompts)), lengths)
            return Table(scores, losses, np.stack([zero, strong - weak]), np.stack([weak, strong]) + judge_usd)
        saved = np.stack([-weak, strong - weak])  # the weak model is asked first, whoever answers
        return Table(self.doubt, losses, saved, np.stack([zero, strong]) + judge_usd)


def read_labelled_traffic(
    source: Source,
    *,
    strong: str | None = None,
    weak: str | None = None,
    confidence: str | None = None,
    score: str | None = None,
    prompts_only: bool = False,
    scale: tuple[float, float] = (0.0, 1.0),
) -> LabelledTraffic:
    """Reads a table of outcomes, and what a second look at the weak model's answer would see.

    Args:
        strong, weak: names of the models, see `read_pair_outcomes`.
        confidence: column of the weak model's confidence in its own answer, the higher the surer; `confidence` where
            there is such a column and no `score`, if None.
        score: column of a score of the answer, the higher the more the strong model is needed.
        prompts_only: no second look.
        scale: lowest and highest score possible.

    Raises:
        DataError: the table is malformed, a model or a column is missing, or a value is not finite.
    """
    names = column_names(source)
    if confidence is None and score is None and _CONFIDENCE in names and not prompts_only:
        confidence = _CONFIDENCE
    look = None if prompts_only else (score or confidence)
    long = holds_rows_per_model(names)
    outcomes = read_pair_outcomes(
        source, strong=strong, weak=weak, scale=scale, columns=[look] if look and not long else []
    )
    if look is None:
        return LabelledTraffic(outcomes, None, None)
    values = _of_weak_rows(source, look, outcomes) if long else outcomes.columns[look]
    return LabelledTraffic(outcomes, look, values if look == score else -values)


def _of_weak_rows(source: Source, column: str, outcomes: PairOutcomes) -> FloatArray:
    """A column of a long table, of the weak model's rows, in the order of the prompts; the first row of each counts."""
    table = read_table(source, columns=["prompt", "model", column])
    found: dict[str, float] = {}
    rows = zip(table.texts("prompt"), table.texts("model"), table.scores(column), strict=True)
    for prompt, model, value in rows:
        if model == outcomes.pair.weak:
            found.setdefault(prompt, value)
    values = np.array([found[prompt] for prompt in outcomes.prompts])
    if bad := int((~np.isfinite(values)).sum()):
        raise DataError(
            f"{source}: {column} is missing in {counted(bad, 'row')} of model {outcomes.pair.weak!r}; "
            "complete it, or look at prompts alone with --prompts-only"
        )
    return values


def comparison_learner(outcomes: PairOutcomes, router: Router, *, embedder: str = "static+length") -> Learner:
    """Learns a score from comparisons, as the server does for a new generation; see `core.learned_score`."""
    prompts = list(outcomes.prompts)
    seen = Seen(
        router.win_rates(prompts),
        np.array([float(len(prompt)) for prompt in prompts]),
        np.asarray(resolve_embedder(embedder)(prompts), dtype=np.float32),
    )

    def learn(rows: IntArray, losses: FloatArray) -> tuple[FloatArray, FloatArray]:
        compared = Seen(seen.win_rates[rows], seen.n_characters[rows], seen.embeddings[rows])
        score, left_out = fit_learned_score(compared, losses)
        return score.many(seen), left_out

    return learn
