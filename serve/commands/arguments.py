"""Types of option values, checked while parsing: a bad value is a usage error."""

import argparse
import contextlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pointsman.backends.data.sources import Input

__all__ = [
    "FORMATS_HELP",
    "FOUND_CONFIG",
    "add_column_arguments",
    "add_config_argument",
    "amount",
    "checkpoint_output",
    "found_config",
    "fraction",
    "mapped",
]

FOUND_CONFIG = "pointsman.yaml"
FORMATS_HELP = ".parquet .jsonl .json .csv .tsv (text also .gz), a folder or pattern of them, or a data set id"


def found_config() -> str | None:
    """The configuration in the working directory, if there is one: the default of --config."""
    return FOUND_CONFIG if Path(FOUND_CONFIG).is_file() else None


def add_config_argument(parser: argparse._ActionsContainer, help_text: str) -> None:
    """The option --config, pointsman.yaml by default, if there is one."""
    parser.add_argument("--config", default=found_config(), metavar="FILE",
        help=f"{help_text} (default: {FOUND_CONFIG}, if it is there)")  # fmt: skip


def amount(text: str) -> float:
    """A finite number that is not negative."""
    return _number(text, "a number that is not negative", math.inf)


def checkpoint_output(text: str) -> str:
    """A directory to write a checkpoint to; not the name of a bundled router, which never means a directory."""
    from pointsman.serve.checkpoints.load import is_bundled

    if is_bundled(text):
        raise argparse.ArgumentTypeError(
            f"{text!r} always means the bundled router and would never be read from a directory of that name; "
            f"give a path, such as ./{text} or my-{text}"
        )
    return text


def fraction(text: str) -> float:
    """A share: a number in [0, 1], or a percentage such as 30%."""
    if text.endswith("%"):
        return _number(text[:-1], "a share such as 30% or 0.3", 100.0) / 100.0
    try:
        return _number(text, "a share such as 30% or 0.3", 1.0)
    except argparse.ArgumentTypeError as error:
        with contextlib.suppress(ValueError):
            if 1.0 < float(text) <= 100.0:
                raise argparse.ArgumentTypeError(f"{text!r} is given, wanted a share: did you mean {text}%?") from error
        raise


def _number(text: str, wanted: str, highest: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and 0.0 <= value <= highest):
        raise argparse.ArgumentTypeError(f"{text!r} is given, wanted {wanted}")
    return value


def add_column_arguments(parser: argparse.ArgumentParser, *, winners: bool = False) -> None:
    """Options for tables whose columns, or labels of winners, have other names."""
    parser.add_argument(
        "--columns", type=_pairs, default={}, metavar="OURS=YOURS,...",
        help="names of your columns: prompt=query,model=model_name,score=performance",
    )  # fmt: skip
    parser.add_argument("--prompt-column", metavar="YOURS", help="the same as --columns prompt=YOURS")
    if winners:
        parser.add_argument(
            "--winner", type=_pairs, default={}, metavar="YOURS=OURS,...",
            help="what your labels of winners mean: A=model_a,B=model_b,none=tie",
        )  # fmt: skip


def mapped(source: str, args: argparse.Namespace) -> "Input":
    """A source with the names that the command line gave its columns and labels."""
    from pointsman.backends.data.sources import Input

    columns = {**args.columns, **({"prompt": args.prompt_column} if args.prompt_column else {})}
    return Input(source, columns, getattr(args, "winner", {}))


def _pairs(text: str) -> Mapping[str, str]:
    """Pairs NAME=NAME, separated by commas."""
    pairs = [part.partition("=") for part in text.split(",")]
    if not all(name.strip() and equals and value.strip() for name, equals, value in pairs):
        raise argparse.ArgumentTypeError(f"{text!r} is given, wanted NAME=NAME, separated by commas")
    names = [name.strip() for name, _, _ in pairs]
    if len(set(names)) < len(names):
        raise argparse.ArgumentTypeError(f"{text!r} gives a name twice")
    return {name.strip(): value.strip() for name, _, value in pairs}
