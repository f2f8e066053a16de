"""Win rates, and labels where there are some, streamed from a table: what `calibrate` works on."""

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pointsman.backends.data.labels import label_columns, prompt_texts
from pointsman.backends.data.layouts import layout_of
from pointsman.backends.data.prompts import PROMPT_COLUMNS
from pointsman.backends.data.sources import Source, source_name
from pointsman.backends.data.tables import Table, column_names, iter_batches
from pointsman.backends.evaluation.outcome_pairs import holds_rows_per_model, read_pair_outcomes
from pointsman.core.arrays import FloatArray
from pointsman.core.counted import counted
from pointsman.core.errors import DataError

__all__ = ["ScoredPrompts", "read_scored_prompts"]

_SAMPLE = 64
_N_DRAWN = 2000
_BATCH_ROWS = 8192
_NUMBERS = ("input_tokens", "output_tokens", "strong_usd", "weak_usd")


@dataclass(frozen=True, slots=True, eq=False)
class ScoredPrompts:
    """Win rates of a sample of prompts.

    Attributes:
        source: where they come from.
        win_rates: shape (n_prompts,).
        fingerprint: SHA-256 over prompts, win rates and labels in order.
        strong, weak: scores, shape (n_prompts,); None without labels.
        numbers: `input_tokens`, `output_tokens`, `strong_usd`, `weak_usd`, as far as the table has them; NaN where a
            row does not.
        prompt_ids: 64-bit hash of each prompt, shape (n_prompts,); None where the table has no prompts.
        sample: the first prompts and their win rates.
        drawn: up to 2,000 prompts drawn at random, with their win rates; empty where the table has no prompts.
        notes: what a reader must know: rows left out.
    """

    source: str
    win_rates: FloatArray
    fingerprint: str
    strong: FloatArray | None
    weak: FloatArray | None
    numbers: dict[str, FloatArray]
    prompt_ids: np.ndarray | None
    sample: tuple[tuple[str, float], ...]
    drawn: tuple[tuple[str, float], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def n_repeated(self) -> int:
        """Rows whose prompt occurred before."""
        return 0 if self.prompt_ids is None else self.prompt_ids.size - np.unique(self.prompt_ids).size

    def distinct(self) -> "ScoredPrompts":
        """The first row of every prompt: a repeated prompt is not a second observation."""
        if self.prompt_ids is None or not self.n_repeated:
            return self
        rows = np.sort(np.unique(self.prompt_ids, return_index=True)[1])
        return replace(
            self,
            win_rates=self.win_rates[rows],
            strong=None if self.strong is None else self.strong[rows],
            weak=None if self.weak is None else self.weak[rows],
            numbers={name: values[rows] for name, values in self.numbers.items()},
            prompt_ids=self.prompt_ids[rows],
        )


def read_scored_prompts(
    source: Source,
    *,
    win_rates: Callable[[Sequence[str]], FloatArray] | None = None,
    labels: tuple[str, str] | None = None,
    numbers: Sequence[str] = _NUMBERS,
    on_rows: Callable[[int], None] = lambda n: None,
    seed: int = 0,
) -> ScoredPrompts:
    """Reads a table batch by batch; memory grows by a few numbers per prompt.

    Args:
        win_rates: computes the win rates from the prompts; column `win_rate` is read if None.
        labels: columns of the strong and the weak model's scores, or their names in a table `prompt, model, score`;
            None reads no labels.
        numbers: further columns to keep where the table has them; others are not looked at.
        on_rows: called with the number of rows of every batch that is done.
        seed: of the prompts that are drawn.

    Raises:
        DataError: the table is empty or malformed, lacks a column, or a win rate leaves [0, 1].
    """
    parts: dict[str, list[np.ndarray]] = {}
    digest = hashlib.sha256()
    sample: list[tuple[str, float]] = []
    drawn: list[tuple[float, str, float]] = []
    rng = np.random.default_rng(seed)
    tables, notes = _tables(source, labels)
    n_unlabelled = n_empty = n_unrated = 0
    for table in tables:
        n_read, prompts = len(table), prompt_texts(table) if win_rates is not None or _has_prompts(table) else None
        if prompts is not None:
            asked = np.array([bool(prompt.strip()) for prompt in prompts], dtype=bool)
            table, prompts = table.take(asked), [prompt for prompt in prompts if prompt.strip()]
            n_empty += n_read - len(table)
        if labels is not None:
            both = np.stack([table.scores(label) for label in labels])
            known = ~np.isnan(both).any(axis=0)
            n_unlabelled += int((~known).sum())
            table, prompts = table.take(known), prompts and [prompts[i] for i in np.flatnonzero(known)]
        if win_rates is None or prompts is None:
            rated = ~table.missing("win_rate") if "win_rate" in table.columns else np.ones(len(table), dtype=bool)
            n_unrated += int((~rated).sum())
            table, prompts = table.take(rated), prompts and [prompts[i] for i in np.flatnonzero(rated)]
            rates = _rates(table)
        else:
            rates = win_rates(prompts) if prompts else np.zeros(0)
        columns = {"win_rate": rates}
        if labels is not None:
            columns |= {"strong": table.scores(labels[0]), "weak": table.scores(labels[1])}
        columns |= {name: table.scores(name) for name in numbers if name in table.columns}
        if prompts is not None:
            columns["prompt_id"] = _ids(prompts)
            sample += list(zip(prompts, rates.tolist(), strict=True))[: max(0, _SAMPLE - len(sample))]
            tickets = rng.random(len(prompts)).tolist()
            drawn = sorted([*drawn, *zip(tickets, prompts, rates.tolist(), strict=True)])[:_N_DRAWN]
        for name, values in columns.items():
            parts.setdefault(name, []).append(values)
            digest.update(np.ascontiguousarray(values).tobytes())
        on_rows(n_read)
    left_out = (
        (n_unlabelled, "not scored for both models"),
        (n_empty, "without a prompt"),
        (n_unrated, "without a win rate"),
    )
    whole = {name: np.concatenate(values) for name, values in parts.items()}
    if not whole or not whole["win_rate"].size:
        what = "prompts with both labels" if whole else "rows"
        raise DataError(f"{source_name(source)} holds no {what}: there is nothing to calibrate on")
    return ScoredPrompts(
        source=source_name(source),
        win_rates=whole["win_rate"],
        fingerprint=digest.hexdigest(),
        strong=whole.get("strong"),
        weak=whole.get("weak"),
        numbers={name: whole[name] for name in numbers if name in whole},
        prompt_ids=whole.get("prompt_id"),
        sample=tuple(sample),
        drawn=tuple((prompt, rate) for _, prompt, rate in drawn),
        notes=notes + tuple(f"{counted(n, 'row')} left out: {why}" for n, why in left_out if n),
    )


def _tables(source: Source, labels: tuple[str, str] | None) -> tuple[Iterator[Table], tuple[str, ...]]:
    """The table in parts, and notes on it; one row per prompt where labels are wanted and it has one per model."""
    names = set(column_names(source))
    labelled = set(label_columns(source))
    whole = layout_of(names) is not None or not set(labels or ()) <= names
    if labels is None or not whole or not (holds_rows_per_model(labelled) or "model_a" in labelled):
        return iter_batches(source), ()
    known = [name for name in ("win_rate",) if name in names]
    found = read_pair_outcomes(source, strong=labels[0], weak=labels[1], columns=known, scale=(-math.inf, math.inf))
    columns = {"prompt": found.prompts, labels[0]: found.strong, labels[1]: found.weak, **found.columns}
    starts = range(0, len(found), _BATCH_ROWS)
    parts = ({name: values[i : i + _BATCH_ROWS] for name, values in columns.items()} for i in starts)
    return (Table(part, found.source, i + 1) for part, i in zip(parts, starts, strict=True)), found.notes


def _has_prompts(table: Table) -> bool:
    return any(name in table.columns for name in PROMPT_COLUMNS)


def _rates(table: Table) -> FloatArray:
    if "win_rate" not in table.columns:
        raise DataError(
            f"{table.source} has no column 'win_rate'; its columns are {', '.join(table.columns)}: "
            "make one with `pointsman score`, or name a router with --router"
        )
    rates = table.numbers("win_rate")
    bad = np.flatnonzero(~((rates >= 0) & (rates <= 1)))
    if bad.size:
        where = f"{table.source}, row {table.first_row + bad[0]}"
        raise DataError(f"{where}: win_rate is {rates[bad[0]]}, wanted a number in [0, 1]")
    return rates


def _ids(prompts: Sequence[str]) -> np.ndarray:
    digests = (hashlib.blake2b(p.encode("utf-8", "surrogatepass"), digest_size=8).digest() for p in prompts)
    return np.frombuffer(b"".join(digests), dtype=np.int64)
