"""`pointsman train forest`."""

import argparse

from pointsman.serve.commands.training.scores import add_score_arguments, train_scores

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the trainer."""
    add_score_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Trains and writes the checkpoint."""
    return train_scores(args, "forest")
