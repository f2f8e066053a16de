"""Shared by `pointsman train knn`, `linear` and `blend`: routers of any number of candidates from outcome tables."""

import argparse
import sys

from pointsman.serve.commands.arguments import mapped
from pointsman.serve.commands.training.inputs import (
    add_candidates_argument,
    add_common_arguments,
    listed_prompts,
    load_embeddings,
    tell_result,
)

__all__ = ["add_scale_argument", "add_score_arguments", "train_scores"]


def add_score_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the trainers that take only candidates."""
    add_common_arguments(parser)
    parser.set_defaults(embedder=None)  # depends on the kind
    add_candidates_argument(parser)
    add_scale_argument(parser)
    parser.add_argument(
        "--without-prompts", action="store_true", help="do not store the prompts, which `pointsman onboard` needs"
    )


def add_scale_argument(parser: argparse.ArgumentParser) -> None:
    """The range of the scores of candidates."""
    parser.add_argument("--scale", nargs=2, type=float, default=[0.0, 1.0], metavar=("LOW", "HIGH"),
        help="range of the candidates' scores (default: 0 1)")  # fmt: skip


def train_scores(args: argparse.Namespace, kind: str) -> int:
    """Reads outcome tables, embeds their prompts, trains, and prints how much choosing by prompt gains."""
    from pointsman.backends.data.score_tables import check_candidates, read_score_table
    from pointsman.backends.training.score_router import train_score_router
    from pointsman.backends.training.scores import ScoreRecipe
    from pointsman.core.errors import DataError

    args.embedder = args.embedder or "static+surface"
    if args.candidates and (args.strong or args.weak):
        raise ValueError("--candidates and --strong or --weak are given, wanted one: leave out --strong and --weak")
    candidates = args.candidates or [*args.strong, *args.weak]
    if not candidates:
        known = ", ".join(read_score_table([mapped(source, args) for source in args.data]).models[:40])
        raise DataError(f"name the candidates, the reference first: --candidates A,B,C of {known}")
    table = read_score_table([mapped(source, args) for source in args.data], candidates, scale=args.scale)
    check_candidates(table, candidates)
    for note in table.notes:
        print(note, file=sys.stderr)
    if listed_prompts(args, table.prompts):
        return 0
    embeddings = load_embeddings(args, table.prompts)
    recipe = ScoreRecipe(kind, seed=args.seed)
    kept = not getattr(args, "without_prompts", False)
    checkpoint, note = train_score_router(table, embeddings, candidates, recipe, args.output, keep_prompts=kept)
    print(note, file=sys.stderr)
    return tell_result(args, checkpoint, {"metrics": dict(checkpoint.metrics)})
