"""Features of a table's answers, from their texts and their prompts' neighbours, before anything is fitted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from pointsman.backends.data.answers import AnswerTable
from pointsman.core.answer_signals import SIGNALS, answer_signals
from pointsman.core.arrays import Float32Array, FloatArray, IntArray
from pointsman.core.knn import neighbour_means
from pointsman.core.verifier import features

__all__ = ["N_QUANTILES", "AnswerData", "Known"]

N_QUANTILES = 1001


@dataclass(slots=True, eq=False)
class Known:
    """Results for one pair that can be reused for another pair of the same rows.

    Attributes:
        signals: of each model's answers.
        near: mean score and length of neighbours, by the rows learnt from and the rows asked for, then by model.
    """

    signals: dict[str, Mapping[str, FloatArray]] = field(default_factory=dict)
    near: dict[tuple[bytes, bytes], dict[str, FloatArray]] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class AnswerData:
    """A table of answers prepared for fitting: signals of each answer, and its prompt's neighbours.

    Attributes:
        embeddings: of the prompts, at unit norm.
        win_rates: a router's for the prompts, if any.
        k, temperature: of a prompt's neighbours, see `core.knn`.
        known: what was computed before; added to.
        signals, lengths: of each model's answers, in the order of the table's models.
    """

    table: AnswerTable
    embeddings: Float32Array
    win_rates: FloatArray | None
    k: int
    temperature: float
    known: Known
    signals: list[Mapping[str, FloatArray]] = field(init=False)
    lengths: list[FloatArray] = field(init=False)

    def __post_init__(self) -> None:
        for name, answers in zip(self.table.models, self.table.answers, strict=True):
            if name not in self.known.signals:
                self.known.signals[name] = answer_signals(self.table.prompts, answers)
        self.signals = [self.known.signals[name] for name in self.table.models]
        self.lengths = [np.where(np.isnan(s["tokens"]), s["characters"], s["tokens"]) for s in self.signals]

    def doubts(self, model: int, rows: IntArray) -> FloatArray:
        """Quantiles of a model's doubt about its answers, shape (1001,); (0,) where none is known."""
        doubt = self.signals[model]["doubt"][rows]
        doubt = doubt[~np.isnan(doubt)]
        return np.quantile(doubt, np.linspace(0.0, 1.0, N_QUANTILES)) if doubt.size else np.zeros(0)

    def records(self, model: int, rows: IntArray) -> FloatArray:
        """Scores of weak and strong on these prompts, and the length of the weak answer."""
        lengths = np.nan_to_num(self.lengths[model][rows])
        return np.stack([self.table.score[rows, model], self.table.score[rows, 0], lengths], axis=1)

    def columns(self, model: int, learnt: IntArray, rows: IntArray) -> dict[str, FloatArray]:
        """Features of some rows with one model in the weak one's place, as learnt from others (never from itself)."""
        found = self.known.near.setdefault((learnt.tobytes(), rows.tobytes()), {})
        name, strong = self.table.models[model], self.table.models[0]
        if not {name, strong} <= set(found):
            found |= self._means(learnt, rows, (model, 0))
        near = np.stack([found[name][0], found[strong][0], found[name][1]], axis=1)
        signals = {name: self.signals[model][name][rows] for name in SIGNALS}
        rates = None if self.win_rates is None else self.win_rates[rows]
        return features(signals, near, self.doubts(model, learnt), win_rates=rates)

    def _means(self, learnt: IntArray, rows: IntArray, wanted: Sequence[int]) -> dict[str, FloatArray]:
        """Mean score and length of each row's neighbours, of all models that answered all of `learnt`, (2, n_rows)."""
        place = {int(row): i for i, row in enumerate(learnt)}
        itself = np.array([place.get(int(row), -1) for row in rows])
        lengths = np.nan_to_num(np.stack(self.lengths, axis=1))[learnt]
        score = self.table.score[learnt]
        models = [k for k in range(score.shape[1]) if k in wanted or not np.isnan(score[:, k]).any()]
        values, near = (
            np.concatenate([score[:, models], lengths[:, models]], axis=1),
            np.empty((len(rows), 2 * len(models))),
        )
        for inside in (True, False):
            these = np.flatnonzero((itself >= 0) == inside)
            if these.size:
                near[these] = neighbour_means(
                    self.embeddings[learnt],
                    values,
                    self.embeddings[rows[these]],
                    k=self.k,
                    temperature=self.temperature,
                    left_out=itself[these] if inside else None,
                )
        of_score, of_length = near[:, : len(models)], near[:, len(models) :]
        return {self.table.models[k]: np.stack([of_score[:, i], of_length[:, i]]) for i, k in enumerate(models)}
