"""`pointsman train knn`."""

import argparse

from pointsman.serve.commands.arguments import mapped
from pointsman.serve.commands.training.inputs import (
    add_candidates_argument,
    add_common_arguments,
    listed_prompts,
    load_embeddings,
    tell,
    tell_result,
)
from pointsman.serve.commands.training.scores import add_scale_argument, train_scores

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the trainer."""
    add_common_arguments(parser)
    parser.set_defaults(embedder=None)  # depends on whether candidates are named
    add_candidates_argument(parser)
    add_scale_argument(parser)
    parser.add_argument("-k", type=int, default=100, help="number of neighbours (default: 100)")
    parser.add_argument("--temperature", type=float, default=0.1, help="temperature of their weights (default: 0.1)")
    parser.add_argument(
        "--margin", type=float, default=0.0, help="largest difference of scores that counts as a tie (default: 0)"
    )
    parser.add_argument(
        "--dtype", choices=("float16", "float32"), default="float16", help="number type of stored embeddings"
    )


def run(args: argparse.Namespace) -> int:
    """Reads outcome tables, embeds their prompts, calibrates on held-out prompts and writes the checkpoint."""
    from pointsman.backends.data.outcomes import merge_outcomes, read_outcomes
    from pointsman.backends.export import calibrated, export_checkpoint
    from pointsman.backends.training.knn import KNNRecipe, fit_knn, referenced_knn
    from pointsman.backends.training.provenance import calibration_sample, provenance

    if args.candidates:
        return train_scores(args, "knn")
    outcomes = merge_outcomes([read_outcomes(mapped(source, args), [*args.strong, *args.weak]) for source in args.data])
    tell(outcomes.reports, ())
    if listed_prompts(args, outcomes.prompts):
        return 0
    embeddings = load_embeddings(args, outcomes.prompts)
    recipe = KNNRecipe(args.k, args.temperature, args.margin, args.dtype, args.seed)
    checkpoint = fit_knn(outcomes, embeddings, args.strong, args.weak, recipe)
    tell((), checkpoint.metrics["notes"])
    sample, source = calibration_sample(embeddings.values, outcomes.reports, args.seed)
    checkpoint = calibrated(provenance(checkpoint, outcomes.reports, recipe), sample, source=source)
    checkpoint = referenced_knn(checkpoint, source=source, seed=args.seed)
    export_checkpoint(checkpoint, args.output, sample=sample, expected=None)
    return tell_result(args, checkpoint, {"metrics": dict(checkpoint.metrics)})
