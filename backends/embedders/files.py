"""Embeddings of a table of prompts in a `.npy` file, with a record beside it of what they are.

embeddings.npy                 float32, shape (n_prompts, dim), one row per prompt in the table's order
embeddings.json                identity and canaries of the embedder, number and fingerprint of the prompts
embeddings.partial.npy, .json  the same while in progress: a killed run resumes from there
"""

import hashlib
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from pointsman.backends.data.labels import read_prompts
from pointsman.backends.data.sources import Source
from pointsman.core.arrays import Float32Array
from pointsman.core.counted import counted
from pointsman.core.embedding import CANARIES, Embedder, EmbedderIdentity, check_canaries, check_embeddings
from pointsman.core.errors import DataError, EmbedderMismatchError

__all__ = ["EmbeddingRecord", "embed_table", "prompts_fingerprint", "publish_embeddings", "read_embeddings"]


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddingRecord:
    """The contents of a file of embeddings.

    Attributes:
        identity: the embedder that made it.
        canaries: its embeddings of the three canary sentences, shape (3, dim).
        n_prompts: number of rows.
        fingerprint: `prompts_fingerprint` of the prompts.
    """

    identity: EmbedderIdentity
    canaries: Float32Array
    n_prompts: int
    fingerprint: str


def prompts_fingerprint(prompts: Iterable[str]) -> str:
    """SHA-256 of prompts and their order, in hexadecimal."""
    digest = hashlib.sha256()
    for prompt in prompts:
        content = prompt.encode()
        digest.update(len(content).to_bytes(8, "little") + content)
    return digest.hexdigest()


def embed_table(
    source: Source,
    output: str | os.PathLike[str],
    embed: Embedder,
    *,
    batch_rows: int = 2048,
    progress: Callable[[int, int], None] | None = None,
) -> EmbeddingRecord:
    """Embeds a table's prompts into `output`; memory does not grow with their number.

    A run that was killed is gone on with where it stopped, if prompts and embedder are still the same. The old `output`
    stays until the new one is complete.

    Args:
        source: table of prompts, as `read_table` takes it.
        output: the `.npy` file to write.
        progress: called after each batch with the number of prompts done, and of all.

    Raises:
        DataError: the table is malformed, empty or changes meanwhile, `output` has another suffix, or its record would
            replace `source`.
    """
    target = Path(output)
    if target.suffix != ".npy":
        raise DataError(f"output {target} has suffix {target.suffix!r}, wanted '.npy'")
    if Path(source).resolve() in (target.with_suffix(".json").resolve(), target.with_suffix(".partial.json").resolve()):
        raise DataError(f"{source} would be overwritten by the record of {target}; name another output")
    record = _describe(source, embed)
    done = _rows_done(target, record)
    if done < record.n_prompts:
        partial = target.with_suffix(".partial.npy")
        with partial.open("r+b" if done else "w+b") as file:
            _start(target, file, record, done)
            seen = 0
            for _, prompts in read_prompts(source, batch_rows=batch_rows):
                texts = prompts[max(0, done - seen) :]
                seen += len(prompts)
                if texts:
                    file.write(check_embeddings(embed(texts), record.identity.dim).astype("<f4").tobytes())
                    done += len(texts)
                    if progress is not None:
                        progress(done, record.n_prompts)
            os.fsync(file.fileno())
        if done != record.n_prompts:
            raise DataError(
                f"{source} changed while it was read: {counted(done, 'prompt')}, before {record.n_prompts:,}; run again"
            )
    _publish(target)
    return read_embeddings(target)[1]


def read_embeddings(path: str | os.PathLike[str]) -> tuple[Float32Array, EmbeddingRecord]:
    """Embeddings that `embed_table` wrote, mapped from the file, shape (n_prompts, dim), and their record.

    Raises:
        DataError: the file or its record is missing, malformed, or they do not fit each other.
    """
    path = Path(path)
    record = _read_record(path.with_suffix(".json"))
    try:
        embeddings = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} is not a file of embeddings: {error}") from error
    wanted = (record.n_prompts, record.identity.dim)
    if embeddings.shape != wanted or embeddings.dtype != np.float32:
        raise DataError(
            f"{path} holds {embeddings.dtype} of shape {embeddings.shape}, its record says float32 {wanted}"
        )
    return embeddings, record


def _describe(source: Source, embed: Embedder) -> EmbeddingRecord:
    """Reads the prompts once, for their number and fingerprint."""
    n_prompts = 0

    def prompts() -> Iterator[str]:
        nonlocal n_prompts
        for _, part in read_prompts(source):
            n_prompts += len(part)
            yield from part

    fingerprint = prompts_fingerprint(prompts())
    if not n_prompts:
        raise DataError(f"{source} holds no prompts: there is nothing to embed")
    return EmbeddingRecord(embed.identity, embed(CANARIES), n_prompts, fingerprint)


def _rows_done(target: Path, record: EmbeddingRecord) -> int:
    """Whole rows that an earlier run left behind for the same prompts and embedder."""
    try:
        earlier = _read_record(target.with_suffix(".partial.json"))
        check_canaries(earlier.canaries, record.canaries, record.identity.name)
    except (DataError, EmbedderMismatchError):
        return 0
    if (earlier.identity, earlier.fingerprint) != (record.identity, record.fingerprint):
        return 0
    partial = target.with_suffix(".partial.npy")
    if partial.is_file():
        n_bytes = partial.stat().st_size - len(_header(record))
        return min(max(0, n_bytes // (4 * record.identity.dim)), record.n_prompts)
    published = target.is_file() and not target.with_suffix(".json").exists()  # killed between the steps of `_publish`
    return record.n_prompts if published else 0


def _start(target: Path, file: io.BufferedRandom, record: EmbeddingRecord, done: int) -> None:
    """Leaves `file` with a header and the rows that are done, ready for the next."""
    header = _header(record)
    if not done:
        file.write(header)
        file.flush()
        _write_record(target, record)
    file.truncate(len(header) + 4 * record.identity.dim * done)
    file.seek(0, io.SEEK_END)


def publish_embeddings(target: Path, record: EmbeddingRecord) -> None:
    """Puts the `.partial.npy` file beside `target`, which is complete, and its record in place of older ones."""
    _write_record(target, record)
    _publish(target)


def _write_record(target: Path, record: EmbeddingRecord) -> None:
    content = {
        "identity": asdict(record.identity),
        "n_prompts": record.n_prompts,
        "fingerprint": record.fingerprint,
        "canaries": record.canaries.tolist(),
    }
    target.with_suffix(".partial.json").write_text(json.dumps(content) + "\n", encoding="utf-8")


def _publish(target: Path) -> None:
    """Puts the finished files in place of older ones; a record never stands beside another run's embeddings."""
    target.with_suffix(".json").unlink(missing_ok=True)
    if target.with_suffix(".partial.npy").exists():
        target.with_suffix(".partial.npy").replace(target)
    target.with_suffix(".partial.json").replace(target.with_suffix(".json"))


def _header(record: EmbeddingRecord) -> bytes:
    content = io.BytesIO()
    shape = (record.n_prompts, record.identity.dim)
    np.lib.format.write_array_header_1_0(content, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return content.getvalue()


def _read_record(path: Path) -> EmbeddingRecord:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        canaries = np.array(content["canaries"], dtype=np.float32)
        identity = EmbedderIdentity(**content["identity"])
        return EmbeddingRecord(identity, canaries, int(content["n_prompts"]), str(content["fingerprint"]))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path} is not a record of embeddings: {error}; make them with `pointsman embed`") from error
