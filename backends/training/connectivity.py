"""Which models met: whether battles connect the models of a pair at all."""

from collections.abc import Sequence

import numpy as np

from pointsman.backends.data.battle_sets import BattleSet, concatenate
from pointsman.backends.training.model_groups import check_group_names, group_battles
from pointsman.core.battles import Battles, win_table
from pointsman.core.errors import DataError
from pointsman.core.pair import ModelPair
from pointsman.core.ratings import RatingFit, elo, fit_ratings

__all__ = ["check_field", "swapped", "with_pair"]

_SHOWN = 30


def with_pair(battle_set: BattleSet, strong: Sequence[str], weak: Sequence[str]) -> tuple[BattleSet, ModelPair]:
    """The pair to learn for; of groups of models, one that stands for them.

    A side of several models becomes a model of its own, named "strong" or "weak", and the battles between the sides
    are added under these names, with as much weight in all as the battles there were.

    Raises:
        DataError: a side is empty, its models are unknown, or the sides overlap or never met; where a side is empty
            the message lists the models by rating.
    """
    if not strong or not weak:
        raise DataError(f"name the strong and the weak model; by rating they are\n{_standings(battle_set)}")
    names = (strong[0] if len(strong) == 1 else "strong", weak[0] if len(weak) == 1 else "weak")
    if len(strong) == len(weak) == 1:
        for name in names:
            if name not in battle_set.battles.models:
                raise DataError(f"model {name!r} fought no battle; by rating the models are\n{_standings(battle_set)}")
        return battle_set, ModelPair(*names)
    sides = zip(("strong", "weak"), (strong, weak), strict=True)
    check_group_names(battle_set.battles.models, [side for side, models in sides if len(models) > 1])
    added = group_battles(battle_set, strong, weak, names=names)
    b = added.battles
    weight = np.full(len(b), battle_set.battles.weight.sum() / len(b))
    heavy = BattleSet(Battles(b.models, b.model_a, b.model_b, b.outcome, weight), added.prompts, added.prompt)
    return concatenate([battle_set, heavy]), ModelPair(*names)


def check_field(battle_set: BattleSet, pair: ModelPair) -> list[str]:
    """Warnings about the models' battles, one line each.

    Raises:
        DataError: all battles are ties, or the models of the pair never met, directly or through others.
    """
    b = battle_set.battles
    if (b.outcome == 0.5).all():
        raise DataError(f"all {len(b)} battles are ties: they cannot rank the models")
    wins = win_table(b)
    fit = fit_ratings(wins)
    strong, weak = (b.models.index(name) for name in (pair.strong, pair.weak))
    if fit.component[strong] != fit.component[weak]:
        raise DataError(
            f"{pair.strong!r} and {pair.weak!r} never met, directly or through others: "
            "their difference cannot be learned; add battles that connect them, or choose another pair"
        )
    notes = []
    won, lost = wins.sum(axis=1), wins.sum(axis=0)
    for what, rows in (
        ("fought no battle", (won + lost) == 0),
        ("never won", (won == 0) & (lost > 0)),
        ("never lost", (lost == 0) & (won > 0)),
        (f"never met {pair.strong} or those it met", (fit.component != fit.component[strong]) & ((won + lost) > 0)),
    ):
        if rows.any():
            notes.append(f"{rows.sum()} models {what}: {_names(b.models, rows)}")
    if fit.ratings[strong] <= fit.ratings[weak]:
        notes.append(swapped(pair))
    return notes


def swapped(pair: ModelPair) -> str:
    """A warning for a pair whose strong model does no better than its weak one."""
    return f"{pair.strong} does no better than {pair.weak}: is the pair the right way round?"


def _standings(battle_set: BattleSet) -> str:
    fit: RatingFit = fit_ratings(win_table(battle_set.battles))
    order = np.argsort(-fit.ratings, kind="stable")
    points = elo(fit.ratings)
    lines = [f"  {points[i]:6.0f}  {battle_set.battles.models[i]}" for i in order[:_SHOWN]]
    return "\n".join(lines + ([f"  ... and {len(order) - _SHOWN} more"] if len(order) > _SHOWN else []))


def _names(models: tuple[str, ...], rows: np.ndarray) -> str:
    chosen = [models[i] for i in np.flatnonzero(rows)]
    return ", ".join(chosen[:5]) + (", ..." if len(chosen) > 5 else "")
