"""Tables of prompts: files (`.parquet .jsonl .ndjson .json .csv .tsv`, text also as `.gz`), folders, patterns, Hugging
Face data sets, and DataFrames.

`iter_batches` holds one batch in memory (`.json` is read whole).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np

from pointsman.backends.data.readers import dataset_batches, file_rows, parquet_batches, parquet_file, text_columns
from pointsman.backends.data.sources import FORMATS, Input, Source, columns_of, expand, format_of, source_name
from pointsman.backends.data.values import is_missing, number
from pointsman.core.arrays import FloatArray
from pointsman.core.errors import DataError

__all__ = ["FORMATS", "Source", "Table", "column_names", "count_rows", "iter_batches", "read_table", "renamed"]

_BATCH_ROWS = 8192


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Some consecutive rows of a source, column by column.

    Attributes:
        columns: values per column, all of one length, as plain Python objects; absent values are None.
        source: where the rows come from, for messages.
        first_row: number of the first row within the source, counted from 1.
        types: column types of a parquet source (pyarrow data types), so that a writer can keep them.
    """

    columns: Mapping[str, Sequence[Any]]
    source: str = "table"
    first_row: int = 1
    types: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        lengths = {name: len(values) for name, values in self.columns.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"columns have lengths {lengths}, wanted one length for all")

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def rows(self) -> list[dict[str, Any]]:
        """The rows, each as its values by column."""
        return [dict(zip(self.columns, row, strict=True)) for row in zip(*self.columns.values(), strict=True)]

    def column(self, name: str) -> Sequence[Any]:
        """The values of a column as they are.

        Raises:
            DataError: there is no such column.
        """
        if name not in self.columns:
            known = ", ".join(self.columns) or "none"
            meant = next((column for column in self.columns if column.lower() == name.lower()), "...")
            raise DataError(
                f"{self.source} has no column {name!r}; its columns are {known}: "
                f"name yours with --columns {name}={meant}"
            )
        return self.columns[name]

    def texts(self, name: str) -> list[str]:
        """A column of texts, such as names of models.

        Raises:
            DataError: a value is not a text, or cannot be written as UTF-8; the message gives its row.
        """
        values = self.column(name)
        for row, value in enumerate(values, self.first_row):
            if not isinstance(value, str):
                raise DataError(f"{self.source}, row {row}: {name} is {value!r}, wanted a text")
            if not value.isascii():
                self._check_encodable(name, row, value)
        return list(values)

    def missing(self, name: str) -> np.ndarray:
        """Where a column holds nothing (see `values.is_missing`), shape (n_rows,)."""
        return np.array([is_missing(value) for value in self.column(name)], dtype=bool)

    def numbers(self, name: str) -> FloatArray:
        """A column of finite numbers, float64, shape (n_rows,); texts that spell a number count as numbers.

        Raises:
            DataError: a value is missing, no number, or not finite; the message gives its row.
        """
        numbers = self.scores(name)
        absent = np.flatnonzero(np.isnan(numbers))
        if absent.size:
            where = f"{self.source}, row {self.first_row + absent[0]}"
            raise DataError(f"{where}: {name} is {self.columns[name][absent[0]]!r}, wanted a finite number")
        return numbers

    def scores(self, name: str) -> FloatArray:
        """A column of numbers, float64, shape (n_rows,): true and false count as 1 and 0, a missing one is NaN.

        Raises:
            DataError: a value is there, but no finite number; the message gives its row.
        """
        values = self.column(name)
        numbers = np.empty(len(values))
        for i, value in enumerate(values):
            numbers[i] = math.nan if is_missing(value) else number(value)
            if not math.isfinite(numbers[i]) and not is_missing(value):
                where = f"{self.source}, row {self.first_row + i}"
                raise DataError(f"{where}: {name} is {value!r}, wanted a finite number, or nothing where it is unknown")
        return numbers

    def take(self, rows: np.ndarray) -> "Table":
        """Some rows, by number or where a boolean mask is true."""
        chosen = np.arange(len(self))[rows].tolist()
        columns = {name: [values[i] for i in chosen] for name, values in self.columns.items()}
        return Table(columns, self.source, self.first_row, self.types)

    def with_columns(self, columns: Mapping[str, Sequence[Any]]) -> "Table":
        """The same rows with columns added or replaced."""
        types = {name: kind for name, kind in self.types.items() if name not in columns}
        return Table({**self.columns, **columns}, self.source, self.first_row, types)

    def _check_encodable(self, name: str, row: int, value: str) -> None:
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise DataError(f"{self.source}, row {row}: {name} holds a lone surrogate, wanted valid Unicode") from error


def renamed(table: Table, columns: Mapping[str, str]) -> Table:
    """The table with columns under our names: {"prompt": "question"} makes column `question` column `prompt`, too.

    Raises:
        DataError: the table has no such column.
    """
    return table.with_columns({ours: table.column(theirs) for ours, theirs in columns.items()}) if columns else table


def read_table(source: Source, *, columns: Sequence[str] | None = None) -> Table:
    """A whole source in memory.

    Args:
        source: a file by its suffix (`FORMATS`), a folder or pattern of such files, a data set id, which may name its
            configuration and its split ("owner/name@configuration:test"; "train" otherwise), a DataFrame of pandas,
            polars or pyarrow, columns by name, or an `Input` that says what its columns are called.
        columns: the columns to keep; all if None.

    Raises:
        DataError: the source is missing, malformed or lacks a column; the message gives the row.
        MissingExtraError: the format needs `pointsman[data]`.
    """
    parts = list(iter_batches(source, columns=columns))
    names = list(dict.fromkeys(name for part in parts for name in part.columns))
    merged = {name: [v for part in parts for v in part.columns[name]] for name in names}
    return Table(merged, source_name(source), 1, parts[0].types if parts else {})


def column_names(source: Source) -> list[str]:
    """Names of the columns of a source, those that only late rows have included.

    Raises:
        DataError: the source is missing, malformed or empty.
    """
    for batch in iter_batches(source, batch_rows=1):
        return list(batch.columns)
    raise DataError(f"{source_name(source)} holds no rows")


def iter_batches(
    source: Source, *, columns: Sequence[str] | None = None, batch_rows: int = _BATCH_ROWS
) -> Iterator[Table]:
    """The rows of a source as tables of at most `batch_rows` rows, in order, all with the same columns.

    See `read_table`.
    """
    if batch_rows < 1:
        raise ValueError(f"batch_rows is {batch_rows}, wanted at least 1")
    if isinstance(source, Input):
        theirs = None if columns is None else [source.columns.get(name, name) for name in columns]
        for table in iter_batches(source.source, columns=theirs, batch_rows=batch_rows):
            mapped = renamed(table, source.columns if columns is None else _of(source.columns, columns))
            yield mapped if columns is None else _chosen(mapped, columns)
        return
    name, first_row = source_name(source), 1
    for values, types in _batches(source, columns, batch_rows):
        table = _chosen(Table(values, name, first_row, types), columns)
        yield table
        first_row += len(table)


def count_rows(source: Source) -> int | None:
    """Number of rows where the source tells without being read, for progress; None elsewhere."""
    if isinstance(source, Input):
        return count_rows(source.source)
    if (held := columns_of(source)) is not None:
        return len(next(iter(held.values()), ()))
    files = expand(source)
    if not files or any(format_of(file) != ".parquet" for file in files):
        return None
    total = 0
    for path in files:
        with parquet_file(path) as file:
            total += int(file.metadata.num_rows)
    return total


_Batch = tuple[Mapping[str, Sequence[Any]], Mapping[str, Any]]


def _of(mapping: Mapping[str, str], columns: Sequence[str]) -> dict[str, str]:
    return {ours: theirs for ours, theirs in mapping.items() if ours in columns}


def _chosen(table: Table, columns: Sequence[str] | None) -> Table:
    if columns is None:
        return table
    types = {name: kind for name, kind in table.types.items() if name in columns}
    return Table({name: table.column(name) for name in columns}, table.source, table.first_row, types)


def _batches(source: Source, columns: Sequence[str] | None, batch_rows: int) -> Iterator[_Batch]:
    """Columns and types of each batch of a source that is no `Input`; every batch has all columns."""
    if (table := columns_of(source)) is not None:
        total = len(next(iter(table.values()), ()))
        for start in range(0, total, batch_rows):
            yield {name: list(values[start : start + batch_rows]) for name, values in table.items()}, {}
        return
    files = expand(source)
    if files is None:
        for batch in dataset_batches(source_name(source), batch_rows):
            yield batch, {}
        return
    own = [_names_in(file) for file in files]
    names = list(dict.fromkeys(name for some in own for name in some))
    _chosen(Table(dict.fromkeys(names, ()), source_name(source)), columns)  # raises where one is missing
    wanted = names if columns is None else [name for name in names if name in columns]
    for file, known in zip(files, own, strict=True):
        if format_of(file) == ".parquet":
            held = [name for name in wanted if name in known]
            for values, types, size in parquet_batches(file, held, batch_rows):
                yield {name: values.get(name, [None] * size) for name in wanted}, types
            continue
        rows = file_rows(file)
        while batch := list(islice(rows, batch_rows)):
            yield {name: [row.get(name) for row in batch] for name in wanted}, {}


def _names_in(path: Any) -> list[str]:
    if format_of(path) != ".parquet":
        return text_columns(path)
    with parquet_file(path) as file:
        return list(file.schema_arrow.names)
