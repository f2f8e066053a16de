"""Tables of prompts: `.parquet`, `.jsonl`, `.json`, `.csv`, or a Hugging Face data set.

Text formats are read with the standard library alone. `.parquet` needs pyarrow, data sets need `datasets`; both come
with `pointsman[data]`. Everything is UTF-8. `iter_batches` holds one batch in memory (`.json` is read whole).
"""

import csv
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from pointsman.core.arrays import FloatArray
from pointsman.core.errors import DataError, MissingExtraError

__all__ = ["FORMATS", "Source", "Table", "column_names", "count_rows", "iter_batches", "read_table"]

FORMATS = (".parquet", ".jsonl", ".json", ".csv")
Source: TypeAlias = str | os.PathLike[str]
_BATCH_ROWS = 8192
_BOOLEANS = {"true": 1.0, "false": 0.0}
_MAX_FIELD_CHARS = 1 << 30


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

    def column(self, name: str) -> Sequence[Any]:
        """The values of a column as they are.

        Raises:
            DataError: there is no such column.
        """
        if name not in self.columns:
            known = ", ".join(self.columns) or "none"
            raise DataError(f"{self.source} has no column {name!r}; its columns are {known}: rename or name another")
        return self.columns[name]

    def texts(self, name: str) -> list[str]:
        """A column of texts.

        Raises:
            DataError: a value is no text, or cannot be written as UTF-8; the message gives its row.
        """
        values = self.column(name)
        for row, value in enumerate(values, self.first_row):
            if not isinstance(value, str):
                raise DataError(f"{self.source}, row {row}: {name} is {value!r}, wanted a text")
            if not value.isascii():
                self._check_encodable(name, row, value)
        return list(values)

    def numbers(self, name: str) -> FloatArray:
        """A column of finite numbers, float64, shape (n_rows,); texts that spell a number count as numbers.

        Raises:
            DataError: a value is missing, no number, or not finite; the message gives its row.
        """
        values = self.column(name)
        numbers = np.empty(len(values))
        for i, value in enumerate(values):
            number = _number(value)
            if not math.isfinite(number):
                raise DataError(f"{self.source}, row {self.first_row + i}: {name} is {value!r}, wanted a finite number")
            numbers[i] = number
        return numbers

    def scores(self, name: str) -> FloatArray:
        """A column of scores, float64, shape (n_rows,): true and false count as 1 and 0, a missing one is NaN.

        Raises:
            DataError: a value is there, but no finite number; the message gives its row.
        """
        values = [_BOOLEANS.get(v.strip().lower(), v) if isinstance(v, str) else v for v in self.column(name)]
        missing = np.array([v is None or (isinstance(v, str) and not v.strip()) for v in values], dtype=bool)
        known = [0.0 if absent else v for v, absent in zip(values, missing, strict=True)]
        return np.where(missing, np.nan, self.with_columns({name: known}).numbers(name))

    def with_columns(self, columns: Mapping[str, Sequence[Any]]) -> "Table":
        """The same rows with columns added or replaced."""
        types = {name: kind for name, kind in self.types.items() if name not in columns}
        return Table({**self.columns, **columns}, self.source, self.first_row, types)

    def _check_encodable(self, name: str, row: int, value: str) -> None:
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise DataError(f"{self.source}, row {row}: {name} holds a lone surrogate, wanted valid Unicode") from error


def read_table(source: Source, *, columns: Sequence[str] | None = None) -> Table:
    """A whole source in memory.

    Args:
        source: a file by its suffix (`FORMATS`), a folder that `datasets` can load, or a data set id, which may name
            its split ("owner/name:test"; "train" otherwise).
        columns: the columns to keep; all if None.

    Raises:
        DataError: the source is missing, malformed or lacks a column; the message gives the row.
        MissingExtraError: the format needs `pointsman[data]`.
    """
    parts = list(iter_batches(source, columns=columns))
    names = list(dict.fromkeys(name for part in parts for name in part.columns))
    merged = {name: [v for part in parts for v in part.columns.get(name, [None] * len(part))] for name in names}
    return Table(merged, str(source), 1, parts[0].types if parts else {})


def column_names(source: Source) -> set[str]:
    """Names of the columns of a source.

    Raises:
        DataError: the source is missing, malformed or empty.
    """
    for batch in iter_batches(source, batch_rows=1):
        return set(batch.columns)
    raise DataError(f"{source} holds no rows")


def iter_batches(
    source: Source, *, columns: Sequence[str] | None = None, batch_rows: int = _BATCH_ROWS
) -> Iterator[Table]:
    """The rows of a source as tables of at most `batch_rows` rows, in order; see `read_table`."""
    if batch_rows < 1:
        raise ValueError(f"batch_rows is {batch_rows}, wanted at least 1")
    path = Path(source)
    suffix = path.suffix.lower()
    if suffix in FORMATS and not path.is_file():
        raise DataError(f"{path} does not exist or is no file")
    if suffix == ".parquet":
        return _parquet_batches(path, columns, batch_rows)
    if suffix in FORMATS:
        rows = {".jsonl": _jsonl_rows, ".json": _json_rows, ".csv": _csv_rows}[suffix](path)
        return _row_batches(rows, str(path), columns, batch_rows)
    if path.is_file():
        raise DataError(f"{path} has suffix {suffix!r}, wanted one of {', '.join(FORMATS)}")
    return _dataset_batches(str(source), columns, batch_rows)


def count_rows(source: Source) -> int | None:
    """Number of rows where the source tells without being read, for progress; None elsewhere."""
    path = Path(source)
    if path.suffix.lower() != ".parquet" or not path.is_file():
        return None
    with _parquet_file(path) as file:
        return int(file.metadata.num_rows)


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _row_batches(
    rows: Iterator[dict[str, Any]], source: str, columns: Sequence[str] | None, batch_rows: int
) -> Iterator[Table]:
    first_row = 1
    while batch := list(islice(rows, batch_rows)):
        names = list(dict.fromkeys(name for row in batch for name in row))
        table = Table({name: [row.get(name) for row in batch] for name in names}, source, first_row)
        yield table if columns is None else Table({n: table.column(n) for n in columns}, source, first_row)
        first_row += len(batch)


def _lines(path: Path) -> Iterator[str]:
    """Lines of a UTF-8 file with their ends, a byte order mark left out."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                bad = line[error.start]
                raise DataError(f"{path}, line {number}: byte 0x{bad:02x} is not UTF-8; convert the file") from error


def _jsonl_rows(path: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(_lines(path), 1):
        if line.strip():
            yield _json_object(line, f"{path}, line {number}")


def _json_rows(path: Path) -> Iterator[dict[str, Any]]:
    text = "".join(_lines(path))
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(rows, list):
        raise DataError(f"{path} holds a JSON {type(rows).__name__}, wanted an array of objects")
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise DataError(f"{path}, row {number}: is {row!r:.80}, wanted a JSON object")
        yield row


def _json_object(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not valid JSON: {error}") from error
    if not isinstance(row, dict):
        raise DataError(f"{where}: is {line.strip()!r:.80}, wanted a JSON object")
    return row


def _csv_rows(path: Path) -> Iterator[dict[str, Any]]:
    csv.field_size_limit(_MAX_FIELD_CHARS)
    reader = csv.reader(_lines(path))
    try:
        header = next(reader, None)
        if header is None:
            raise DataError(f"{path} is empty, wanted a header line")
        if len(header) == 1 and (mark := next((m for m in ";\t" if m in header[0]), None)):
            raise DataError(f"{path}: header {header[0]!r:.80} is separated by {mark!r}, wanted commas: convert it")
        if len(set(header)) != len(header):
            raise DataError(f"{path}: header names a column twice: {header}")
        for row in reader:
            if len(row) != len(header):
                where = f"{path}, line {reader.line_num}"
                raise DataError(f"{where}: {len(row)} fields, wanted {len(header)} as in the header")
            yield dict(zip(header, row, strict=True))
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}") from error


def _parquet_file(path: Path) -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError("pyarrow", "data") from error
    try:
        return pyarrow.parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path} is no readable parquet file: {error}") from error


def _parquet_batches(path: Path, columns: Sequence[str] | None, batch_rows: int) -> Iterator[Table]:
    with _parquet_file(path) as file:
        import pyarrow

        schema = file.schema_arrow
        names = list(schema.names if columns is None else columns)
        empty = Table(dict.fromkeys(schema.names, ()), str(path))
        for name in names:
            empty.column(name)  # raises where it is missing
        types = {name: schema.field(name).type for name in names}
        first_row = 1
        try:
            for batch in file.iter_batches(batch_size=batch_rows, columns=names):
                values = {name: _python_values(batch.column(name), name, path, first_row) for name in names}
                yield Table(values, str(path), first_row, types)
                first_row += batch.num_rows
        except (pyarrow.ArrowException, OSError) as error:
            raise DataError(f"{path}, after row {first_row - 1}: damaged parquet file: {error}") from error


def _python_values(column: Any, name: str, path: Path, first_row: int) -> list[Any]:
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError as error:
        for row, value in enumerate(column, first_row):
            try:
                value.as_py()
            except UnicodeDecodeError:
                raise DataError(f"{path}, row {row}: {name} is not UTF-8; convert the file") from error
        raise


def _dataset_batches(source: str, columns: Sequence[str] | None, batch_rows: int) -> Iterator[Table]:
    name, _, split = source.partition(":")
    try:
        import datasets
    except ImportError as error:
        extra = MissingExtraError("datasets", "data")
        raise DataError(f"{source} is no file; to read it as a data set: {extra}") from error
    try:
        data = datasets.load_dataset(name, split=split or "train")
    except (datasets.exceptions.DatasetsError, OSError, ValueError) as error:
        wanted = f"a file ({', '.join(FORMATS)}) or a data set that can be loaded"
        raise DataError(f"{source} is not {wanted}: {error}") from error
    first_row = 1
    for batch in data.iter(batch_size=batch_rows):
        table = Table(batch, source, first_row)
        yield table if columns is None else Table({n: table.column(n) for n in columns}, source, first_row)
        first_row += len(table)
