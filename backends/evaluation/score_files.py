"""Win rates, and labels where there are some, streamed from a table: what `calibrate` works on."""

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pointsman.backends.data.tables import Source, Table, column_names, iter_batches
from pointsman.backends.evaluation.outcome_pairs import holds_rows_per_model, read_pair_outcomes
from pointsman.core.arrays import FloatArray
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
        numbers: `input_tokens`, `output_tokens`, `strong_usd`, `weak_usd`, as far as the table has them.
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
        """The first row of every prompt: a repeated prompt is no second observation."""
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
    on_rows: Callable[[int], None] = lambda n: None,
    seed: int = 0,
) -> ScoredPrompts:
    """Reads a table batch by batch; memory grows by a few numbers per prompt.

    Args:
        win_rates: computes the win rates from the prompts; column `win_rate` is read if None.
        labels: columns of the strong and the weak model's scores, or their names in a table `prompt, model, score`;
            None reads no labels.
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
    n_unlabelled = 0
    for table in tables:
        prompts = table.texts("prompt") if win_rates is not None or "prompt" in table.columns else None
        rates = _rates(table) if win_rates is None or prompts is None else win_rates(prompts)
        columns = {"win_rate": rates}
        if labels is not None:
            columns |= {"strong": table.scores(labels[0]), "weak": table.scores(labels[1])}
        columns |= {name: table.numbers(name) for name in _NUMBERS if name in table.columns}
        if labels is not None:
            kept = np.flatnonzero(~np.isnan(columns["strong"] + columns["weak"]))
            n_unlabelled += len(table) - kept.size
            columns = {name: values[kept] for name, values in columns.items()}
            rates, prompts = columns["win_rate"], prompts and [prompts[i] for i in kept]
        if prompts is not None:
            columns["prompt_id"] = _ids(prompts)
            sample += list(zip(prompts, rates.tolist(), strict=True))[: max(0, _SAMPLE - len(sample))]
            tickets = rng.random(len(prompts)).tolist()
            drawn = sorted([*drawn, *zip(tickets, prompts, rates.tolist(), strict=True)])[:_N_DRAWN]
        for name, values in columns.items():
            parts.setdefault(name, []).append(values)
            digest.update(np.ascontiguousarray(values).tobytes())
        on_rows(len(table))
    whole = {name: np.concatenate(values) for name, values in parts.items()}
    if not whole or not whole["win_rate"].size:
        what = "prompts with both labels" if whole else "rows"
        raise DataError(f"{source} holds no {what}: there is nothing to calibrate on")
    return ScoredPrompts(
        source=str(source),
        win_rates=whole["win_rate"],
        fingerprint=digest.hexdigest(),
        strong=whole.get("strong"),
        weak=whole.get("weak"),
        numbers={name: whole[name] for name in _NUMBERS if name in whole},
        prompt_ids=whole.get("prompt_id"),
        sample=tuple(sample),
        drawn=tuple((prompt, rate) for _, prompt, rate in drawn),
        notes=notes + ((f"{n_unlabelled:,} rows left out: not scored for both models",) if n_unlabelled else ()),
    )


def _tables(source: Source, labels: tuple[str, str] | None) -> tuple[Iterator[Table], tuple[str, ...]]:
    """The table in parts, and notes on it; one row per prompt where labels are wanted and it has one per model."""
    names = column_names(source)
    if labels is None or set(labels) <= names or not holds_rows_per_model(names):
        return iter_batches(source), ()
    known = [name for name in ("win_rate",) if name in names]
    found = read_pair_outcomes(source, strong=labels[0], weak=labels[1], columns=known, scale=(-math.inf, math.inf))
    columns = {"prompt": found.prompts, labels[0]: found.strong, labels[1]: found.weak, **found.columns}
    starts = range(0, len(found), _BATCH_ROWS)
    parts = ({name: values[i : i + _BATCH_ROWS] for name, values in columns.items()} for i in starts)
    return (Table(part, found.source, i + 1) for part, i in zip(parts, starts, strict=True)), found.notes


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
