"""Where rows come from (a file, a folder, a pattern, a data set, a DataFrame) and what its columns are called.

Input("labels.csv", columns={"prompt": "question", "score": "performance"})
"""

import glob
import gzip
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

from pointsman.core.errors import DataError

__all__ = ["FORMATS", "Columns", "Input", "Source", "columns_of", "expand", "format_of", "source_name", "winner_labels"]

FORMATS = (".parquet", ".jsonl", ".ndjson", ".json", ".csv", ".tsv")
_DESCRIPTIONS = frozenset({"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"})
_STDIN = "-"
_SPLITS = ("train", "test", "validation", "valid", "dev")

Columns: TypeAlias = Mapping[str, Sequence[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Input(os.PathLike[str]):
    """A source whose columns or labels have names of their own.

    Attributes:
        source: a path, a pattern, a data set id, a DataFrame, or columns.
        columns: our name of a column to the source's: {"prompt": "question"}.
        winners: the source's label of a winner to ours: {"A": "model_a"}.
    """

    source: "Source"
    columns: Mapping[str, str] = field(default_factory=dict)
    winners: Mapping[str, str] = field(default_factory=dict)

    def __fspath__(self) -> str:
        return source_name(self.source)

    def __str__(self) -> str:
        return source_name(self.source)


Source: TypeAlias = str | os.PathLike[str] | Input | Columns | Any  # Any: a DataFrame of pandas, polars or pyarrow


def source_name(source: Source) -> str:
    """The name of a source in messages."""
    name = os.fspath(source) if isinstance(source, str | os.PathLike) else "table"
    return "standard input" if name == _STDIN else name


def winner_labels(source: Source) -> Mapping[str, str]:
    """The labels of winners that the user explained."""
    return source.winners if isinstance(source, Input) else {}


def columns_of(source: Source) -> Columns | None:
    """Columns of a table in memory; None if the source is a file or data set.

    Raises:
        DataError: the object is not a table.
    """
    if isinstance(source, str | os.PathLike):
        return None
    if isinstance(source, Mapping):
        return source
    if hasattr(source, "to_pydict"):  # pyarrow
        return dict(source.to_pydict())
    if hasattr(source, "columns") and hasattr(source, "to_dict"):
        names = [str(name) for name in source.columns]
        if len(set(names)) < len(names):
            raise DataError(f"the table names a column twice: {names}")
        return {str(name): source[name].tolist() if hasattr(source[name], "tolist") else list(source[name])
                for name in source.columns}  # fmt: skip
    if isinstance(source, Sequence) and all(isinstance(row, Mapping) for row in source):
        names = list(dict.fromkeys(str(name) for row in source for name in row))
        return {name: [row.get(name) for row in source] for name in names}
    kind = type(source).__name__
    raise DataError(f"a source is a {kind}, wanted a path, a data set id, a DataFrame, or columns by name")


def format_of(path: Path) -> str | None:
    """Suffix of a table's format, that of `name.csv.gz` being ".csv"; None if it is not one of `FORMATS`."""
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    if suffixes and suffixes[-1] == ".gz":
        return suffixes[-2] if len(suffixes) == 2 and suffixes[-2] in FORMATS and suffixes[-2] != ".parquet" else None
    return suffixes[-1] if suffixes and suffixes[-1] in FORMATS else None


def expand(source: str | os.PathLike[str]) -> list[Path] | None:
    """The files that a source names, a folder's or a pattern's in the order of their names; None for a data set.

    A folder whose files are named after splits (train.csv, test.csv) is a data set. "-" is standard input.

    Raises:
        DataError: a file does not exist or has another suffix, or a pattern matches none.
    """
    text = os.fspath(source)
    if text == _STDIN:
        return [Path(_stdin().name)]
    path = Path(text)
    if path.is_dir():
        files = _tables_in(path)
        return files if files and not any(_names_split(file) for file in files) else None
    if path.is_file():
        if format_of(path) is None:
            wanted = f"{', '.join(FORMATS)}, or a text format with .gz"
            raise DataError(f"{path} has suffix {path.suffix!r}, wanted one of {wanted}")
        return [path]
    if glob.has_magic(text):
        files = [Path(name) for name in sorted(glob.glob(text, recursive=True)) if format_of(Path(name))]  # noqa: PTH207 - absolute and relative patterns
        if not files:
            raise DataError(f"no table matches {text!r}; wanted files with suffix {', '.join(FORMATS)}")
        return files
    if format_of(path) is not None:
        raise DataError(f"{path} does not exist or is not a file")
    return None


@cache
def _stdin() -> "tempfile._TemporaryFileWrapper[bytes]":
    """Standard input as a file, since tables are read more than once; it is deleted with the process."""
    content = sys.stdin.buffer.read()
    if content.startswith(b"\x1f\x8b"):
        content = gzip.decompress(content)
    begin = content.removeprefix(b"\xef\xbb\xbf").lstrip()[:4]
    suffix = ".parquet" if begin == b"PAR1" else ".jsonl" if begin[:1] in (b"{", b"[") else ".csv"
    file = tempfile.NamedTemporaryFile(prefix="stdin-", suffix=suffix)  # noqa: SIM115 - open as long as the process
    file.write(content)
    file.flush()
    return file


def _tables_in(folder: Path) -> list[Path]:
    found = [path for path in sorted(folder.rglob("*")) if path.is_file() and format_of(path) is not None]
    visible = [path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    return [path for path in visible if path.name not in _DESCRIPTIONS]


def _names_split(path: Path) -> bool:
    return any(path.name.lower().startswith(split) for split in _SPLITS)
