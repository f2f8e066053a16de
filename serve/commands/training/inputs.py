"""Arguments shared by all trainers on embeddings: data, models, embeddings and output."""

import argparse
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pointsman.core.checkpoint import Checkpoint
from pointsman.core.counted import counted
from pointsman.core.errors import DataError
from pointsman.serve.commands.arguments import FORMATS_HELP, add_column_arguments, checkpoint_output, mapped
from pointsman.serve.commands.progress import progress_bar

if TYPE_CHECKING:
    from pointsman.backends.data.battle_sets import BattleReport, BattleSet
    from pointsman.backends.training.embeddings import PromptEmbeddings

_MIN_BATTLES = 20

__all__ = [
    "add_battle_arguments",
    "add_candidates_argument",
    "add_common_arguments",
    "listed_prompts",
    "load_embeddings",
    "name_list",
    "read_battle_sources",
    "take_candidates",
    "tell",
    "tell_result",
]


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Data, pair, embeddings and output."""
    parser.add_argument("data", nargs="+", help=FORMATS_HELP)
    add_column_arguments(parser, winners=True)
    parser.add_argument("-o", "--output", required=True, type=checkpoint_output, help="checkpoint directory to write")
    for side in ("strong", "weak"):
        parser.add_argument(
            f"--{side}", nargs="+", default=[], metavar="MODEL", help=f"the {side} model; several make a group"
        )
    parser.add_argument(
        "--embedder",
        default="static",
        help="embeds the prompts now: static, static+length, static+surface, openai/<model>, "
        "sentence-transformers/<name> (default: static; static+surface for scores of candidates)",
    )
    parser.add_argument("--embeddings", metavar="FILE", help="use embeddings that `pointsman embed` wrote")
    parser.add_argument(
        "--embedded", metavar="FILE", help="the table that `pointsman embed` read (default: the data itself)"
    )
    parser.add_argument("--list-prompts", metavar="FILE", help="write the prompts that need embeddings, and stop")
    parser.add_argument("--seed", type=int, default=0, help="seed of every random choice (default: 0)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")


def add_candidates_argument(parser: argparse.ArgumentParser) -> None:
    """The option for more than two models."""
    parser.add_argument(
        "--candidates",
        type=name_list,
        default=[],
        metavar="A,B,C",
        help="the models to choose among, any number of them, the reference first",
    )


def take_candidates(args: argparse.Namespace) -> None:
    """If candidates are given, takes the first as the strong model and the last as the weak one.

    Raises:
        ValueError: a pair is given as well, or there are fewer than two candidates.
    """
    if not args.candidates:
        return
    if args.strong or args.weak or len(args.candidates) < 2:
        given = f"--candidates {','.join(args.candidates)}, --strong {args.strong}, --weak {args.weak}"
        raise ValueError(f"{given}: wanted at least two candidates, or a strong and a weak model, and not both")
    args.strong, args.weak = [args.candidates[0]], [args.candidates[-1]]


def name_list(text: str) -> list[str]:
    """Names separated by commas."""
    names = [name.strip() for name in text.split(",")]
    if not all(names) or len(set(names)) < len(names):
        raise argparse.ArgumentTypeError(f"{text!r} is given, wanted different names separated by commas")
    return names


def add_battle_arguments(parser: argparse.ArgumentParser, *, min_chars: int) -> None:
    """Options for how data become battles."""
    parser.add_argument("--min-chars", type=int, default=min_chars, help=f"drop shorter prompts (default: {min_chars})")
    parser.add_argument(
        "--margin", type=float, default=0.0, help="largest difference of scores that counts as a tie (default: 0)"
    )
    parser.add_argument("--max-per-prompt", type=int, help="most battles to keep per prompt of an outcome table")
    parser.add_argument("--max-per-pair", type=int, help="most battles to keep per pair of models of an outcome table")


def read_battle_sources(args: argparse.Namespace) -> "BattleSet":
    """All sources as one battle set; `tell` prints to stderr what was left out."""
    from pointsman.backends.data.battle_files import read_battles
    from pointsman.backends.data.battle_sets import concatenate

    limits = {"margin": args.margin, "max_per_prompt": args.max_per_prompt, "max_per_pair": args.max_per_pair}
    models = [*args.strong, *args.weak]
    found = concatenate(
        [
            read_battles(mapped(source, args), models=models, min_chars=args.min_chars, seed=args.seed, **limits)
            for source in args.data
        ]
    )
    if len(found) < _MIN_BATTLES:
        reports = "\n".join(map(str, found.reports))
        given = counted(len(found), "battle is", "battles are")
        raise DataError(f"{given} too few to train on, wanted at least {_MIN_BATTLES}\n{reports}")
    return found


def listed_prompts(args: argparse.Namespace, prompts: Sequence[str]) -> bool:
    """Writes the prompts if only they are wanted; returns whether it did."""
    if args.list_prompts is None:
        return False
    from pointsman.backends.data.table_writer import write_table
    from pointsman.backends.data.tables import Table

    write_table(Table({"prompt": prompts}), args.list_prompts)
    print(args.list_prompts)
    return True


def load_embeddings(args: argparse.Namespace, prompts: Sequence[str]) -> "PromptEmbeddings":
    """Embeddings of the prompts, in order: computed now, or read from the given file."""
    from pointsman.backends.training.embeddings import embed_prompts, stored_embeddings

    if args.embeddings is not None:
        return stored_embeddings(prompts, args.embeddings, args.embedded or mapped(args.data[0], args))
    from pointsman.backends.embedders import resolve_embedder

    embed = resolve_embedder(args.embedder or "static")
    with progress_bar("prompts") as bar:
        task = bar.add_task("Embedding", total=len(prompts))
        return embed_prompts(prompts, embed, progress=lambda done: bar.update(task, completed=done))


def tell(reports: Sequence["BattleReport"], notes: Sequence[str]) -> None:
    """Prints what became of the rows, and warnings about the models."""
    for line in (*map(str, reports), *(f"note: {note}" for note in notes)):
        print(line, file=sys.stderr)


def tell_result(args: argparse.Namespace, checkpoint: Checkpoint, facts: dict[str, Any]) -> int:
    """Prints the checkpoint's path, or the figures as JSON."""
    if args.json:
        pair: dict[str, Any] = {"strong": checkpoint.pair.strong, "weak": checkpoint.pair.weak}
        many = {"candidates": list(checkpoint.candidates)} if len(checkpoint.candidates) > 2 else {}
        print(json.dumps({"output": args.output, "kind": checkpoint.kind, "pair": pair, **many, **facts}))
    else:
        print(args.output)
    return 0
