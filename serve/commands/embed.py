"""`pointsman embed`: embeddings of a file of prompts."""

import argparse
import json
import os
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

from pointsman.core.counted import counted
from pointsman.core.errors import ConfigError, DataError
from pointsman.serve.commands.arguments import FORMATS_HELP, add_column_arguments, mapped
from pointsman.serve.commands.on_ray import add_engine_arguments, embed_on_ray
from pointsman.serve.commands.progress import progress_bar

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the subcommand."""
    parser.add_argument("input", help=f"prompts: {FORMATS_HELP}")
    parser.add_argument("-o", "--output", required=True, help="the .npy file; its record goes beside it as .json")
    parser.add_argument(
        "--embedder",
        default="static",
        help="static, static+length, static+surface, openai/<model> or sentence-transformers/<name or folder> "
        "(default: static)",
    )
    add_column_arguments(parser)
    parser.add_argument("--base-url", help="address of an OpenAI-compatible service, for openai/<model>")
    parser.add_argument("--api-key", help="env:NAME of the variable with the key (default: env:OPENAI_API_KEY)")
    parser.add_argument("--dim", type=int, help="shorten embeddings to this length, for openai/<model>")
    parser.add_argument("--max-tokens", type=int, help="longest text the model takes, for openai/<model>")
    parser.add_argument("--batch-size", type=int, help="texts in one call (default: 100; fewer where refused)")
    parser.add_argument("--concurrency", type=int, help="concurrent calls, for openai/<model>")
    parser.add_argument("--cache", help="SQLite file of embeddings already paid for, for openai/<model>")
    parser.add_argument("--device", help="torch device, for sentence-transformers")
    parser.add_argument("--json", action="store_true", help="print the record and times as JSON")
    add_engine_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Embeds the file batch by batch; continues where a killed run stopped."""
    from pointsman.backends.embedders import resolve_embedder
    from pointsman.backends.embedders.files import embed_table

    if args.engine == "ray":
        return embed_on_ray(args, _options(args))
    embed = resolve_embedder(args.embedder, **_options(args))
    started = perf_counter()
    with progress_bar("prompts") as bar:
        task = bar.add_task("Embedding", total=None)
        try:
            record = embed_table(
                mapped(args.input, args),
                args.output,
                embed,
                progress=lambda done, total: bar.update(task, completed=done, total=total),
            )
        except OSError as error:
            raise DataError(f"embedding into {args.output} failed: {error}; run again to continue") from error
    wall_s = perf_counter() - started
    identity = record.identity
    if args.json:
        facts = {"output": args.output, "n_prompts": record.n_prompts, "embedder": identity.name, "dim": identity.dim}
        print(json.dumps({**facts, "fingerprint": record.fingerprint, "wall_s": wall_s}))
        return 0
    print(
        f"{counted(record.n_prompts, 'prompt')} x {identity.dim} by {identity.name} in {wall_s:.2f} s", file=sys.stderr
    )
    print(args.output)
    return 0


def _options(args: argparse.Namespace) -> dict[str, Any]:
    """The embedder's options; embeddings from a service are cached, since they cost money."""
    names = ("base_url", "api_key", "dim", "max_tokens", "batch_size", "concurrency", "cache", "device")
    options = {name: value for name in names if (value := getattr(args, name)) is not None}
    if not str(options.get("api_key", "env:")).startswith("env:"):
        raise ConfigError("--api-key is a key itself, which other users of this machine can see; give env:NAME instead")
    if args.embedder.startswith("openai/"):
        options.setdefault("cache", _default_cache())
    return options


def _default_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pointsman" / "embeddings.sqlite3"
