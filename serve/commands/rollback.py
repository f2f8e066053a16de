"""`pointsman rollback`: switches a running server back to the previously promoted checkpoint."""

import argparse
import json

from pointsman.serve.checkpoints.promotion import promoted_name, rollback
from pointsman.serve.commands.promote import add_folder_arguments, folder_of

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the subcommand."""
    add_folder_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Undoes the last promotion."""
    folder = folder_of(args)
    before = promoted_name(folder)
    name = rollback(folder)
    if args.json:
        print(json.dumps({"promoted": name, "before": before, "checkpoints": str(folder)}))
        return 0
    print(f"{name} is promoted again, replacing {before}")
    return 0
