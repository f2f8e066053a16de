"""`pointsman replay`: estimates how another checkpoint or threshold would have handled logged traffic."""

import argparse
import asyncio
import json
import math
import sys
import time
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np

from pointsman.core.arrays import FloatArray
from pointsman.core.calibration import calibrate_threshold
from pointsman.core.checkpoint import Checkpoint
from pointsman.core.counted import counted
from pointsman.core.dollars import dollars
from pointsman.core.embedding import check_identity
from pointsman.core.errors import ConfigError, DataError
from pointsman.core.replay import Estimate, Figure, Replay, replay
from pointsman.core.router import EmbeddingRouter
from pointsman.serve.checkpoints.load import load_checkpoint, load_router
from pointsman.serve.commands.arguments import (
    FORMATS_HELP,
    add_column_arguments,
    add_config_argument,
    found_config,
    fraction,
    mapped,
)
from pointsman.serve.commands.replay_candidates import replay_store
from pointsman.serve.commands.replay_served import configured_decisions, load_candidate, strong_model
from pointsman.serve.feedback.logged_traffic import Traffic, read_store, read_traffic_file

__all__ = ["add_arguments", "run"]

_USD = "$"  # of a row in dollars


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the subcommand."""
    add = parser.add_argument
    add(
        "--candidate",
        required=True,
        metavar="CHECKPOINT",
        help="name that `promote` takes, checkpoint directory, or bundled router",
    )
    setting = parser.add_mutually_exclusive_group()
    setting.add_argument("--threshold", type=fraction, help="threshold of the candidate")
    setting.add_argument("--strong-share", type=fraction, metavar="SHARE",
                         help="strong share (default: as it would be served, or the log's share)")  # fmt: skip
    source = parser.add_mutually_exclusive_group(required=found_config() is None)
    source.add_argument("--store", metavar="URL", help="store of the server, e.g. sqlite:///pointsman.db")
    add_config_argument(source, "configuration file with the store")
    source.add_argument("--file", help=f"chat logs or a table of prompts; columns went_strong, or win_rate and "
        f"threshold, say who answered: {FORMATS_HELP}")  # fmt: skip
    add_column_arguments(parser)
    add("--router", help="only requests that this router decided")
    add("--rule", metavar="NAME", help="only requests that matched this configured rule")
    add("--strong", metavar="MODEL", help="name of the strong model in the log (default: inferred from the decisions)")
    add("--days", type=float, help="only the last DAYS days of the store")
    add("--current", metavar="CHECKPOINT",
        help="checkpoint that decided so far; stored embeddings are used if the embedders are equal")  # fmt: skip
    add("--confidence", type=float, default=0.95, help="confidence of the intervals (default: 0.95)")
    add("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Scores the logged prompts with the candidate and prints it beside what happened."""
    checkpoint, served_at = load_candidate(args.candidate, args.config)
    if len(checkpoint.candidates) > 2:
        return _many(args, checkpoint)
    traffic = _read_file(args) if args.file else asyncio.run(_read_store(args))
    for note in traffic.notes:
        print(note, file=sys.stderr)
    rates = _score(checkpoint, traffic, args.current)
    threshold = _threshold(args, checkpoint, served_at, traffic, rates)
    features = np.column_stack([column for column in (traffic.win_rates, rates) if not np.isnan(column).any()])
    found = replay(traffic.logged, traffic.choices(rates, threshold), features, confidence=args.confidence)
    if args.json:
        facts = {"candidate": args.candidate, "threshold": threshold, "confidence": args.confidence, **asdict(found)}
        print(json.dumps(_finite({**facts, "notes": traffic.notes})))
    else:
        print("\n".join(_lines(found, threshold, args.confidence)))
    return 0


def _many(args: argparse.Namespace, checkpoint: Checkpoint) -> int:
    """Runs the command for any number of candidates."""
    found, threshold, shares = replay_store(args, checkpoint)
    if args.json:
        asked = {name: {"now": now, "candidate": then} for name, (now, then) in shares.items()}
        facts = {"candidate": args.candidate, "threshold": threshold, "confidence": args.confidence, "asked": asked}
        print(json.dumps(_finite({**facts, **asdict(found)})))
        return 0
    asked_lines = [f"{name:16}{now:>12.1%}{then:>12.1%}" for name, (now, then) in shares.items()]
    lines = _lines(found, threshold, args.confidence, strong="the reference", share="spend share")
    print("\n".join([*lines[:2], *asked_lines, *lines[2:]]))
    return 0


def _read_file(args: argparse.Namespace) -> Traffic:
    strong = args.strong or strong_model(args.config)
    decide = partial(configured_decisions, args.config, args.router)
    return read_traffic_file(mapped(args.file, args), strong=strong, decide=decide)


async def _read_store(args: argparse.Namespace) -> Traffic:
    from pointsman.serve.store.opening import open_store

    since = None if args.days is None else time.time() - 86_400.0 * args.days
    async with open_store(args.store, config=args.config) as store:
        return await read_store(store, router=args.router, rule=args.rule, strong=args.strong, since=since)


def _score(checkpoint: Checkpoint, traffic: Traffic, current: str | None) -> FloatArray:
    """The candidate's win rates on the logged prompts."""
    router = load_router(checkpoint)
    texts = [prompt for prompt in traffic.prompts if prompt is not None]
    if len(texts) == len(traffic.prompts):
        return router.win_rates(texts)
    kept = [embedding for embedding in traffic.embeddings if embedding is not None]
    if len(kept) < len(traffic.embeddings) or not isinstance(router, EmbeddingRouter):
        raise DataError(
            f"{traffic.source} lacks both text and embedding of some prompts, and the candidate needs one of them: "
            "set store.prompts to text, or store.embeddings to true, and wait for new traffic (--days)"
        )
    known = load_checkpoint(current).embedder if current is not None else None
    if known is None or checkpoint.embedder is None:
        raise ConfigError("the log holds only embeddings: name the checkpoint that decided so far with --current")
    check_identity(known, checkpoint.embedder)
    return router.score(np.stack(kept))


def _threshold(
    args: argparse.Namespace, checkpoint: Checkpoint, served_at: float | None, traffic: Traffic, rates: FloatArray
) -> float:
    if args.threshold is not None:
        return float(args.threshold)
    if args.strong_share is None:
        if served_at is not None:
            return served_at
        return calibrate_threshold(rates, strong_share=float(traffic.logged.went_strong.mean()))
    if checkpoint.calibration is None:
        raise ConfigError(f"{args.candidate} is not calibrated: give --threshold, or calibrate it")
    return checkpoint.calibration.threshold(args.strong_share)


def _lines(
    found: Replay, threshold: float, confidence: float, *, strong: str = "strong", share: str = "strong share"
) -> list[str]:
    lines = [
        f"{counted(found.n_prompts, 'prompt')}; candidate at threshold {threshold:.6g}; "
        f"both choose the same model on {_percent(found.agreement)}",
        f"{'':16}{'now':>12}{'candidate':>12}   difference [{confidence:.0%} interval]",
        _row(share, found.strong_share, ".2%"),
    ]
    if found.cost_usd is not None and found.saving_usd is not None:
        lines += [_row("$ per prompt", found.cost_usd, _USD), _row("$ saved", found.saving_usd, _USD)]
    if not found.n_observed:
        least = found.quality.difference
        return [
            *lines,
            "quality: not known, since no answer in the log was compared with the other model's (`shadow:`, or columns "
            f"{strong} and weak of scores); it changes by {least.low:+.2f} to {least.high:+.2f}at most",
        ]
    lines.append(_row("quality", found.quality, "+.4f"))
    lines.append(
        f"quality: mean score minus that of always asking {strong}, from {found.n_observed:,} compared prompts"
    )
    if found.unseen_share:
        lines.append(
            f"{found.unseen_share:.2%} of the prompts change from a model whose answers were never compared: "
            "the interval allows for any gain or loss"
        )
    for name, rated in zip(("stays", "changes"), found.rating or (None, None), strict=True):
        if rated is not None:
            lines.append(f"rating where the model {name}: {_shown(rated, '.3f')} of {rated.n:,}")
    return [*lines, _verdict(found.quality.difference)]


def _verdict(difference: Estimate) -> str:
    if difference.low > 0.0:
        return "The candidate is better."
    if difference.high < 0.0:
        return "The candidate is worse."
    return "The log does not tell which is better."


def _row(name: str, figure: Figure, style: str) -> str:
    now, then = (_value(e.value, style) for e in (figure.current, figure.candidate))
    return f"{name:16}{now:>12}{then:>12}   {_shown(figure.difference, style)}"


def _shown(estimate: Estimate, style: str) -> str:
    return f"{_value(estimate.value, style)} [{_value(estimate.low, style)}, {_value(estimate.high, style)}]"


def _value(value: float | None, style: str) -> str:
    if value is None:
        return "unknown"
    return dollars(value) if style == _USD else f"{value:{style}}"


def _percent(estimate: Estimate) -> str:
    return "unknown" if estimate.value is None else f"{estimate.value:.1%}"


def _finite(value: Any) -> Any:
    """`value` with null for what JSON has no number for."""
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
