"""Battles with their prompts, and what was left out on the way."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from pointsman.core.arrays import IntArray
from pointsman.core.battles import Battles
from pointsman.core.counted import counted
from pointsman.core.errors import DataError

__all__ = ["ALL_SOURCES", "BattleReport", "BattleSet", "Finding", "concatenate"]

ALL_SOURCES = "all sources together"
_SHOWN_ROWS = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was noticed about some rows.

    Attributes:
        what: "empty prompt, dropped", "tie, dropped", ...
        n_rows: how many rows it concerns.
        rows: numbers of the first few, counted from 1 in their source; empty where rows were derived.
    """

    what: str
    n_rows: int
    rows: tuple[int, ...] = ()

    @classmethod
    def of_rows(cls, what: str, rows: IntArray | Sequence[int]) -> "Finding":
        """The finding for a list of row numbers."""
        return cls(what, len(rows), tuple(int(row) for row in rows[:_SHOWN_ROWS]))

    def __str__(self) -> str:
        where = f" (rows {', '.join(map(str, self.rows))}{', ...' if self.n_rows > len(self.rows) else ''})"
        return f"{self.what}: {self.n_rows:,}{where if self.rows else ''}"


@dataclass(frozen=True, slots=True)
class BattleReport:
    """A report on the rows of a source.

    Attributes:
        source: name of the source.
        n_rows: rows read.
        findings: what was dropped, averaged or generated, in order.
    """

    source: str
    n_rows: int
    findings: tuple[Finding, ...] = ()

    def with_finding(self, finding: Finding) -> "BattleReport":
        """The report with one more finding; unchanged if the finding concerns no row."""
        return replace(self, findings=(*self.findings, finding)) if finding.n_rows else self

    def __str__(self) -> str:
        return "\n  ".join([f"{self.source}: {counted(self.n_rows, 'row')}", *map(str, self.findings)])


@dataclass(frozen=True, slots=True, eq=False)
class BattleSet:
    """Battles and the prompts they were fought on.

    Attributes:
        battles: models, outcomes and weights.
        prompts: distinct prompts.
        prompt: row of `prompts` of each battle, shape (n_battles,).
        reports: one per source.

    Raises:
        ValueError: `prompt` does not fit the battles or the prompts.
    """

    battles: Battles
    prompts: tuple[str, ...]
    prompt: IntArray
    reports: tuple[BattleReport, ...] = field(default=())

    def __post_init__(self) -> None:
        object.__setattr__(self, "prompts", tuple(self.prompts))
        object.__setattr__(self, "prompt", np.asarray(self.prompt, dtype=np.int64))
        if self.prompt.shape != self.battles.outcome.shape:
            raise ValueError(f"prompt has shape {self.prompt.shape}, wanted {self.battles.outcome.shape}")
        if self.prompt.size and not (self.prompt.min() >= 0 and self.prompt.max() < len(self.prompts)):
            raise ValueError(f"prompt leaves [0, {len(self.prompts) - 1}], the rows of prompts")

    def __len__(self) -> int:
        return len(self.battles)

    def take(self, rows: np.ndarray) -> "BattleSet":
        """The battles of some rows, or where a boolean mask is true; models and prompts stay as they are."""
        b = self.battles
        taken = Battles(b.models, b.model_a[rows], b.model_b[rows], b.outcome[rows], b.weight[rows])
        return BattleSet(taken, self.prompts, self.prompt[rows], self.reports)

    def drop(self, mask: np.ndarray, what: str) -> "BattleSet":
        """The battles where `mask` is false; a report tells how many went and why: the source's, or one for all."""
        finding = Finding(f"{what}, dropped", int(mask.sum()))
        *others, last = self.reports or (BattleReport(ALL_SOURCES, len(self)),)
        if others and last.source != ALL_SOURCES:
            others, last = [*others, last], BattleReport(ALL_SOURCES, len(self))
        reports = (*others, last.with_finding(finding)) if finding.n_rows else self.reports
        return replace(self.take(~mask), reports=reports)

    def decisive(self) -> "BattleSet":
        """The battles without ties and without battles of a model with itself."""
        distinct = self.drop(self.battles.model_a == self.battles.model_b, "model against itself")
        return distinct.drop(distinct.battles.outcome == 0.5, "tie")

    def between_models(self) -> "BattleSet":
        """The battles without battles of a model with itself; ties stay, half a win each."""
        return self.drop(self.battles.model_a == self.battles.model_b, "model against itself")

    def with_used_prompts(self) -> "BattleSet":
        """The same battles without the prompts that none was fought on."""
        used, prompt = np.unique(self.prompt, return_inverse=True)
        return BattleSet(self.battles, tuple(self.prompts[i] for i in used), prompt, self.reports)


def concatenate(sets: Sequence[BattleSet]) -> BattleSet:
    """Several sets as one. Models of one name are one model, equal prompts one prompt.

    Raises:
        DataError: there are no battles.
    """
    if not sum(map(len, sets)):
        reports = "\n".join(str(report) for part in sets for report in part.reports)
        raise DataError(f"no battles are left\n{reports}")
    models = _numbered(name for part in sets for name in part.battles.models)
    prompts = _numbered(text for part in sets for text in part.prompts)
    a, b, prompt = [], [], []
    for part in sets:
        rows = np.array([models[name] for name in part.battles.models], dtype=np.int64)
        texts = np.array([prompts[text] for text in part.prompts], dtype=np.int64)
        a.append(rows[part.battles.model_a])
        b.append(rows[part.battles.model_b])
        prompt.append(texts[part.prompt])
    outcome = np.concatenate([part.battles.outcome for part in sets])
    weight = np.concatenate([part.battles.weight for part in sets])
    battles = Battles(tuple(models), np.concatenate(a), np.concatenate(b), outcome, weight)
    return BattleSet(battles, tuple(prompts), np.concatenate(prompt), tuple(r for part in sets for r in part.reports))


def _numbered(names: Iterable[str]) -> dict[str, int]:
    return {name: row for row, name in enumerate(dict.fromkeys(names))}
