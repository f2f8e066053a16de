"""`pointsman score`: win rates for a file of prompts."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING

from pointsman.core.arrays import FloatArray
from pointsman.core.counted import counted
from pointsman.core.errors import DataError
from pointsman.core.pair import ModelPair
from pointsman.core.router import EmbeddingRouter, Router
from pointsman.serve.checkpoints.load import load_checkpoint, load_router
from pointsman.serve.commands.arguments import FORMATS_HELP, add_column_arguments, mapped
from pointsman.serve.commands.on_ray import add_engine_arguments, score_on_ray
from pointsman.serve.commands.progress import progress_bar
from pointsman.serve.commands.verifiers import score_answers

if TYPE_CHECKING:
    from pointsman.backends.evaluation.journal import WinRateJournal

__all__ = ["Timing", "add_arguments", "run"]


@dataclass
class Timing:
    """How many prompts a run scored (not those from a journal), and how long its parts took."""

    n_prompts: int = 0
    embedding_s: float = 0.0
    scoring_s: float = 0.0
    total_s: float = 0.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the subcommand."""
    parser.add_argument("input", help=f"prompts: {FORMATS_HELP}")
    parser.add_argument("-o", "--output", required=True, help="the input's columns and win_rate, format by its suffix")
    parser.add_argument("--router", help="router kind or checkpoint directory (default: mf)")
    parser.add_argument("--verifier", metavar="DIR", help="read the table's answers: writes escalation, the strong "
        "model's win rate given the cheap answer; with --router also win_rate")  # fmt: skip
    add_column_arguments(parser)
    parser.add_argument("--strong", help="model of the checkpoint to take as the strong one")
    parser.add_argument("--weak", help="model of the checkpoint to take as the weak one")
    parser.add_argument(
        "--journal", metavar="FILE", help="keep win rates in this file, so that an interrupted run can continue"
    )
    parser.add_argument("--json", action="store_true", help="print counts and times as JSON")
    add_engine_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Scores the file batch by batch; memory does not grow with its length."""
    if args.verifier:
        return score_answers(args)
    args.router = args.router or "mf"
    if args.engine == "ray":
        checkpoint = load_checkpoint(args.router)
        return score_on_ray(args, ModelPair(args.strong or checkpoint.pair.strong, args.weak or checkpoint.pair.weak))
    from pointsman.backends.data.labels import read_prompts
    from pointsman.backends.data.table_writer import TableWriter
    from pointsman.backends.data.tables import count_rows

    started = perf_counter()
    checkpoint = load_checkpoint(args.router)
    pair = ModelPair(args.strong or checkpoint.pair.strong, args.weak or checkpoint.pair.weak)
    router = load_router(checkpoint, pair=pair)
    timing = Timing()
    win_rates: Callable[[Sequence[str]], FloatArray] = partial(timed_win_rates, router, timing=timing)
    if args.journal:
        from pointsman.backends.evaluation.journal import WinRateJournal, router_key

        journal, key = WinRateJournal(args.journal), router_key(checkpoint, pair)
        win_rates = partial(_journal_win_rates, journal, router, key, timing)
    n_prompts = 0
    source = mapped(args.input, args)
    with TableWriter(args.output) as output, progress_bar("prompts") as bar:
        task = bar.add_task("Scoring", total=count_rows(source))
        for table, prompts in read_prompts(source):
            output.write(table.with_columns({"win_rate": win_rates(prompts).tolist()}))
            n_prompts += len(table)
            bar.advance(task, len(table))
        if not n_prompts:
            raise DataError(f"{args.input} holds no prompts: nothing was written")
    timing.total_s = perf_counter() - started
    _report(timing, args)
    return 0


def timed_win_rates(router: Router, prompts: Sequence[str], timing: Timing) -> FloatArray:
    """Win rates of one batch; adds its times to `timing`. Everything counts as scoring if the kind does not embed."""
    started = perf_counter()
    if isinstance(router, EmbeddingRouter):
        embeddings = router.embed(prompts)
        embedded = perf_counter()
        timing.embedding_s += embedded - started
        started = embedded
        rates = router.score(embeddings)
    else:
        rates = router.win_rates(prompts)
    timing.scoring_s += perf_counter() - started
    timing.n_prompts += len(prompts)
    return rates


def _journal_win_rates(
    journal: "WinRateJournal", router: Router, key: str, timing: Timing, prompts: Sequence[str]
) -> FloatArray:
    started, before = perf_counter(), journal.n_computed
    rates = journal.win_rates(router, prompts, key=key)
    timing.scoring_s += perf_counter() - started
    timing.n_prompts += journal.n_computed - before
    return rates


def _report(timing: Timing, args: argparse.Namespace) -> None:
    if args.json:
        print(json.dumps({"output": args.output, **asdict(timing)}))
        return
    rate = timing.n_prompts / max(timing.embedding_s + timing.scoring_s, 1e-9)
    print(
        f"{counted(timing.n_prompts, 'prompt')} in {timing.total_s:.2f} s "
        f"(embedding {timing.embedding_s:.3f} s, scoring {timing.scoring_s:.3f} s: {rate:,.0f} prompts/s)",
        file=sys.stderr,
    )
    print(args.output)
