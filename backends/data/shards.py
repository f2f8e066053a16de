"""A folder of parquet files cut into shards, each with its own output file, so that finished work is not repeated.

A shard is a range of rows of one file. It begins at a multiple of the 8,192 rows that `iter_batches` yields, and is
read in the same batches: a matrix product may differ in the last bit with the number of its rows. Folders may be local
or, by URI, on S3, Google Cloud Storage (`gs://`) or the Hugging Face hub (`hf://datasets/...`).

    output/_job.json            what the shards were computed from: another job is refused there
    output/part-000000.parquet  the output of one shard, complete
"""

import json
import posixpath
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pointsman.backends.data.labels import prompt_texts
from pointsman.backends.data.layouts import layout_of
from pointsman.backends.data.prompts import PROMPT_COLUMNS
from pointsman.backends.data.tables import Table
from pointsman.core.counted import counted
from pointsman.core.errors import DataError, MissingExtraError

__all__ = ["BATCH_ROWS", "Shard", "ShardJob", "map_shard", "read_shard", "shard_prompts", "write_shard", "write_texts"]

BATCH_ROWS = 8192
_JOB = "_job.json"
_SUFFIX = ".parquet"


@dataclass(frozen=True, slots=True)
class Shard:
    """Rows of one parquet file.

    Attributes:
        uri: the folder (or the one file) that the job reads.
        path: the file, as its file system spells it.
        first_row: counted from 0.
        n_rows: how many.
        output: URI of the folder that the output goes to.
        name: of the output file in it.
    """

    uri: str
    path: str
    first_row: int
    n_rows: int
    output: str
    name: str


class ShardJob:
    """The shards of an input, in the order of its rows, and which of them are done."""

    def __init__(self, source: str, output: str, *, rows_per_shard: int, key: dict[str, Any]) -> None:
        """Lists the files, and reads how many rows each has.

        Args:
            rows_per_shard: rounded up to whole batches.
            key: what else the output depends on, as JSON-ready types.

        Raises:
            DataError: there is no parquet file, one is damaged, or `output` holds another job's shards.
            MissingExtraError: pyarrow is not installed.
        """
        if rows_per_shard < 1:
            raise ValueError(f"rows_per_shard is {rows_per_shard}, wanted at least 1")
        size = -(-rows_per_shard // BATCH_ROWS) * BATCH_ROWS
        self._out, self._folder = _open(output)
        files = [(path, _parquet(source, path).metadata.num_rows) for path in _list(source)]
        ranges = [(path, first, min(size, n - first)) for path, n in files for first in range(0, n, size)]
        if not ranges:
            raise DataError(f"{source} holds no rows: there is nothing to do")
        self.shards = [
            Shard(source, path, first, n, output, f"part-{i:06d}{_SUFFIX}") for i, (path, first, n) in enumerate(ranges)
        ]
        self.n_rows = sum(n for _, n in files)
        self._claim({"files": files, "rows_per_shard": size, **key}, output)

    def pending(self) -> list[Shard]:
        """The shards whose output is not there yet."""
        import pyarrow.fs

        chosen = pyarrow.fs.FileSelector(self._folder)
        done = {posixpath.basename(info.path) for info in self._out.get_file_info(chosen)}
        return [shard for shard in self.shards if shard.name not in done]

    def _claim(self, job: dict[str, Any], output: str) -> None:
        """Writes down which job this folder is of."""
        path = posixpath.join(self._folder, _JOB)
        wanted = json.loads(json.dumps(job))
        self._out.create_dir(self._folder, recursive=True)
        if _exists(self._out, path):
            with self._out.open_input_stream(path) as file:
                found = json.loads(file.read())
            if found != wanted:
                differs = ", ".join(n for n in sorted(found.keys() | wanted.keys()) if found.get(n) != wanted.get(n))
                raise DataError(f"{output} holds the output of another job ({differs} differ): name another output")
            return
        with self._out.open_output_stream(path) as file:
            file.write(json.dumps(wanted, indent=1).encode() + b"\n")


def read_shard(shard: Shard, columns: Sequence[str] | None = None) -> Iterator[tuple[int, Any]]:
    """The shard's batches of 8,192 rows (the last may be shorter): number of the first row, from 1; pyarrow table.

    Raises:
        DataError: a column is missing, or the file is damaged.
    """
    import pyarrow

    file = _parquet(shard.uri, shard.path)
    for name in columns or ():
        _check_column(name, file.schema_arrow.names, shard)
    groups, skipped = _row_groups(file, shard)
    first, left, rest = shard.first_row + 1, shard.n_rows, file.schema_arrow.empty_table()
    rest = rest.select(columns) if columns is not None else rest
    try:
        for batch in file.iter_batches(BATCH_ROWS, row_groups=groups, columns=columns):
            new = pyarrow.Table.from_batches([batch.slice(min(skipped, batch.num_rows))])
            skipped = max(0, skipped - batch.num_rows)
            rest = pyarrow.concat_tables([rest, new.cast(rest.schema)])
            while left and rest.num_rows >= min(BATCH_ROWS, left):
                n = min(BATCH_ROWS, left)
                yield first, rest.slice(0, n)
                first, left, rest = first + n, left - n, rest.slice(n)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{shard.path}, after row {first - 1}: damaged parquet file: {error}") from error
    if left:
        raise DataError(f"{shard.path} ends {counted(left, 'row')} early: it changed meanwhile")


def write_shard(shard: Shard, tables: Iterator[Any]) -> int:
    """Writes pyarrow tables of one schema as a shard's output, which appears once it is complete; the rows written."""
    import pyarrow.parquet

    out, folder = _open(shard.output)
    target = posixpath.join(folder, shard.name)
    local = isinstance(out, pyarrow.fs.LocalFileSystem)  # an object store shows no object before it is complete
    staging = posixpath.join(folder, f".{shard.name}.part") if local else target
    writer, n_rows = None, 0
    with out.open_output_stream(staging) as file:
        for table in tables:
            if writer is None:
                writer = pyarrow.parquet.ParquetWriter(file, table.schema, compression="zstd")
            writer.write_table(table)
            n_rows += table.num_rows
        if writer is None:
            writer = pyarrow.parquet.ParquetWriter(file, pyarrow.schema([]), compression="zstd")
        writer.close()
    if local:
        Path(staging).replace(target)
    return n_rows


def map_shard(shard: Shard, add: Callable[[list[str]], Any], *, prompts: str | None, added: str) -> int:
    """Writes the shard's rows with one column more, computed from its prompts; the number of rows.

    Args:
        add: from a batch of prompts to a pyarrow array or anything that `pyarrow.array` takes.
        prompts: name of the column of prompts; found as `prompt_texts` does if None.
        added: name of the new column.
    """
    import pyarrow

    def tables() -> Iterator[Any]:
        for first, table in read_shard(shard):
            texts = shard_prompts(table, prompts, shard, first)
            column = add(texts)
            if added in table.schema.names:
                table = table.drop_columns([added])
            yield table.append_column(added, column if isinstance(column, pyarrow.Array) else pyarrow.array(column))

    return write_shard(shard, tables())


def write_texts(shard: Shard, columns: Mapping[str, Sequence[str]]) -> int:
    """Writes columns of texts as a shard's output; the number of rows."""
    import pyarrow

    arrays = {name: pyarrow.array(values, pyarrow.string()) for name, values in columns.items()}
    return write_shard(shard, iter([pyarrow.table(arrays)]))


def shard_prompts(table: Any, column: str | None, shard: Shard, first_row: int) -> list[str]:
    """The prompts of a shard's batch, as `prompt_texts` reads them; only the columns that it needs are converted.

    Raises:
        DataError: there is no such column, or a value is a number; the message gives its row.
    """
    names = table.schema.names
    layout = layout_of(names)
    if column is None and (layout is None or layout.prompt is None):
        column = next((name for name in PROMPT_COLUMNS if name in names), "prompt")
    needed = names if column is None else [column]
    for name in needed:
        _check_column(name, names, shard)
    return prompt_texts(Table({name: table[name].to_pylist() for name in needed}, shard.path, first_row), column)


def _check_column(name: str, known: Sequence[str], shard: Shard) -> None:
    if name not in known:
        raise DataError(f"{shard.path} has no column {name!r}; its columns are {', '.join(known)}: name another")


def _row_groups(file: Any, shard: Shard) -> tuple[list[int], int]:
    """The row groups that hold the shard, and how many of their rows come before it."""
    groups, begin, before = [], 0, 0
    for i in range(file.metadata.num_row_groups):
        end = begin + file.metadata.row_group(i).num_rows
        if begin < shard.first_row + shard.n_rows and end > shard.first_row:
            if not groups:
                before = shard.first_row - begin
            groups.append(i)
        begin = end
    return groups, before


def _open(uri: str) -> tuple[Any, str]:
    """The file system of a URI or local path, and the path in it."""
    try:
        import pyarrow.fs
    except ImportError as error:
        raise MissingExtraError("pyarrow", "data") from error
    try:
        if uri.startswith("hf://"):
            from huggingface_hub import HfFileSystem

            return pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(HfFileSystem())), uri.removeprefix("hf://")
        if "://" in uri:
            system, path = pyarrow.fs.FileSystem.from_uri(uri)
            return system, str(path)
    except (pyarrow.ArrowException, OSError, ImportError) as error:
        raise DataError(f"{uri} cannot be opened: {error}") from error
    return pyarrow.fs.LocalFileSystem(), str(Path(uri).resolve())


def _exists(system: Any, path: str) -> bool:
    import pyarrow.fs

    return bool(system.get_file_info([path])[0].type == pyarrow.fs.FileType.File)


def _list(source: str) -> list[str]:
    """The parquet files of a folder, sorted; hidden ones are left out. A file is itself."""
    import pyarrow.fs

    system, path = _open(source)
    kinds = pyarrow.fs.FileType
    try:
        kind = system.get_file_info([path])[0].type
        if kind == kinds.File:
            return [path]
        found = system.get_file_info(pyarrow.fs.FileSelector(path, recursive=True)) if kind == kinds.Directory else []
    except OSError as error:
        raise DataError(f"{source} cannot be listed: {error}") from error
    names = [info.path for info in found if info.type == kinds.File and info.path.endswith(_SUFFIX)]
    shown = sorted(name for name in names if not posixpath.basename(name).startswith((".", "_")))
    if not shown:
        raise DataError(f"{source} holds no {_SUFFIX} file: name a folder of them, or one such file")
    return shown


def _parquet(uri: str, path: str) -> Any:
    import pyarrow
    import pyarrow.parquet

    system, _ = _open(uri)
    try:
        return pyarrow.parquet.ParquetFile(system.open_input_file(path))
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path} is not a readable parquet file: {error}") from error
