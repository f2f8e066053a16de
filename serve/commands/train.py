"""`pointsman train KIND`: trains a router on battles or outcomes."""

import argparse
from importlib import import_module

__all__ = ["TRAINERS", "add_arguments", "run"]

TRAINERS = {
    "mf": "matrix factorisation, from battles between any number of models",
    "sw-ranking": "similarity-weighted ranking, from battles",
    "knn": "nearest neighbours, from outcome tables",
    "linear": "one row of coefficients per model, from outcome tables of any number of models",
    "blend": "neighbours and linear rows, weighed by cross-validation, from outcome tables of any number of models",
    "bert": "a fine-tuned encoder, from outcomes of any number of models or battles of one pair",
    "verifier": "reads a cheap model's answer before a stronger model is asked, from a table of answers",
    "causal-lm": "a fine-tuned causal language model, from outcomes, battles or judged prompts",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One subcommand per kind, each from its module in `serve.commands.training`."""
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    for kind, summary in TRAINERS.items():
        trainer = kinds.add_parser(kind, help=summary, description=summary[0].upper() + summary[1:] + ".")
        module = import_module(f"pointsman.serve.commands.training.{kind.replace('-', '_')}")
        module.add_arguments(trainer)
        trainer.set_defaults(train=module.run)


def run(args: argparse.Namespace) -> int:
    """Trains the given kind."""
    return int(args.train(args))
