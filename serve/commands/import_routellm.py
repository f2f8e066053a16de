"""`pointsman import-routellm`: converts RouteLLM's matrix factorisation to a Pointsman checkpoint."""

import argparse
import json
from pathlib import Path
from typing import Any

from pointsman.core.pair import ModelPair
from pointsman.serve.commands.arguments import checkpoint_output

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the subcommand."""
    parser.add_argument(
        "source", help="folder with RouteLLM's model.safetensors, or a Hub id: routellm/mf_gpt4_augmented"
    )
    parser.add_argument("-o", "--output", required=True, type=checkpoint_output, help="checkpoint directory to write")
    parser.add_argument(
        "--embedder",
        default="openai/text-embedding-3-small",
        help="its embedder, which is called now for three sentences (default: openai/text-embedding-3-small)",
    )
    parser.add_argument("--base-url", help="address of an OpenAI-compatible service, for openai/<model>")
    parser.add_argument("--api-key", help="env:NAME of the variable with the key (default: env:OPENAI_API_KEY)")
    parser.add_argument(
        "--models", metavar="FILE", help="names of its models, one per line (default: the 64 of RouteLLM)"
    )
    parser.add_argument("--strong", help="strong model (default: gpt-4-1106-preview)")
    parser.add_argument("--weak", help="weak model (default: mixtral-8x7b-instruct-v0.1)")
    parser.add_argument("--json", action="store_true", help="print what was written as JSON")


def run(args: argparse.Namespace) -> int:
    """Converts the checkpoint and checks it against RouteLLM's own formula."""
    from pointsman.backends.embedders import resolve_embedder
    from pointsman.backends.import_routellm import ROUTELLM_PAIR, import_routellm

    options: dict[str, Any] = {"base_url": args.base_url, "api_key": args.api_key}
    embed = resolve_embedder(args.embedder, **{name: value for name, value in options.items() if value is not None})
    models = None if args.models is None else Path(args.models).read_text(encoding="utf-8").split("\n")
    pair = ModelPair(args.strong or ROUTELLM_PAIR.strong, args.weak or ROUTELLM_PAIR.weak)
    checkpoint = import_routellm(
        args.source, args.output, embed, models=models and [name for name in models if name.strip()], pair=pair
    )
    if args.json:
        print(json.dumps({"output": args.output, "n_models": len(checkpoint.models), "embedder": args.embedder}))
    else:
        print(args.output)
    return 0
