"""Embeddings for a list of prompts: made now, or looked up in a file that was made before."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pointsman.backends.data.labels import read_prompts
from pointsman.backends.data.sources import Source
from pointsman.backends.embedders.files import prompts_fingerprint, read_embeddings
from pointsman.core.arrays import Float32Array
from pointsman.core.counted import counted
from pointsman.core.embedding import CANARIES, Embedder, EmbedderIdentity
from pointsman.core.errors import DataError

__all__ = ["PromptEmbeddings", "embed_prompts", "stored_embeddings"]

_BATCH = 2048


@dataclass(frozen=True, slots=True, eq=False)
class PromptEmbeddings:
    """Embeddings and who made them.

    Attributes:
        values: float32, shape (n_prompts, dim).
        identity: of the embedder.
        canaries: its embeddings of the canary sentences, shape (3, dim).
    """

    values: Float32Array
    identity: EmbedderIdentity
    canaries: Float32Array


def embed_prompts(
    prompts: Sequence[str], embed: Embedder, *, progress: Callable[[int], None] | None = None
) -> PromptEmbeddings:
    """Embeds prompts in batches; calls `progress` with the number done."""
    values = np.empty((len(prompts), embed.identity.dim), dtype=np.float32)
    for start in range(0, len(prompts), _BATCH):
        batch = list(prompts[start : start + _BATCH])
        values[start : start + len(batch)] = embed(batch)
        if progress is not None:
            progress(start + len(batch))
    return PromptEmbeddings(values, embed.identity, embed(CANARIES))


def stored_embeddings(prompts: Sequence[str], path: str, source: Source) -> PromptEmbeddings:
    """Looks prompts up in embeddings that `pointsman embed SOURCE -o PATH` wrote.

    Args:
        prompts: may be any of the source's prompts, in any order.
        source: the table that was embedded.

    Raises:
        DataError: the embeddings are of another table (row count or prompts differ), or lack a prompt.
    """
    embeddings, record = read_embeddings(path)
    embedded = [prompt for _, prompts in read_prompts(source) for prompt in prompts]
    if len(embedded) != record.n_prompts:
        counts = f"{record.n_prompts} embeddings for {counted(len(embedded), 'row')} of {source}"
        raise DataError(f"{path} holds {counts}: embed it again")
    if prompts_fingerprint(embedded) != record.fingerprint:
        raise DataError(f"{path} was made from other prompts than {source} has now, or another order: embed it again")
    row = {prompt: i for i, prompt in enumerate(embedded)}
    missing = [prompt for prompt in prompts if prompt not in row]
    if missing:
        raise DataError(
            f"{path} lacks {len(missing)} of {counted(len(prompts), 'prompt')}, the first is {missing[0]!r:.80}; "
            "name the table that was embedded with --embedded, or embed these prompts"
        )
    values = np.asarray(embeddings[[row[prompt] for prompt in prompts]], dtype=np.float32)
    return PromptEmbeddings(values, record.identity, record.canaries)
