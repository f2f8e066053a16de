"""`pointsman train verifier`."""

import argparse

from pointsman.core.errors import ConfigError
from pointsman.serve.checkpoints.load import load_checkpoint, load_router
from pointsman.serve.commands.training.inputs import add_common_arguments, load_embeddings, tell, tell_result

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the trainer."""
    add_common_arguments(parser)
    parser.add_argument("--router", metavar="ROUTER", help="also read this router's win rate of each prompt")
    parser.add_argument("-k", type=int, default=100, help="neighbours that count (default: 100)")
    parser.add_argument("--temperature", type=float, default=0.15, help="of their weights (default: 0.15)")
    parser.add_argument("--strength", type=float, default=400.0,
        help="of the pull towards what the table's other models teach, in rows (default: 400)")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Reads one table of answers, embeds its prompts, fits the heads and writes the checkpoint."""
    from pointsman.backends.data.answers import read_answers
    from pointsman.backends.export import export_verifier
    from pointsman.backends.training.verifier import VerifierRecipe, fit_verifier

    if len(args.data) != 1 or max(len(args.strong), len(args.weak)) > 1:
        raise ConfigError("a verifier is trained on one table and for one strong and one weak model")
    strong, weak = (args.strong or ["strong"])[0], (args.weak or ["weak"])[0]
    table = read_answers(args.data[0], strong=strong, weak=weak)
    tell((table.report,), ())
    embeddings = load_embeddings(args, table.prompts)
    recipe = VerifierRecipe(args.k, args.temperature, args.strength, seed=args.seed)
    win_rates = None
    if args.router is not None:
        win_rates = load_router(load_checkpoint(args.router)).win_rates(table.prompts)
    checkpoint = fit_verifier(table, embeddings, recipe, win_rates=win_rates)
    export_verifier(checkpoint, args.output)
    return tell_result(args, checkpoint, {"metrics": dict(checkpoint.metrics)})
