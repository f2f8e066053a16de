"""Groups of models as models of their own: a strong class against a weak class.

A pair of single models that met on few prompts teaches little about others. Battles between all models of a strong
and all models of a weak group, put down under the names of the groups, teach where strength pays off in general.
"""

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from pointsman.backends.data.battle_sets import BattleSet
from pointsman.backends.data.outcomes import Outcomes
from pointsman.core.arrays import FloatArray
from pointsman.core.battles import Battles, win_table
from pointsman.core.errors import DataError
from pointsman.core.ratings import fit_ratings

__all__ = ["check_group_names", "group_battles", "group_gains", "rank_group"]


def rank_group(battle_set: BattleSet, low: float, high: float) -> tuple[str, ...]:
    """Names of the models whose rank lies in [low, high], 0 the best rated and 1 the worst; at least the nearest one.

    Args:
        battle_set: rates its models by Bradley-Terry, ties half.

    Raises:
        ValueError: not 0 <= low <= high <= 1.
    """
    if not 0.0 <= low <= high <= 1.0:
        raise ValueError(f"ranks are [{low}, {high}], wanted 0 <= low <= high <= 1")
    models = battle_set.battles.models
    order = np.argsort(-fit_ratings(win_table(battle_set.battles)).ratings, kind="stable")
    rank = (np.arange(len(models)) + 0.5) / len(models)
    inside = (rank >= low) & (rank <= high)
    inside[np.abs(rank - (low + high) / 2).argmin()] = True
    return tuple(models[i] for i in order[inside])


def check_group_names(models: Collection[str], groups: Collection[str]) -> None:
    """Raises where a model of the data is called as a group of models is going to be.

    Raises:
        DataError: one is.
    """
    taken = next((name for name in groups if name in models), None)
    if taken is not None:
        raise DataError(
            f"a model of the data is called {taken!r}, which is what the group of {taken} models would be called: "
            "rename it in the data, or name one model for that side"
        )


def group_battles(
    battle_set: BattleSet,
    strong: Collection[str],
    weak: Collection[str],
    *,
    names: tuple[str, str] = ("strong", "weak"),
) -> BattleSet:
    """One battle per prompt between two groups of models, its outcome the mean share of the win of the strong group.

    Args:
        strong, weak: names of the models of each group.
        names: what the groups are called as models.

    Raises:
        DataError: a group is empty or unknown, the groups overlap, or they never met.
    """
    is_strong, is_weak = (_members(battle_set, group) for group in (strong, weak))
    if (is_strong & is_weak).any():
        raise DataError(f"model {battle_set.battles.models[(is_strong & is_weak).argmax()]!r} is in both groups")
    b = battle_set.battles
    ahead, behind = is_strong[b.model_a] & is_weak[b.model_b], is_weak[b.model_a] & is_strong[b.model_b]
    met = ahead | behind
    if not met.any():
        raise DataError(f"no strong model ({', '.join(strong)}) ever met a weak one ({', '.join(weak)})")
    share, weight = np.where(ahead, b.outcome, 1.0 - b.outcome)[met], b.weight[met]
    prompts, row = np.unique(battle_set.prompt[met], return_inverse=True)
    total = np.bincount(row, weights=weight)
    mean = np.bincount(row, weights=share * weight) / np.where(total > 0, total, 1.0)
    n = len(prompts)
    battles = Battles(names, np.zeros(n, np.int64), np.ones(n, np.int64), np.clip(mean, 0.0, 1.0), np.ones(n))
    return replace(battle_set, battles=battles, prompt=prompts)


def group_gains(
    outcomes: Outcomes, strong: Collection[str], weak: Collection[str], *, names: tuple[str, str] = ("strong", "weak")
) -> BattleSet:
    """One battle per prompt between two groups of models: how much better the strong group's mean score is.

    outcome = (1 + mean score of the strong group - mean score of the weak group) / 2

    The same as `group_battles` where scores are 0 or 1; where they are graded, a little better is a little of a win.

    Args:
        outcomes: scores in [0, 1].
        strong, weak: names of the models of each group; those that a prompt was not put to do not count there.
        names: what the groups are called as models.

    Raises:
        DataError: a score leaves [0, 1], or no prompt was put to both groups.
    """
    if not ((outcomes.score >= 0) & (outcomes.score <= 1)).all():
        raise DataError(f"scores range from {outcomes.score.min()} to {outcomes.score.max()}, wanted [0, 1]")
    gain = _mean_scores(outcomes, strong) - _mean_scores(outcomes, weak)
    prompts = np.flatnonzero(np.isfinite(gain))
    n = len(prompts)
    if not n:
        raise DataError(f"no prompt was put to a strong ({', '.join(strong)}) and a weak model ({', '.join(weak)})")
    share = np.clip((1.0 + gain[prompts]) / 2.0, 0.0, 1.0)
    battles = Battles(names, np.zeros(n, np.int64), np.ones(n, np.int64), share, np.ones(n))
    return BattleSet(battles, outcomes.prompts, prompts, outcomes.reports)


def _mean_scores(outcomes: Outcomes, group: Collection[str]) -> FloatArray:
    """Mean score of a group's models on every prompt, NaN where none of them was asked, shape (n_prompts,)."""
    inside = np.array([name in group for name in outcomes.models], dtype=bool)[outcomes.model]
    rows, n_prompts = outcomes.prompt[inside], len(outcomes.prompts)
    count = np.bincount(rows, minlength=n_prompts)
    total = np.bincount(rows, weights=outcomes.score[inside], minlength=n_prompts)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _members(battle_set: BattleSet, group: Collection[str]) -> np.ndarray:
    unknown = sorted(set(group) - set(battle_set.battles.models))
    if unknown or not group:
        raise DataError(f"group names model {unknown[0]!r}, which has no battle" if unknown else "a group is empty")
    return np.array([name in group for name in battle_set.battles.models], dtype=bool)
