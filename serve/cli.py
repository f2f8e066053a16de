"""The `pointsman` command: finds the subcommand and runs it, importing no other."""

import argparse
import os
import re
import sys
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NoReturn

from pointsman.core.errors import PointsmanError
from pointsman.serve.commands.arguments import FOUND_CONFIG
from pointsman.serve.commands.listing import COMMANDS, GROUPS, add_arguments_of

__all__ = ["main"]

_NO_COMMAND = "argument COMMAND: invalid choice: "
_INSTEAD = ("store", "checkpoints", "file")  # options that say where, in place of a configuration


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command line; returns 0, 1 (the run failed), 2 (wrong usage) or 130 (interrupted)."""
    # looking for plugins of pydantic reads the metadata of every package that is installed
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["help"]:
        words = [*words[1:], "--help"]
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
        return 130


def _run(words: Sequence[str], chosen: str | None) -> int:
    parser, commands = _parser(chosen)
    try:
        args, unknown = parser.parse_known_args(words)
        if unknown:
            hint = ", candidates are separated by commas" if "--candidates" in words and unknown[0][:1] != "-" else ""
            commands[args.command].error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
    except SystemExit as stop:
        return int(stop.code or 0)
    config = getattr(args, "config", None)
    if config == FOUND_CONFIG and not any(getattr(args, name, None) for name in _INSTEAD) and "--config" not in words:
        print(f"pointsman {chosen}: reads {config}", file=sys.stderr)
    return int(args.run(args))


def _parser(chosen: str | None) -> tuple[argparse.ArgumentParser, Mapping[str, argparse.ArgumentParser]]:
    """The parser with the chosen command's arguments; with every command's if no command has that name."""
    parser = _Parser(prog="pointsman", description="An LLM router that learns who should answer.", allow_abbrev=False)
    parser.add_argument("--version", action=_PrintVersion, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in [name for name in COMMANDS if name == chosen] or (COMMANDS if chosen else ()):
        summary = COMMANDS[name]
        command = commands.add_parser(name, description=summary[0].upper() + summary[1:] + ".", allow_abbrev=False)
        if name == chosen:
            add_arguments_of(name, command)
    return parser, commands.choices


class _Parser(argparse.ArgumentParser):
    """Reports usage errors in one line, with a suggestion."""

    def error(self, message: str) -> NoReturn:
        meant = self._meant(message)
        if message.startswith(_NO_COMMAND):
            message = message.removeprefix(_NO_COMMAND).partition(" (choose")[0] + " is not a command"
        self.exit(2, f"{self.prog}: {message}{meant}; see `{self.prog} --help`\n")

    def format_help(self) -> str:
        if self.prog != "pointsman":
            return super().format_help()
        lines = [f"usage: {self.prog} COMMAND ...", "", str(self.description)]
        width = max(map(len, COMMANDS))
        for title, commands in GROUPS.items():
            lines += ["", f"{title}:", *(f"  {name.ljust(width)}  {summary}" for name, summary in commands.items())]
        return "\n".join([*lines, "", f"{self.prog} help COMMAND describes a command.", ""])

    def _meant(self, message: str) -> str:
        """Known commands or options that are near to what is not known."""
        if "invalid choice: " in message:
            given, _, choices = message.partition("invalid choice: '")[2].partition("'")
            known = re.findall(r"[\w-]+", choices.partition("choose from")[2]) or list(COMMANDS)
        elif message.startswith("unrecognized arguments: "):
            given = message.removeprefix("unrecognized arguments: ").split()[0].partition("=")[0]
            known = [option for action in self._actions for option in action.option_strings]
        else:
            return ""
        near = get_close_matches(given, known, n=1)
        return f"; did you mean {near[0]}?" if near else ""


class _PrintVersion(argparse.Action):
    """Looks up the version only when it is printed."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib.metadata import version

        print(f"pointsman {version('pointsman')}")
        parser.exit()
