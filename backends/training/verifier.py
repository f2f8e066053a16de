"""Training of verifiers: ridge regression of the benefit of asking on, in NumPy.

    benefit of row i = score of strong - score of weak
    weights          = argmin mean((benefit - X w)^2) + (strength / n_rows) |w - w_0|^2

`X` are standardised features, `w_0` is the fit over all other models of the table in the weak model's place: what an
answer's length or a neighbour's record tells is much the same for all of them, while few prompts of one pair tell
little. The rank of the doubt is not pulled there; what few answers' texts tell is pulled more. Everything that is told
of quality is of rows left out of the fit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pointsman.backends.data.answers import AnswerTable
from pointsman.backends.export import package_versions
from pointsman.backends.training.answer_data import N_QUANTILES, AnswerData, Known
from pointsman.backends.training.embeddings import PromptEmbeddings
from pointsman.core.answer_signals import OPTIONAL_SIGNALS, PROBABILITY_SIGNALS, SIGNALS
from pointsman.core.arrays import FloatArray, IntArray
from pointsman.core.calibration import Calibration
from pointsman.core.cascade import cascade_scores, window
from pointsman.core.checkpoint import Checkpoint
from pointsman.core.counted import counted
from pointsman.core.errors import DataError
from pointsman.core.metrics import apgr, cpt, quality_curve
from pointsman.core.pair import ModelPair
from pointsman.core.similarity import unit_rows
from pointsman.core.verifier import KIND, Head

__all__ = ["VerifierRecipe", "fit_left_out", "fit_verifier"]

_MIN_PROMPTS = 50
_PROMPT = ("prompt_characters", "weak_record", "strong_record", "win_rate")
_PRODUCTS = {"rank x strong_record": "rank", "rank x tokens": "rank", "tokens squared": "tokens"}
_DERIVED = ("weak_record", "strong_record", "longer", "win_rate")
_SAME_EVERYWHERE = 1e-9
_HINTS = (
    *("truncated", "equations", "wrong_equations", "numbers_used", "states_result"),
    *("decimal_result", "ends_openly", "hedges", "refusal", "longer"),
)
_HINT_PULL = 10.0  # of what tells much about a few answers and nothing about most
_POOL = 2.5  # times the strength, over all other models together


@dataclass(frozen=True, slots=True)
class VerifierRecipe:
    """Settings of a verifier.

    Attributes:
        k, temperature: of a prompt's neighbours, see `core.knn`.
        strength: of the pull to what other models of the table teach, in rows; to none where there are no others.
        n_folds: of the rows left out in turn.
        seed: of the folds.
    """

    k: int = 100
    temperature: float = 0.15
    strength: float = 400.0
    n_folds: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.k < 1 or not self.temperature > 0 or not self.strength > 0 or self.n_folds < 2:
            raise ValueError(
                f"k is {self.k}, temperature {self.temperature}, strength {self.strength}, n_folds {self.n_folds}: "
                "wanted k >= 1, temperature > 0, strength > 0, n_folds >= 2"
            )


def fit_verifier(
    table: AnswerTable,
    embeddings: PromptEmbeddings,
    recipe: VerifierRecipe | None = None,
    *,
    win_rates: FloatArray | None = None,
) -> Checkpoint:
    """A `verifier` checkpoint for the first two models of a table of answers.

    Args:
        embeddings: of `table.prompts`, in their order.
        win_rates: a router's for the prompts, shape (n_prompts,), to be read as a signal; the verifier then needs them
            in use as well.

    Raises:
        DataError: there are fewer than 50 prompts, embeddings do not fit them, or the models never differ.
    """
    return fit_left_out(table, embeddings, recipe, win_rates=win_rates)[0]


def fit_left_out(
    table: AnswerTable,
    embeddings: PromptEmbeddings,
    recipe: VerifierRecipe | None = None,
    *,
    win_rates: FloatArray | None = None,
    known: Known | None = None,
) -> tuple[Checkpoint, FloatArray, FloatArray]:
    """`fit_verifier`, and the win rates of rows left out in turn: from the prompt, from the answer, (n_prompts,) each.

    Args:
        known: what was computed of these very prompts for another pair; added to.

    Raises:
        DataError: as `fit_verifier`.
    """
    recipe = recipe or VerifierRecipe()
    n = len(table)
    if n < _MIN_PROMPTS:
        raise DataError(f"{table.report.source}: {counted(n, 'prompt')} with answers, wanted at least {_MIN_PROMPTS}")
    if embeddings.values.shape[0] != n or not np.isfinite(embeddings.values).all():
        raise DataError(f"embeddings have shape {embeddings.values.shape}, wanted ({n}, dim) finite numbers")
    strong, weak = table.models[:2]
    benefit = table.score[:, 0] - table.score[:, 1]
    if not np.any(benefit):
        raise DataError(
            f"{strong!r} and {weak!r} score the same on all {counted(n, 'prompt')}: there is nothing to learn"
        )
    units = np.asarray(unit_rows(embeddings.values.astype(np.float32)), dtype=np.float32)
    data = AnswerData(table, units, win_rates, recipe.k, recipe.temperature, Known() if known is None else known)
    rows = np.arange(n)
    names = _head_names(data)
    heads = _fit(data, names, rows, recipe.strength)
    left_out = _left_out(data, names, recipe)
    usd, seconds = (_means(costs) for costs in (table.usd, table.seconds))
    best = left_out[next(iter(names))]
    residuals = np.quantile(best - left_out["prompt"], np.linspace(0.0, 1.0, N_QUANTILES))
    zone = window(residuals, weak_usd=usd[0], strong_usd=usd[1]) if usd else window(residuals, weak_usd=0, strong_usd=1)
    both = cascade_scores(left_out["prompt"], best, zone)
    source = f"{counted(n, 'prompt')} of {table.report.source}, each left out once"
    checkpoint = Checkpoint(
        kind=KIND,
        models=table.models,
        pair=ModelPair(strong, weak),
        embedder=embeddings.identity,
        canaries=embeddings.canaries,
        calibration=Calibration.from_win_rates(both, source=source),
        arrays={
            "embeddings": units.astype(np.float16),
            "records": data.records(1, rows).astype(np.float32),
            "doubts": data.doubts(1, rows).astype(np.float32),
            "residuals": residuals.astype(np.float32),
            **{f"head.{name}": _array(head) for name, head in heads.items()},
        },
        options={
            "heads": {name: list(head.names) for name, head in heads.items()},
            "k": recipe.k,
            "temperature": recipe.temperature,
            "usd": usd,
            "seconds": seconds,
        },
        provenance={
            "sources": [str(table.report).splitlines()],
            "recipe": asdict(recipe),
            "versions": package_versions(),
        },
        metrics=_metrics(table, {**left_out, "both": both}, data.signals[1]),
    )
    return checkpoint, left_out["prompt"], best


def _head_names(data: AnswerData) -> dict[str, list[str]]:
    """Features of each head: what all answers have, without what a call costs, without probabilities, the prompt's."""
    signals = data.signals[1]
    known = {name for name in SIGNALS if not np.isnan(signals[name]).any()}
    varying = {name for name in known if np.ptp(signals[name]) > _SAME_EVERYWHERE}
    derived = [name for name in _DERIVED if name != "win_rate" or data.win_rates is not None]

    def head(left_out: Sequence[str]) -> list[str]:
        used = [name for name in SIGNALS if name in varying and name not in left_out]
        first = ["rank"] if "doubt" in used else []
        products = [
            name
            for name, source in _PRODUCTS.items()
            if (source in used or source in first) and ("tokens" in used or "tokens" not in name)
        ]
        return [*first, *used, *derived, *products]

    found = {
        "all": head(()),
        "free": head(OPTIONAL_SIGNALS),
        "text": head((*OPTIONAL_SIGNALS, *PROBABILITY_SIGNALS)),
    }
    distinct = {
        name: used for name, used in found.items() if used != found.get({"free": "all", "text": "free"}.get(name, ""))
    }
    characters = [name for name in found["text"] if "tokens" not in name and name != "short"]
    if "tokens" in found["text"]:
        distinct["characters"] = characters
    return {**distinct, "prompt": [name for name in _PROMPT if name in (*derived, "prompt_characters")]}


def _fit(data: AnswerData, names: Mapping[str, list[str]], rows: IntArray, strength: float) -> dict[str, Head]:
    """All heads, fitted on some rows."""
    columns = data.columns(1, rows, rows)
    benefit = data.table.score[rows, 0] - data.table.score[rows, 1]
    others = []
    for model in range(2, len(data.table.models)):
        scored = rows[~np.isnan(data.table.score[rows, model])]
        answered = np.array([data.table.answers[model][row] is not None for row in scored], dtype=bool)
        scored = scored[answered]
        if len(scored) >= _MIN_PROMPTS:
            gain = data.table.score[scored, 0] - data.table.score[scored, model]
            others.append((data.columns(model, scored, scored), gain))
    return {name: _head(used, columns, benefit, others, strength) for name, used in names.items()}


def _head(
    names: Sequence[str],
    columns: Mapping[str, FloatArray],
    benefit: FloatArray,
    others: Sequence[tuple[Mapping[str, FloatArray], FloatArray]],
    strength: float,
) -> Head:
    values = np.stack([columns[name] for name in names], axis=1)
    mean, scale = values.mean(axis=0), values.std(axis=0)
    scale = np.where(scale > _SAME_EVERYWHERE, scale, 1.0)
    shrunk = np.array([0.0 if name == "rank" else _HINT_PULL if name in _HINTS else 1.0 for name in names])
    x = (values - mean) / scale
    if others:
        usual = _taught(names, others, _POOL * strength, shrunk)
        weights = usual + _ridge(x, benefit - benefit.mean() - x @ usual, strength, np.maximum(shrunk, 1.0))
    else:
        weights = _ridge(x, benefit - benefit.mean(), strength / 2.0, shrunk)
    return Head(tuple(names), mean, scale, weights, float(benefit.mean()))


def _taught(
    names: Sequence[str],
    others: Sequence[tuple[Mapping[str, FloatArray], FloatArray]],
    strength: float,
    shrunk: FloatArray,
) -> FloatArray:
    """Weights over all other models together, each standardised by itself."""
    tables, gains = [], []
    for columns, gain in others:
        values = np.stack([columns[name] for name in names], axis=1)
        if np.isnan(values).any():
            continue
        scale = values.std(axis=0)
        tables.append((values - values.mean(axis=0)) / np.where(scale > _SAME_EVERYWHERE, scale, 1.0))
        gains.append(gain - gain.mean())
    if not tables:
        return np.zeros(len(names))
    return _ridge(np.concatenate(tables), np.concatenate(gains), strength, shrunk)


def _ridge(x: FloatArray, y: FloatArray, strength: float, shrunk: FloatArray) -> FloatArray:
    penalty = strength / len(x) * shrunk + 1e-6
    return np.asarray(np.linalg.solve(x.T @ x / len(x) + np.diag(penalty), x.T @ y / len(x)))


def _left_out(data: AnswerData, names: Mapping[str, list[str]], recipe: VerifierRecipe) -> dict[str, FloatArray]:
    """Each head's win rates on prompts that it was fitted without."""
    n = len(data.table)
    fold = np.random.default_rng(recipe.seed).permutation(n) % recipe.n_folds
    found = {name: np.empty(n) for name in names}
    for k in range(recipe.n_folds):
        learnt, rows = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        columns = data.columns(1, learnt, rows)
        for name, head in _fit(data, names, learnt, recipe.strength).items():
            found[name][rows] = head.win_rates(columns)
    return found


def _means(costs: FloatArray) -> tuple[float, float] | None:
    """Mean of (weak, strong) where both are known on every prompt."""
    pair = costs[:, [1, 0]]
    return None if np.isnan(pair).any() else (float(pair[:, 0].mean()), float(pair[:, 1].mean()))


def _array(head: Head) -> FloatArray:
    """Rows mean, scale and weights; the intercept stands before the weights."""
    table = np.zeros((3, len(head.names) + 1))
    table[1, 0] = 1.0
    table[0, 1:], table[1, 1:], table[2, 1:], table[2, 0] = head.mean, head.scale, head.weights, head.intercept
    return table


def _metrics(
    table: AnswerTable, left_out: Mapping[str, FloatArray], signals: Mapping[str, FloatArray]
) -> dict[str, Any]:
    """APGR and CPT of every head on left-out prompts, and of the doubt alone."""
    strong, weak = table.score[:, 0], table.score[:, 1]
    doubt = signals["doubt"]
    orders = dict(left_out) | ({} if np.isnan(doubt).any() else {"confidence alone": doubt})
    found: dict[str, Any] = {}
    for name, order in orders.items():
        curve = quality_curve(order, strong, weak)
        found[name] = {"apgr": apgr(curve), **{f"cpt{100 * x:g}": cpt(curve, x) for x in (0.5, 0.8, 0.95)}}
    return {"n_prompts": len(table), "strong": float(strong.mean()), "weak": float(weak.mean()), "left_out": found}
