"""The `pointsman` command: finds the subcommand and runs it, importing no other."""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from pointsman.core.errors import PointsmanError

__all__ = ["COMMANDS", "main"]

COMMANDS = {
    "serve": "answer OpenAI-compatible requests, each with the model that its prompt needs",
    "route": "say which model should answer a prompt, and why",
    "score": "win rates for a file of prompts",
    "embed": "embeddings of a file of prompts, for training",
    "calibrate": "from win rates to a threshold: by strong share, by cost, or with a guarantee on quality",
    "evaluate": "how good routers are on stored outcomes, beside baselines, with intervals",
    "learn": "from a table of outcomes to a router that is ready to be served, in one step",
    "train": "a router from your own battles or outcomes",
    "import-routellm": "RouteLLM's matrix factorisation as a checkpoint of Pointsman",
    "autopilot": "savings that are earned under a bound: what they would be on a table, what they are on a server",
    "replay": "what another checkpoint or threshold would have done with logged traffic",
    "promote": "have a running server serve another of its named checkpoints",
    "rollback": "have it serve again the checkpoint that was promoted before",
    "inspect": "what a checkpoint holds",
    "usage": "requests, tokens and dollars by day, model, key or policy, and what routing saved",
    "export-battles": "what users and judges said of answers, as data to train on",
    "keys": "make, list and revoke access keys of the server",
    "extproc": "decide for Envoy which model answers, as its external processor",
    "judge": "battles between two models on your prompts, judged by a third",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command line; returns 0, 1 (the run failed) or 2 (wrong usage)."""
    # looking for plugins of pydantic reads the metadata of every package that is installed
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    words = list(sys.argv[1:] if argv is None else argv)
    chosen = next((word for word in words if not word.startswith("-")), None)
    try:
        status = _run(words, chosen)
        print(end="", flush=True)  # so that a result that cannot be written is noticed here
        return status
    except BrokenPipeError:  # who reads the result has seen enough; nothing more is flushed to him at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (PointsmanError, ValueError, OSError) as error:
        print(f"pointsman {chosen}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"pointsman {chosen}: interrupted", file=sys.stderr)
        return 1


def _run(words: Sequence[str], chosen: str | None) -> int:
    parser, commands = _parser(chosen)
    try:
        args, unknown = parser.parse_known_args(words)
        if unknown:
            commands[args.command].error(f"unrecognized arguments: {' '.join(unknown)}")
    except SystemExit as stop:
        return int(stop.code or 0)
    return int(args.run(args))


def _parser(chosen: str | None) -> tuple[argparse.ArgumentParser, Mapping[str, argparse.ArgumentParser]]:
    """The parser of the whole line, and those of the commands; of these only the chosen one knows its arguments."""
    parser = argparse.ArgumentParser(prog="pointsman", description="An LLM router that learns who should answer.")
    parser.add_argument("--version", action=_PrintVersion, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        if name == chosen:
            module = import_module(f"pointsman.serve.commands.{name.replace('-', '_')}")
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    return parser, commands.choices


class _PrintVersion(argparse.Action):
    """Looks the version up where it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib.metadata import version

        print(f"pointsman {version('pointsman')}")
        parser.exit()
