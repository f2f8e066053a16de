"""The texts of the prompts that a checkpoint of scores was trained on: what a further model is asked later.

They lie beside the checkpoint as `prompts.jsonl`, a JSON string per row of its tables.
"""

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from pointsman.core.checkpoint import Checkpoint
from pointsman.core.counted import counted
from pointsman.core.errors import CheckpointError, DataError
from pointsman.core.similarity import unit_rows

__all__ = ["KEPT", "kept_prompts", "match_prompts", "prompts_file"]

KEPT = "prompts.jsonl"
_SAME = 0.999  # cosine of two embeddings of one text, one of them kept in 16 bits


@contextmanager
def prompts_file(prompts: Sequence[str]) -> Iterator[dict[str, Path]]:
    """The further file of a checkpoint, while it is written."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / KEPT
        path.write_text("".join(json.dumps(prompt) + "\n" for prompt in prompts), encoding="utf-8")
        yield {KEPT: path}


def kept_prompts(checkpoint: Checkpoint) -> list[str | None]:
    """Text of each row of a checkpoint's tables; None for all where it keeps none.

    Raises:
        CheckpointError: there are more or fewer texts than rows, or one is not a text.
    """
    n_rows = len(checkpoint.array("scores", ndim=2))
    path = checkpoint.path / KEPT if checkpoint.path is not None else None
    if path is None or not path.is_file():
        return [None] * n_rows
    try:
        found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except ValueError as error:
        raise CheckpointError(f"{path} is not a file of prompts: {error}; train the checkpoint again") from error
    if len(found) != n_rows or not all(isinstance(text, str) for text in found):
        raise CheckpointError(
            f"{path} has {len(found)} lines for {counted(n_rows, 'row')} of scores; train the checkpoint again"
        )
    return list(found)


def match_prompts(checkpoint: Checkpoint, prompts: Sequence[str], embeddings: np.ndarray) -> list[str | None]:
    """Text of each row of a checkpoint's tables, found among prompts by their embeddings; None where it is not there.

    Raises:
        DataError: none of the prompts is one that the checkpoint was trained on.
    """
    rows = unit_rows(checkpoint.array("embeddings", ndim=2).astype(np.float32))
    unit = unit_rows(np.asarray(embeddings, dtype=np.float32))
    found: list[str | None] = []
    for start in range(0, len(rows), 512):
        cosines = rows[start : start + 512] @ unit.T
        best = cosines.argmax(axis=1)
        found += [
            prompts[j] if row[j] >= _SAME else None for row, j in zip(cosines.tolist(), best.tolist(), strict=True)
        ]
    if not any(text is not None for text in found):
        raise DataError(
            f"checkpoint {checkpoint.path} was trained on other prompts: none of its prompts is in this table "
            f"({counted(len(prompts), 'prompt')}); name the table that it was trained on"
        )
    return found
