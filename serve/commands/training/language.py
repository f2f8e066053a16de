"""Arguments shared by the trainers of language models: data, models, base model and training loop."""

import argparse
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pointsman.core.counted import counted
from pointsman.core.errors import DataError
from pointsman.core.pair import ModelPair
from pointsman.serve.commands.arguments import FORMATS_HELP, add_column_arguments, checkpoint_output, mapped
from pointsman.serve.commands.training.inputs import add_candidates_argument

if TYPE_CHECKING:
    from pointsman.backends.language.candidate_examples import CandidateExamples
    from pointsman.backends.language.examples import PairExamples

__all__ = ["add_language_arguments", "given", "read_candidate_examples", "read_examples", "say"]

_T = TypeVar("_T")
_Found = TypeVar("_Found", "PairExamples", "CandidateExamples")
_MIN_EXAMPLES = 20


def add_language_arguments(parser: argparse.ArgumentParser, *, base: str, many: bool = False) -> None:
    """Data, pair (or any number of candidates), base model, loop and output."""
    parser.add_argument("data", nargs="+", help=FORMATS_HELP)
    add_column_arguments(parser, winners=True)
    parser.add_argument("-o", "--output", required=True, type=checkpoint_output, help="checkpoint directory to write")
    parser.add_argument("--strong", required=not many, metavar="MODEL", help="the strong model")
    parser.add_argument("--weak", required=not many, metavar="MODEL", help="the weak model")
    if many:
        add_candidates_argument(parser)
    parser.add_argument("--base", help=base)
    parser.add_argument(
        "--folds", nargs="+", metavar="FOLD", help="train only on rows with these values in column fold"
    )
    parser.add_argument("--max-examples", type=int, help="train on at most MAX_ROWS rows, chosen at random")
    parser.add_argument("--state", type=Path, help="file to resume from after a kill; written after every epoch")
    parser.add_argument(
        "--validation", type=float, default=0.1, help="share of prompts held out to decide when to stop"
    )
    parser.add_argument("--max-length", type=int, help="most tokens of a prompt (default: as many as the base reads)")
    parser.add_argument("--truncation", choices=("head_tail", "head"), help="which part of a longer prompt to keep")
    parser.add_argument("--epochs", type=int, help="most passes over the examples")
    parser.add_argument("--lr", type=float, help="peak step size")
    parser.add_argument("--batch-size", type=int, help="examples per step and process")
    parser.add_argument("--patience", type=int, help="stop after this many epochs without progress")
    parser.add_argument(
        "--precision", choices=("auto", "no", "bf16", "fp16"), help="number type; auto chooses by device"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of every random choice (default: 0)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")


def read_examples(args: argparse.Namespace) -> "PairExamples":
    """All sources as examples of the pair: from the given folds, and at most as many as wanted.

    Raises:
        DataError: the data has no folds, or none of those given.
    """
    import numpy as np

    from pointsman.backends.language.examples import merge_examples, read_pair_examples
    from pointsman.backends.training.connectivity import swapped

    pair = ModelPair(args.strong, args.weak)
    found = merge_examples([read_pair_examples(mapped(source, args), pair) for source in args.data])
    for note in found.notes:
        say(note)
    if args.folds is not None:
        if found.groups is None:
            raise DataError("--folds needs data with columns prompt, strong, weak and fold")
        found = found.take(np.flatnonzero([str(group) in args.folds for group in found.groups]))
    found = _at_most(found, args)
    if len(found) < _MIN_EXAMPLES:
        raise DataError(
            f"{pair.strong} and {pair.weak} met on {counted(len(found), 'prompt')}: too few to train on, "
            f"wanted at least {_MIN_EXAMPLES}"
        )
    if np.ptp(found.difference) == 0:
        raise DataError(f"all {counted(len(found), 'prompt')} have the same outcome: there is nothing to learn")
    if found.difference.mean() <= 0:
        say(f"note: {swapped(pair)}")
    say(f"{len(found):,} examples of {pair.strong} against {pair.weak}")
    return found


def read_candidate_examples(args: argparse.Namespace) -> "CandidateExamples":
    """All outcome tables as examples of the candidates, at most as many as wanted.

    Raises:
        DataError: a candidate is unknown or never scored, there are too few prompts, or folds are given.
    """

    from pointsman.backends.data.score_tables import check_candidates, read_score_table
    from pointsman.backends.language.candidate_examples import CandidateExamples

    if args.folds is not None:
        raise DataError("--folds is given with --candidates, wanted one: folds are of tables of one pair")
    table = read_score_table([mapped(source, args) for source in args.data], args.candidates)
    check_candidates(table, args.candidates)
    for note in table.notes:
        say(note)
    found = CandidateExamples.of(table, args.candidates)
    found = _at_most(found, args)
    if len(found) < _MIN_EXAMPLES:
        raise DataError(
            f"{len(found)} prompts on which {args.candidates[0]} met another candidate are too few to train on, "
            f"wanted at least {_MIN_EXAMPLES}"
        )
    say(f"{len(found):,} prompts of {args.candidates[0]} against {', '.join(args.candidates[1:])}")
    return found


def _at_most(found: _Found, args: argparse.Namespace) -> _Found:
    """As many examples as wanted, drawn at random and kept in order."""
    import numpy as np

    if args.max_examples is None or args.max_examples >= len(found):
        return found
    return found.take(np.sort(np.random.default_rng(args.seed).permutation(len(found))[: args.max_examples]))


def given(defaults: _T, args: argparse.Namespace, **more: Any) -> _T:
    """Settings (a dataclass) whose defaults are replaced by the given arguments and `more`."""
    names = [field.name for field in fields(defaults)]  # type: ignore[arg-type]
    chosen = {name: value for name in names if (value := getattr(args, name, None)) is not None}
    return replace(defaults, **{**chosen, **more})  # type: ignore[type-var]


def say(line: str) -> None:
    """Prints progress to stderr."""
    print(line, file=sys.stderr, flush=True)
