"""`--engine ray`: commands over folders of parquet, on a Ray cluster."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from pointsman.core.arrays import FloatArray
from pointsman.core.errors import DataError
from pointsman.core.pair import ModelPair
from pointsman.serve.checkpoints.load import load_checkpoint, load_router
from pointsman.serve.commands.progress import progress_bar

if TYPE_CHECKING:
    from pointsman.backends.data.shards import Shard, ShardJob

__all__ = [
    "add_engine_arguments",
    "embed_on_ray",
    "prompt_column",
    "report",
    "run_job",
    "score_on_ray",
    "shard_job",
    "win_rates_on_ray",
]

_ROWS = 131_072


def add_engine_arguments(parser: argparse.ArgumentParser, *, folders: bool = True) -> None:
    """`--engine` and its options.

    Args:
        folders: whether the command then reads and writes folders of shards.
    """
    add = parser.add_argument_group("Ray").add_argument
    what = "; input and output are then folders of parquet" if folders else ""
    add("--engine", choices=("local", "ray"), default="local", help=f"where to compute (default: local){what}")
    add("--address", help="Ray cluster, auto for the one on this machine (default: a new one on this machine's cores)")
    add("--actors", type=int, default=os.cpu_count() or 1, help="most actors (default: one per core of this machine)")
    if folders:
        add(
            "--rows-per-shard",
            type=int,
            help="rows per unit of work, done or redone as a whole (131,072; judge: 8,192)",
        )


def score_on_ray(args: argparse.Namespace, pair: ModelPair) -> int:
    """Win rates for a folder of prompts: a shard of the output for each of the input."""
    from pointsman.backends.evaluation.journal import router_key

    started = perf_counter()
    key = {"command": "score", "router": router_key(load_checkpoint(args.router), pair), "column": prompt_column(args)}
    job = shard_job(args, key)
    n_done = run_job(job, partial(_scorer, args.router, pair, prompt_column(args)), args, "Scoring")
    report(args, {"n_prompts": job.n_rows, "n_scored": n_done, "total_s": perf_counter() - started})
    return 0


def embed_on_ray(args: argparse.Namespace, options: Mapping[str, Any]) -> int:
    """Embeddings of a folder of prompts: the same two files as without Ray, from shards beside them."""
    from pointsman.backends.embedders import resolve_embedder
    from pointsman.backends.embedders.sharded import assemble_embeddings

    started, target = perf_counter(), Path(args.output)
    if target.suffix != ".npy":
        raise DataError(f"output {target} has suffix {target.suffix!r}, wanted '.npy'")
    embed = resolve_embedder(args.embedder, **options)
    key = {"command": "embed", "embedder": repr(embed.identity), "column": prompt_column(args)}
    job = shard_job(args, key, output=str(target.with_suffix(".shards")))
    n_done = run_job(job, partial(_embedder, args.embedder, dict(options), prompt_column(args)), args, "Embedding")
    record = assemble_embeddings(job, target, embed)
    facts = {"n_prompts": record.n_prompts, "n_embedded": n_done, "embedder": record.identity.name}
    report(args, {**facts, "fingerprint": record.fingerprint, "total_s": perf_counter() - started})
    return 0


def win_rates_on_ray(
    prompts: Sequence[str], router: str, pair: ModelPair, *, batch: int, address: str | None, n_actors: int
) -> FloatArray:
    """Win rates of prompts in memory, in the same batches as without Ray."""
    from pointsman.backends.ray.map_shards import map_items

    parts = [prompts[i : i + batch] for i in range(0, len(prompts), batch)]
    found: dict[int, FloatArray] = {}
    prepare = partial(_win_rates_of, router, pair)
    map_items(parts, prepare, address=address, n_actors=n_actors, on_done=found.__setitem__)
    return np.concatenate([found[i] for i in range(len(parts))])


def prompt_column(args: argparse.Namespace) -> str | None:
    """The column that the options name, or None."""
    named: str | None = args.prompt_column or args.columns.get("prompt")
    return named


def shard_job(
    args: argparse.Namespace, key: dict[str, Any], *, output: str | None = None, rows: int = _ROWS
) -> "ShardJob":
    """The shards that the options describe; `key` is what the output depends on besides the input."""
    from pointsman.backends.data.shards import ShardJob

    return ShardJob(args.input, output or args.output, rows_per_shard=args.rows_per_shard or rows, key=key)


def run_job(
    job: "ShardJob",
    prepare: Callable[[], Callable[["Shard"], Any]],
    args: argparse.Namespace,
    what: str,
    on_done: Callable[["Shard", Any], None] = lambda shard, result: None,
) -> int:
    """Runs the unfinished shards; returns their number of rows."""
    from pointsman.backends.ray.map_shards import map_shards

    pending = job.pending()
    n_rows = sum(shard.n_rows for shard in pending)
    if not pending:
        return 0
    with progress_bar("prompts") as bar:
        task = bar.add_task(what, total=job.n_rows, completed=job.n_rows - n_rows)

        def done(shard: "Shard", result: Any) -> None:
            on_done(shard, result)
            bar.advance(task, shard.n_rows)

        map_shards(pending, prepare, address=args.address, n_actors=args.actors, on_done=done)
    return n_rows


def report(args: argparse.Namespace, facts: dict[str, Any]) -> None:
    """Prints the result of a command."""
    if args.json:
        print(json.dumps({"output": args.output, **facts}))
        return
    shown = {name: f"{value:,.2f}" if isinstance(value, float) else value for name, value in facts.items()}
    print(", ".join(f"{name} {value}" for name, value in shown.items()), file=sys.stderr)
    print(args.output)


def _scorer(router: str, pair: ModelPair, column: str | None) -> Callable[["Shard"], int]:
    from pointsman.backends.data.shards import map_shard

    add = load_router(load_checkpoint(router), pair=pair).win_rates
    return partial(map_shard, add=add, prompts=column, added="win_rate")


def _embedder(name: str, options: Mapping[str, Any], column: str | None) -> Callable[["Shard"], int]:
    from pointsman.backends.embedders import resolve_embedder
    from pointsman.backends.embedders.sharded import embed_shard

    return partial(embed_shard, embed=resolve_embedder(name, **options), column=column)


def _win_rates_of(router: str, pair: ModelPair) -> Callable[[Sequence[str]], FloatArray]:
    return load_router(load_checkpoint(router), pair=pair).win_rates
