"""The `--verifier` option of `score`, `evaluate` and `calibrate`."""

import argparse
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pointsman.core.arrays import FloatArray
from pointsman.core.cascade_guarantee import CascadePoint, certify_cascade
from pointsman.core.checkpoint import Checkpoint, write_checkpoint
from pointsman.core.counted import counted
from pointsman.core.dollars import dollars
from pointsman.core.errors import ConfigError, DataError
from pointsman.core.verifier import Verifier, read_verifier
from pointsman.serve.checkpoints.load import load_checkpoint, load_embedder, load_router
from pointsman.serve.commands.arguments import mapped
from pointsman.serve.commands.progress import progress_bar

if TYPE_CHECKING:
    from pointsman.backends.data.answers import AnswerTable
    from pointsman.backends.data.tables import Table
    from pointsman.backends.evaluation.cascades import CascadeReport

__all__ = ["calibrate_cascade", "cascade_facts", "load_verifier", "report_cascade", "score_answers"]

_ASSUMPTION = "prompts and answers to come are drawn like the ones that this was calibrated on (exchangeable)"


def load_verifier(name: str) -> tuple[Checkpoint, Verifier]:
    """The verifier of a checkpoint directory.

    Raises:
        ConfigError: there is no such directory.
        CheckpointError: it is damaged, or the checkpoint of a router.
    """
    if not Path(name).is_dir():
        raise ConfigError(f"there is no verifier at {name}: make one with `pointsman train verifier TABLE -o {name}`")
    checkpoint = load_checkpoint(name)
    return checkpoint, read_verifier(checkpoint, load_embedder(checkpoint))


def score_answers(args: argparse.Namespace) -> int:
    """Writes the input's columns and `escalation`: the strong model's win rate given the cheap answer."""
    from pointsman.backends.data.labels import read_prompts
    from pointsman.backends.data.table_writer import TableWriter
    from pointsman.backends.data.tables import count_rows

    _, verifier = load_verifier(args.verifier)
    router = load_router(load_checkpoint(args.router)) if args.router else None
    n_read = 0
    with TableWriter(args.output) as output, progress_bar("answers") as bar:
        source = mapped(args.input, args)
        task = bar.add_task("Reading", total=count_rows(source))
        for table, prompts in read_prompts(source):
            columns: dict[str, Any] = {}
            if router is not None:
                columns["win_rate"] = router.win_rates(prompts).tolist()
            read = _escalations(verifier, table.with_columns(columns), prompts)
            n_read += sum(value is not None for value in read)
            output.write(table.with_columns({**columns, "escalation": read}))
            bar.advance(task, len(table))
        if not n_read:
            raise DataError(
                f"{args.input} holds no answer of {verifier.pair.weak!r}, whose answers this verifier reads: "
                "nothing was written"
            )
    print(json.dumps({"output": args.output, "n_answers": n_read}) if args.json else args.output)
    return 0


def report_cascade(args: argparse.Namespace) -> "CascadeReport":
    """The cascade's figures on the prompts of a table with cheap answers."""
    from pointsman.backends.evaluation.cascades import evaluate_cascade

    checkpoint, verifier = load_verifier(args.verifier)
    table = _answers(args, verifier)
    _tell_if_learnt(checkpoint, args.verifier, args.outcomes)
    routers = {}
    for name in args.routers:
        if not name.startswith("column:"):
            routers[Path(name).name] = load_router(load_checkpoint(name)).win_rates(table.prompts)
    own = _win_rates(verifier, routers, args.outcomes)
    return evaluate_cascade(table, verifier, routers, win_rates=own, n_replicates=args.replicates, seed=args.seed)


def calibrate_cascade(args: argparse.Namespace) -> int:
    """Certifies the cheapest policy within --max-loss and stores it in the verifier's checkpoint."""
    if args.max_loss is None:
        raise ConfigError("--verifier needs --max-loss: only a bound on the loss can be certified for a cascade")
    checkpoint, verifier = load_verifier(args.verifier)
    args.outcomes = args.input
    table = _answers(args, verifier)
    _tell_if_learnt(checkpoint, args.verifier, args.input)
    routers = {args.router: load_router(load_checkpoint(args.router)).win_rates(table.prompts)} if args.router else {}
    values = verifier.embed(table.prompts)
    own = _win_rates(verifier, routers, args.input)
    answers = [answer for answer in table.answers[1] if answer is not None]
    prompt = verifier.prompt_win_rates(table.prompts, embeddings=values, win_rates=own)
    read = verifier.win_rates(table.prompts, answers, embeddings=values, win_rates=own)
    usd = None if np.isnan(table.usd[:, :2]).any() else (table.usd[:, 0], table.usd[:, 1])
    point = certify_cascade(
        prompt,
        read,
        table.score[:, 0],
        table.score[:, 1],
        zone=verifier.window(),
        max_loss=args.max_loss,
        confidence=args.confidence,
        usd=usd,
        seed=args.seed,
    )
    result = cascade_facts(point, args.input)
    target = args.checkpoint or args.verifier
    rule = f"max_loss={args.max_loss:g},confidence={args.confidence:g}"
    write_checkpoint(replace(checkpoint, thresholds={**checkpoint.thresholds, rule: result}), target)
    result["checkpoint"] = target
    print(json.dumps(result) if args.json else _text(result))
    return 0


def _escalations(verifier: Verifier, table: "Table", prompts: list[str]) -> list[float | None]:
    """The cheap model's answer per row, or None."""
    from pointsman.backends.data.answer_rows import row_answers
    from pointsman.backends.data.answers import wide_answers

    weak = verifier.pair.weak
    answers = row_answers(table) if "answer" in table.columns else row_answers(wide_answers(table, weak))
    if "model" in table.columns:
        models = table.texts("model")
        answers = [answer if model == weak else None for answer, model in zip(answers, models, strict=True)]
    rows = [(i, answer) for i, answer in enumerate(answers) if answer is not None]
    found: list[float | None] = [None] * len(answers)
    if not rows:
        return found
    rates = None
    if verifier.reads_win_rate:
        if "win_rate" not in table.columns:
            raise ConfigError("this verifier reads a router's win rate: name the router that it was trained with")
        rates = table.numbers("win_rate")[[i for i, _ in rows]]
    values = verifier.win_rates([prompts[i] for i, _ in rows], [answer for _, answer in rows], win_rates=rates)
    for (i, _), value in zip(rows, values.tolist(), strict=True):
        found[i] = value
    return found


def _answers(args: argparse.Namespace, verifier: Verifier) -> "AnswerTable":
    from pointsman.backends.data.answers import read_answers

    given = {side: getattr(args, side) for side in ("strong", "weak")}
    wanted = {side: getattr(verifier.pair, side) for side in given}
    for side, name in given.items():
        if name not in (None, side, wanted[side]):
            raise ConfigError(
                f"--{side} is {name!r}, and {args.verifier} is a verifier of {wanted['strong']!r} and "
                f"{wanted['weak']!r}: train one for the pair you want"
            )
    return read_answers(args.outcomes, **wanted)


def _win_rates(verifier: Verifier, routers: dict[str, FloatArray], source: str) -> FloatArray | None:
    if not verifier.reads_win_rate:
        return None
    if len(routers) != 1:
        raise ConfigError(f"this verifier reads a router's win rate: name that router as the only router, for {source}")
    return next(iter(routers.values()))


def _tell_if_learnt(checkpoint: Checkpoint, name: str, source: str) -> None:
    from pointsman.backends.evaluation.leakage import learnt_from

    if learnt_from(checkpoint, source):
        print(f"{name} was trained on a file of this name, so its figures may be too good", file=sys.stderr)


def cascade_facts(point: CascadePoint, source: str) -> dict[str, Any]:
    found = point.guarantee
    return {
        "rule": "max_loss",
        "wanted": found.max_loss,
        "confidence": found.confidence,
        "certified": found.certified,
        "threshold": point.threshold,
        "hard": point.zone.hard,
        "easy": point.zone.easy,
        "strong_share": point.strong_share,
        "loss": point.loss,
        "cost_usd": None if point.usd is None else 1000.0 * point.usd,
        "always_strong_usd": None if point.strong_usd is None else 1000.0 * point.strong_usd,
        "n_labels": found.n_labels,
        "p_value": found.p_value,
        "test": found.test,
        "labels_needed": found.labels_needed,
        "last_certified": asdict(found)["threshold"],
        "data": {"source": source, "n_rows": found.n_labels},
        "assumption": _ASSUMPTION,
    }


def _text(result: dict[str, Any]) -> str:
    bound = f"a mean loss of at most {result['wanted']:g} with {result['confidence']:.1%} confidence"
    if not result["certified"]:
        needed = result["labels_needed"]
        remedy = "more labels would not help" if needed is None else f"about {needed:,} labels would be needed"
        return f"nothing but always strong guarantees {bound} on {counted(result['n_labels'], 'label')}: {remedy}"
    lines = [
        f"answer threshold {result['threshold']:.6g}: strong at once from {result['hard']:.4g} above it, "
        f"the cheap answer unread from {result['easy']:.4g} below it",
        f"{result['strong_share']:.2%} of the answers are the strong model's, "
        f"on {counted(result['n_labels'], 'label')}",
        f"{bound}; measured loss {result['loss']:.4f}",
    ]
    if result["cost_usd"] is not None:
        lines.append(
            f"{dollars(result['cost_usd'])} per thousand prompts (always strong {dollars(result['always_strong_usd'])})"
        )
    return "\n".join([*lines, f"written to {result['checkpoint']}", f"holds as long as {result['assumption']}"])
