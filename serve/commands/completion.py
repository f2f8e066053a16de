"""`pointsman completion`: prints a shell script that completes commands and options."""

import argparse

from pointsman.serve.commands.listing import COMMANDS, add_arguments_of

__all__ = ["SHELLS", "add_arguments", "run"]

SHELLS = ("bash", "zsh", "fish")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the subcommand."""
    parser.add_argument("shell", choices=SHELLS, help='the shell; for bash: eval "$(pointsman completion bash)"')


def run(args: argparse.Namespace) -> int:
    """Prints the script."""
    options = _options()
    print(_fish(options) if args.shell == "fish" else _bash(options, zsh=args.shell == "zsh"))
    return 0


def _options() -> dict[str, list[str]]:
    """Options of every command."""
    found = {}
    for name in COMMANDS:
        parser = argparse.ArgumentParser(prog=name)
        add_arguments_of(name, parser)
        found[name] = [text for action in parser._actions for text in action.option_strings if text.startswith("--")]
    return found


def _bash(options: dict[str, list[str]], *, zsh: bool) -> str:
    cases = "\n".join(f'    {name}) words="{" ".join(known)}" ;;' for name, known in options.items())
    start = "autoload -U +X bashcompinit && bashcompinit\n" if zsh else ""
    return f"""{start}_pointsman() {{
  local words="{" ".join(options)} --help --version" current="${{COMP_WORDS[COMP_CWORD]}}"
  if [ "$COMP_CWORD" -gt 1 ]; then
    case "${{COMP_WORDS[1]}}" in
{cases}
    esac
    case "$current" in -*) ;; *) words="" ;; esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -o default -F _pointsman pointsman"""


def _fish(options: dict[str, list[str]]) -> str:
    def quoted(text: str) -> str:
        return "'" + text.replace("'", "\\'") + "'"

    first = [
        f"complete -c pointsman -n __fish_use_subcommand -f -a {name} -d {quoted(summary)}"
        for name, summary in COMMANDS.items()
    ]
    others = [
        f"complete -c pointsman -n '__fish_seen_subcommand_from {name}' -l {option[2:]}"
        for name, known in options.items()
        for option in known
    ]
    return "\n".join([*first, *others])
