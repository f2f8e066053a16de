"""Embeddings that were computed shard by shard, as the one file that `embed_table` writes."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pointsman.backends.data.shards import Shard, ShardJob, read_shard, shard_prompts, write_shard
from pointsman.backends.embedders.files import EmbeddingRecord, prompts_fingerprint, publish_embeddings
from pointsman.core.embedding import CANARIES, Embedder, check_embeddings

__all__ = ["assemble_embeddings", "embed_shard"]

_BATCH_ROWS = 2048  # as `embed_table`: then the numbers are the same to the last bit
_PROMPT, _COLUMN = "prompt", "embedding"


def embed_shard(shard: Shard, embed: Embedder, *, column: str | None) -> int:
    """Writes the prompts of a shard with their embeddings; the number of rows.

    Args:
        column: where the prompts are; found as `prompt_texts` does if None.
    """
    import pyarrow

    def tables() -> Iterator[object]:
        for first, table in read_shard(shard, None if column is None else [column]):
            texts = shard_prompts(table, column, shard, first)
            for i in range(0, len(texts), _BATCH_ROWS):
                part = texts[i : i + _BATCH_ROWS]
                made = check_embeddings(embed(part), embed.identity.dim).astype("<f4")
                values = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(made.ravel()), made.shape[1])
                yield pyarrow.table({_PROMPT: part, _COLUMN: values})

    return write_shard(shard, tables())


def assemble_embeddings(job: ShardJob, target: Path, embed: Embedder) -> EmbeddingRecord:
    """The `.npy` file and its record from the outputs of all shards, which are removed."""
    folder = Path(job.shards[0].output)
    partial = target.with_suffix(".partial.npy")
    dim = embed.identity.dim
    with partial.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (job.n_rows, dim)})

        def prompts() -> Iterator[str]:
            for shard in job.shards:
                done = Shard(str(folder), str(folder / shard.name), 0, shard.n_rows, str(folder), shard.name)
                for _, table in read_shard(done):
                    flat = table[_COLUMN].combine_chunks().flatten().to_numpy()
                    file.write(flat.astype("<f4", copy=False).tobytes())
                    yield from table[_PROMPT].to_pylist()

        fingerprint = prompts_fingerprint(prompts())
        file.flush()
        os.fsync(file.fileno())
    record = EmbeddingRecord(embed.identity, embed(CANARIES), job.n_rows, fingerprint)
    publish_embeddings(target, record)
    shutil.rmtree(folder)
    return record
