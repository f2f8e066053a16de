"""`pointsman export-battles`: exports feedback and verdicts as training data."""

import argparse
import asyncio
import json
import sys
import time
from typing import TYPE_CHECKING

from pointsman.core.errors import ConfigError, DataError

if TYPE_CHECKING:
    from pointsman.core.pair import ModelPair
    from pointsman.serve.feedback.export import Export
from pointsman.serve.commands.arguments import add_config_argument, found_config

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the subcommand."""
    source = parser.add_mutually_exclusive_group(required=found_config() is None)
    add_config_argument(source, "configuration file, for the store and the pair")
    source.add_argument("--store", metavar="URL", help="URL of the store instead, e.g. sqlite:///pointsman.db")
    parser.add_argument("-o", "--output", required=True, help="file to write, format by its suffix")
    parser.add_argument(
        "--as", dest="form", choices=["battles", "outcomes", "answers"], default="battles",
        help="battles for mf and sw-ranking, outcomes (with ratings) for knn, answers for a verifier; default battles",
    )  # fmt: skip
    parser.add_argument("--strong", help="strong model that the preferences are about (default: the configuration's)")
    parser.add_argument("--weak", help="weak model, likewise")
    parser.add_argument("--days", type=float, help="only the feedback of the last DAYS days")
    parser.add_argument("--json", action="store_true", help="print what was written as JSON")


def run(args: argparse.Namespace) -> int:
    """Reads the store and writes the file."""
    from pointsman.backends.data.table_writer import write_table
    from pointsman.backends.data.tables import Table

    found = asyncio.run(_read(args, _pair(args)))
    forms = {"battles": found.as_battles(), "outcomes": found.as_outcomes(), "answers": found.answers}
    rows = forms[args.form]
    if found.n_without_prompt and args.form != "answers":
        print(f"{found.n_without_prompt:,} were left out: the text of their prompts was not kept", file=sys.stderr)
    if found.n_without_pair:
        print(f"{found.n_without_pair:,} preferences were left out: name --strong and --weak", file=sys.stderr)
    if not rows:
        if args.form == "answers":
            raise DataError(
                "nothing can be exported: the store keeps answers only of comparisons (shadow, autopilot), and only if "
                "it also keeps prompts or embeddings: set store.prompts to text, or store.embeddings to true, for "
                "requests to come"
            )
        raise DataError(
            "nothing can be exported: prompts are kept only with store.prompts: text, and only from then on"
        )
    write_table(Table({name: [row[name] for row in rows] for name in rows[0]}), args.output)
    facts = {"output": args.output, f"n_{args.form}": len(rows), "n_comparisons_and_preferences": len(found.battles)}
    facts |= {"n_ratings": len(found.ratings), "n_without_prompt": found.n_without_prompt}
    print(json.dumps(facts) if args.json else f"{len(rows):,} {args.form} written to {args.output}")
    return 0


async def _read(args: argparse.Namespace, pair: "ModelPair | None") -> "Export":
    from pointsman.serve.feedback.export import read_export
    from pointsman.serve.store.opening import open_store

    since = None if args.days is None else time.time() - 86_400.0 * args.days
    async with open_store(args.store, config=args.config) as store:
        return await read_export(store, pair=pair, since=since)


def _pair(args: argparse.Namespace) -> "ModelPair | None":
    """The pair named on the command line, else in the configuration; None if in neither."""
    from pointsman.core.pair import ModelPair
    from pointsman.serve.config.load import make_config, read_values

    strong, weak = args.strong, args.weak
    if args.config and strong is None and weak is None:
        config = make_config(read_values(args.config), source=f"config file {args.config}")
        strong, weak = config.strong, config.weak  # of candidates every pair is exported
    if (strong is None) != (weak is None):
        raise ConfigError("--strong and --weak go together, wanted both or neither")
    return None if strong is None or weak is None else ModelPair(strong, weak)
