"""`pointsman autopilot`: what the autopilot would have saved on a labelled table, and what it does on a server."""

import argparse

from pointsman.serve.commands import autopilot_simulate

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the subcommand and of its actions."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    simulate = actions.add_parser("simulate", help="replay a labelled table as traffic, before turning it on")
    autopilot_simulate.add_arguments(simulate)


def run(args: argparse.Namespace) -> int:
    """Runs the action."""
    return autopilot_simulate.run(args)
