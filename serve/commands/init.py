"""`pointsman init`: writes a configuration from the keys in the environment and two answers."""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pointsman.core.errors import ConfigError
from pointsman.serve.commands.arguments import FOUND_CONFIG, amount

if TYPE_CHECKING:
    from pointsman.serve.config import Config

__all__ = ["add_arguments", "run"]

# what to propose for a key that is there: a strong and a weak model of its service
_PROPOSED = {
    "OPENAI_API_KEY": ("gpt-4o", "gpt-4o-mini"),
    "ANTHROPIC_API_KEY": ("anthropic/claude-sonnet-4-5", "anthropic/claude-haiku-4-5"),
    "GEMINI_API_KEY": ("gemini/gemini-2.5-pro", "gemini/gemini-2.5-flash"),
    "MISTRAL_API_KEY": ("mistral/mistral-large-latest", "mistral/mistral-small-latest"),
    "GROQ_API_KEY": ("groq/llama-3.3-70b-versatile", "groq/llama-3.1-8b-instant"),
    "DEEPSEEK_API_KEY": ("deepseek/deepseek-reasoner", "deepseek/deepseek-chat"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the subcommand."""
    parser.add_argument("-o", "--output", default=FOUND_CONFIG, metavar="FILE", help=f"to write ({FOUND_CONFIG})")
    parser.add_argument(
        "--strong", metavar="MODEL", help="strong model (default: asks, and proposes one by the keys that are set)"
    )
    parser.add_argument("--weak", metavar="MODEL", help="weak model, likewise")
    for side in ("strong", "weak"):
        parser.add_argument(f"--{side}-price", nargs=2, type=amount, metavar=("IN", "OUT"),
            help=f"dollars per million tokens of the {side} model, where LiteLLM's table is not installed")  # fmt: skip
    parser.add_argument("--no-store", action="store_true", help="keep nothing on disk: no spending and no feedback")


def run(args: argparse.Namespace) -> int:
    """Asks for what the options do not say, and writes the file."""
    from pointsman.serve.config.load import make_config
    from pointsman.serve.money.price_list import read_price_list

    path = Path(args.output)
    if path.exists():
        raise ConfigError(f"{path} already exists: edit it, or write another with -o; `pointsman doctor` checks it")
    known = [name for name in _PROPOSED if os.environ.get(name, "").strip()]
    proposed = _PROPOSED[known[0]] if known else (None, None)
    strong = args.strong or _asked("Strong model", proposed[0])
    weak = args.weak or _asked("Weak model", proposed[1])
    if (strong is None) != (weak is None):
        raise ConfigError("one model is named, wanted --strong and --weak, or neither for the built-in stand-ins")
    lines = ["# Written by `pointsman init`; `pointsman doctor` checks it, `pointsman serve` serves it."]
    if strong is not None and weak is not None:
        lines += [f"strong: {_quoted(strong)}", f"weak: {_quoted(weak)}", *_prices(args, strong, weak)]
    lines += [
        "routers:",
        "  mf: {strong_share: 0.5}   # half of the prompts to the strong model",
        "drift: {}                    # says when prompts no longer look like those of the calibration",
    ]
    if not args.no_store:
        lines += ["store: {prompts: text}       # pointsman.db; with the prompts you can replay and learn"]
    config = make_config(_parsed("\n".join(lines)), source="what was answered")
    try:
        path.write_text("\n".join([*lines, ""]), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error}") from error
    print(f"wrote {path}" + ("" if strong else ", without models: no key is set, the built-in stand-ins answer"))
    if unpriced := [model for model in config.routed if model not in read_price_list(config)]:
        remedy = "give --strong-price IN OUT and --weak-price IN OUT, or install pointsman[litellm]"
        print(f"the price of {', '.join(unpriced)} is not known, so dollars are not shown: {remedy}")
    print(f"next: {_first(config)}pointsman doctor, then pointsman serve")
    return 0


def _first(config: "Config") -> str:
    """What must be done before a model can be called."""
    from pointsman.serve.upstreams.providers import resolve_target

    try:
        for model in config.routed:
            resolve_target(model, config.settings_of(model))
    except ConfigError as error:
        return f"{error}; then "
    return ""


def _prices(args: argparse.Namespace, strong: str, weak: str) -> list[str]:
    """The section of models with the prices that were given."""
    given = {strong: args.strong_price, weak: args.weak_price}
    lines = [
        f"  {_quoted(model)}: {{price: {{input_usd_per_million: {price[0]:g}, output_usd_per_million: {price[1]:g}}}}}"
        for model, price in given.items()
        if price
    ]
    return ["models:", *lines] if lines else []


def _asked(question: str, proposed: str | None) -> str | None:
    """An answer from the terminal; the proposal if it is empty, or if there is no terminal."""
    if not sys.stdin.isatty():
        return proposed
    print(f"{question} [{proposed or 'none: a stand-in'}]: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip() or proposed


def _quoted(name: str) -> str:
    """A model's name as YAML."""
    import json

    return json.dumps(name)


def _parsed(text: str) -> dict[str, object]:
    import yaml

    values = yaml.safe_load(text)
    assert isinstance(values, dict)
    return values
