"""Writing tables: `.parquet`, `.jsonl`, `.json`, `.csv`, `.tsv`, batch by batch, in place only once complete.

Half an emoji (a lone surrogate) has no UTF-8 form: JSON escapes it, other formats leave it out.
"""

import csv
import json
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from pointsman.backends.data.sources import FORMATS
from pointsman.backends.data.tables import Table
from pointsman.backends.data.values import encodable
from pointsman.core.errors import DataError, MissingExtraError

__all__ = ["TableWriter", "write_table"]


class TableWriter:
    """Writes tables of the same columns, one after another, to a file whose suffix names the format.

    A context manager. The file appears under its name when the block ends without an error; until then, and after an
    error, whatever was there stays.

        with TableWriter("out.parquet") as out:
            for table in iter_batches("in.parquet"):
                out.write(table.with_columns({"win_rate": ...}))

    Raises:
        DataError: the suffix is unknown, or the file cannot be written.
        MissingExtraError: `.parquet` without pyarrow.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        suffix = self.path.suffix.lower()
        if suffix not in FORMATS:
            raise DataError(f"{self.path} has suffix {suffix!r}, wanted one of {', '.join(FORMATS)}")
        self._format: _Format = _FORMATS[suffix]()
        self._staging = self.path.with_name(f".{self.path.name}.{os.getpid()}.part")
        self._columns: tuple[str, ...] | None = None

    def __enter__(self) -> Self:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._format.open(self._staging)
        except OSError as error:
            raise DataError(f"cannot write {self.path}: {error}") from error
        return self

    def write(self, table: Table) -> None:
        """Appends the rows of a table.

        Raises:
            DataError: its columns differ from those of the first table, a value does not fit the format, or writing
                failed.
        """
        names = tuple(table.columns)
        if self._columns is None:
            self._columns = names
        elif set(names) - set(self._columns):
            added = ", ".join(sorted(set(names) - set(self._columns)))
            where = f"{table.source}, from row {table.first_row}"
            raise DataError(f"{where}: new column {added}: give every row the same columns")
        absent = {name: [None] * len(table) for name in self._columns if name not in names}
        ordered = table.with_columns(absent)
        columns = {name: _plain_list(ordered.columns[name]) for name in self._columns}
        try:
            self._format.write(Table(columns, table.source, table.first_row, table.types))
        except OSError as error:
            raise DataError(f"writing {self.path} failed: {error}") from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._format.close()
            if kind is None:
                self._staging.replace(self.path)
        except OSError as failure:
            raise DataError(f"writing {self.path} failed: {failure}") from failure
        finally:
            self._staging.unlink(missing_ok=True)


def write_table(table: Table, path: str | os.PathLike[str]) -> None:
    """Writes one table; see `TableWriter`."""
    with TableWriter(path) as out:
        out.write(table)


def _plain_list(values: Sequence[Any]) -> list[Any]:
    tolist: Callable[[], list[Any]] | None = getattr(values, "tolist", None)
    return tolist() if tolist is not None else list(values)


class _Format(ABC):
    """A file being written."""

    def open(self, path: Path) -> None:
        self.file: IO[str] = path.open("w", encoding="utf-8", newline="")

    @abstractmethod
    def write(self, table: Table) -> None:
        """Appends the rows of a table."""

    def close(self) -> None:
        self.file.close()


class _JsonLines(_Format):
    def write(self, table: Table) -> None:
        self.file.writelines(f"{line}\n" for line in _json_objects(table))


class _JsonArray(_Format):
    def open(self, path: Path) -> None:
        super().open(path)
        self._separator = "[\n"

    def write(self, table: Table) -> None:
        for line in _json_objects(table):
            self.file.write(self._separator + line)
            self._separator = ",\n"

    def close(self) -> None:
        self.file.write("[]\n" if self._separator == "[\n" else "\n]\n")
        super().close()


class _Csv(_Format):
    delimiter = ","

    def open(self, path: Path) -> None:
        super().open(path)
        self._writer = csv.writer(self.file, delimiter=self.delimiter)
        self._header = False

    def write(self, table: Table) -> None:
        if not self._header:
            self._writer.writerow(table.columns)
            self._header = True
        cells = [[_csv_cell(value) for value in values] for values in table.columns.values()]
        self._writer.writerows(zip(*cells, strict=True))


class _Parquet(_Format):
    def open(self, path: Path) -> None:
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError as error:
            raise MissingExtraError("pyarrow", "data") from error
        self._arrow = pyarrow
        self._path = path
        self._writer: Any = None
        path.touch()

    def write(self, table: Table) -> None:
        arrow = self._arrow
        known = {} if self._writer is None else {field.name: field.type for field in self._writer.schema}
        try:
            arrays = [_arrow_array(arrow, v, known.get(n, table.types.get(n))) for n, v in table.columns.items()]
        except (arrow.ArrowException, TypeError, UnicodeEncodeError, OverflowError) as error:
            where = f"{table.source}, from row {table.first_row}"
            raise DataError(f"{where}: values of one column differ in type: {error}") from error
        if self._writer is None:
            arrays = [a.cast(arrow.string()) if arrow.types.is_null(a.type) else a for a in arrays]
        batch = arrow.Table.from_arrays(arrays, names=list(table.columns))
        if self._writer is None:
            self._writer = arrow.parquet.ParquetWriter(self._path, batch.schema, compression="zstd")
        self._writer.write_table(batch)

    def close(self) -> None:
        if self._writer is None:
            self._arrow.parquet.write_table(self._arrow.table({}), self._path)
        else:
            self._writer.close()


def _arrow_array(arrow: Any, values: list[Any], kind: Any) -> Any:
    try:
        return arrow.array(values, kind)
    except UnicodeEncodeError:
        return arrow.array([_arrow_cell(value) for value in values], kind)


class _Tsv(_Csv):
    delimiter = "\t"


_FORMATS: dict[str, type[_Format]] = {
    ".jsonl": _JsonLines,
    ".ndjson": _JsonLines,
    ".json": _JsonArray,
    ".csv": _Csv,
    ".tsv": _Tsv,
    ".parquet": _Parquet,
}


def _json_objects(table: Table) -> list[str]:
    rows = zip(*table.columns.values(), strict=True)
    return [_json_object(dict(zip(table.columns, row, strict=True))) for row in rows]


def _json_object(row: dict[str, Any]) -> str:
    try:
        return _dumps(row, allow_nan=False)
    except ValueError:  # JSON has no NaN: such values become null
        finite = {n: None if isinstance(v, float) and not math.isfinite(v) else v for n, v in row.items()}
        return _dumps(finite)


def _dumps(value: Any, *, allow_nan: bool = True) -> str:
    text = json.dumps(value, ensure_ascii=False, allow_nan=allow_nan, default=str)
    return text if encodable(text) == text else json.dumps(value, default=str)


def _csv_cell(value: Any) -> Any:
    if isinstance(value, list | dict):
        return _dumps(value)
    return encodable(value) if isinstance(value, str) else value


def _arrow_cell(value: Any) -> Any:
    """The value without lone surrogates, wherever they are in it."""
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, dict):
        return {_arrow_cell(name): _arrow_cell(item) for name, item in value.items()}
    return [_arrow_cell(item) for item in value] if isinstance(value, list) else value
