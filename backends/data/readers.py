"""Rows of one file or data set, batch by batch, and the names of its columns.

Text formats are read with the standard library and orjson; `.parquet` needs pyarrow, data sets need `datasets`, both
of `pointsman[data]`. Text is UTF-8, or UTF-16 with a byte order mark as Excel writes it.
"""

import csv
import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import orjson

from pointsman.backends.data.promptfoo import told_apart
from pointsman.backends.data.sources import FORMATS, format_of
from pointsman.core.errors import DataError, MissingExtraError

__all__ = ["dataset_batches", "file_rows", "parquet_batches", "parquet_file", "text_columns"]

_MAX_FIELD_CHARS = 1 << 30
_ROW_LISTS = ("records", "results", "data", "rows", "items", "examples", "traces", "observations")
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


def file_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a text file, each with the columns that it has."""
    suffix = format_of(path)
    if suffix == ".json":
        return _json_rows(path)
    return _csv_rows(path, "\t" if suffix == ".tsv" else None) if suffix in (".csv", ".tsv") else _jsonl_rows(path)


def text_columns(path: Path) -> list[str]:
    """Names of the columns of a text file, in order of appearance: JSON Lines are read for those that come late."""
    if format_of(path) in (".csv", ".tsv"):
        return _csv_header(path)
    return list(dict.fromkeys(name for row in file_rows(path) for name in row))


def _open(path: Path) -> IO[bytes]:
    return gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb")  # type: ignore[return-value]


def _lines(path: Path) -> Iterator[str]:
    """Lines of a file with their ends, a byte order mark left out."""
    number = 0
    try:
        with _open(path) as file:
            if file.read(2) in _UTF16_MARKS:
                file.seek(0)
                yield from file.read().decode("utf-16").splitlines(keepends=True)
                return
            file.seek(0)
            for number, line in enumerate(file, 1):
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        what = f"byte 0x{error.object[error.start]:02x} is not {error.encoding.upper()}"
        raise DataError(f"{path}, line {number}: {what}; convert the file (Excel: 'CSV UTF-8')") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path}, after line {number}: damaged gzip file: {error}") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def _jsonl_rows(path: Path) -> Iterator[dict[str, Any]]:
    lines = _lines(path)
    first = next(lines, "")
    if first.strip() == "[" or first.lstrip().startswith("[{"):  # an array under another name
        yield from _json_rows(path)
        return
    for number, line in enumerate(_with_first(first, lines), 1):
        if line.strip():
            row = _loads(line, f"{path}, line {number}")
            if not isinstance(row, dict):
                raise DataError(f"{path}, line {number}: is {line.strip()!r:.80}, wanted a JSON object")
            yield row


def _json_rows(path: Path) -> Iterator[dict[str, Any]]:
    text = "".join(_lines(path))
    try:
        value = _loads(text, str(path))
    except DataError:
        if not _is_object(text.lstrip().partition("\n")[0]):
            raise
        yield from _jsonl_rows(path)  # JSON Lines under another name
        return
    rows = _row_list(value)
    if rows is None:
        what = type(value).__name__
        raise DataError(f"{path} holds a JSON {what}, wanted an array of objects, or an object with one of its rows")
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise DataError(f"{path}, row {number}: is {row!r:.80}, wanted a JSON object")
        yield row


def _loads(text: str, where: str) -> Any:
    with suppress(orjson.JSONDecodeError):  # refuses NaN and lone surrogates, which the standard library reads
        return orjson.loads(text)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not valid JSON: {error}") from error


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _row_list(value: Any) -> Iterable[Any] | None:
    """The rows of a JSON document: an array; an array inside an object, with the object's plain values; one object."""
    if isinstance(value, list):
        return value
    if not isinstance(value, dict):
        return None
    for name in _ROW_LISTS:
        inner = value.get(name)
        rows = inner if isinstance(inner, list) else _row_list(inner) if isinstance(inner, dict) else None
        if rows and all(isinstance(row, dict) for row in rows):
            shared = {key: v for key, v in value.items() if isinstance(v, str | int | float | bool)}
            return [{**shared, **row} for row in rows]
    columns = [v for v in value.values() if isinstance(v, dict) and v and not any(map(_is_nested, v.values()))]
    if value and len(columns) == len(value):  # pandas: {"prompt": {"0": ..., "1": ...}, ...}
        keys = list(dict.fromkeys(key for column in columns for key in column))
        return [{name: column.get(key) for name, column in value.items()} for key in keys]
    return [value] if any(isinstance(v, list | str | dict) for v in value.values()) and "error" not in value else None


def _is_nested(value: Any) -> bool:
    return isinstance(value, dict | list)


def _csv_header(path: Path) -> list[str]:
    return next(_csv_lines(path, None if format_of(path) == ".csv" else "\t"))[1]


def _csv_rows(path: Path, delimiter: str | None) -> Iterator[dict[str, Any]]:
    lines = _csv_lines(path, delimiter)
    header = next(lines)[1]
    for number, row in lines:
        if len(row) > len(header) and not any(field.strip() for field in row[len(header) :]):
            row = row[: len(header)]
        if len(row) != len(header):
            raise DataError(f"{path}, line {number}: {len(row)} fields, wanted {len(header)} as in the header")
        yield dict(zip(header, row, strict=True))


def _csv_lines(path: Path, delimiter: str | None) -> Iterator[tuple[int, list[str]]]:
    """Header and rows with their line numbers; lines without a value are none."""
    csv.field_size_limit(_MAX_FIELD_CHARS)
    lines = _lines(path)
    first = next((line for line in lines if line.strip()), None)
    if first is None:
        raise DataError(f"{path} is empty, wanted a header line")
    if first.strip().lower().startswith("sep=") and len(first.strip()) == 5:  # Excel's own hint
        delimiter, first = first.strip()[4], next(lines, "")
    delimiter = delimiter or max(",;\t", key=lambda mark: _n_fields(first, mark))
    if delimiter == "," and _n_fields(first, ",") == 1 and _n_fields(first, "|") > 1:
        delimiter = "|"
    reader = csv.reader(_with_first(first, lines), delimiter=delimiter)
    header: list[str] | None = None
    try:
        for row in reader:
            if header is None:
                header = told_apart(_trimmed(row))
                if len(set(header)) != len(header):
                    raise DataError(f"{path}: header names a column twice: {header}")
                yield reader.line_num, header
            elif row and (len(header) == 1 or any(field.strip() for field in row)):
                yield reader.line_num, [_decimal(field) for field in row] if delimiter == ";" else row
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}") from error


def _n_fields(line: str, delimiter: str) -> int:
    return len(next(csv.reader([line], delimiter=delimiter), []))


def _with_first(first: str, lines: Iterator[str]) -> Iterator[str]:
    yield first
    yield from lines


def _trimmed(row: list[str]) -> list[str]:
    header = [field.strip() for field in row]
    while len(header) > 1 and not header[-1]:
        header.pop()
    return header


def _decimal(field: str) -> str:
    """A number with a decimal comma, as Excel writes it where semicolons separate, with a point."""
    whole, comma, fraction = field.strip().partition(",")
    return f"{whole}.{fraction}" if comma and whole.lstrip("+-").isdecimal() and fraction.isdecimal() else field


def parquet_file(path: Path) -> Any:
    """An open parquet file; a context manager."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError("pyarrow", "data") from error
    try:
        return pyarrow.parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path} is not a readable parquet file: {error}") from error


def parquet_batches(
    path: Path, columns: Sequence[str], batch_rows: int
) -> Iterator[tuple[dict[str, list[Any]], Mapping[str, Any], int]]:
    """Columns of each batch as Python values, their types, and the number of rows."""
    with parquet_file(path) as file:
        import pyarrow

        types = {name: file.schema_arrow.field(name).type for name in columns}
        first_row = 1
        try:
            for batch in file.iter_batches(batch_size=batch_rows, columns=list(columns)):
                values = {name: _python_values(batch.column(name), name, path, first_row) for name in columns}
                yield values, types, batch.num_rows
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


def dataset_batches(source: str, batch_rows: int) -> Iterator[dict[str, list[Any]]]:
    """Batches of a data set: "owner/name", "owner/name:split", "owner/name@configuration:split", or a folder."""
    name, _, split = source.partition(":")
    name, _, configuration = name.partition("@")
    try:
        import datasets
    except ImportError as error:
        extra = MissingExtraError("datasets", "data")
        raise DataError(f"{source} is not a file; to read it as a data set: {extra}") from error
    try:
        data = datasets.load_dataset(name, configuration or None, split=split or "train")
    except (datasets.exceptions.DatasetsError, OSError, ValueError, RuntimeError, ImportError, KeyError) as error:
        wanted = f"a file ({', '.join(FORMATS)}), a folder of such files, or a data set that can be loaded"
        raise DataError(f"{source} is not {wanted} (owner/name@configuration:split): {error}") from error
    yield from data.iter(batch_size=batch_rows)
