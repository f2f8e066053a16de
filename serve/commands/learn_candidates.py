"""`pointsman learn --candidates`: from outcomes of many models to a router of them, and a cascade of their answers."""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pointsman.core.arrays import FloatArray, IntArray
from pointsman.core.checkpoint import read_checkpoint, write_checkpoint
from pointsman.core.choice_calibration import certify_choice
from pointsman.core.choice_rows import weigh_rows
from pointsman.core.counted import counted
from pointsman.core.dollars import dollar_column, dollars
from pointsman.core.errors import ConfigError, DataError, PointsmanError
from pointsman.core.prices import Price
from pointsman.serve.checkpoints.load import load_checkpoint, load_router
from pointsman.serve.commands.arguments import amount, mapped
from pointsman.serve.commands.calibrate_candidates import calibrated_choice, known_bills
from pointsman.serve.commands.candidate_predictions import Predictions, predictions
from pointsman.serve.commands.learn_chain import learn_chain
from pointsman.serve.commands.learn_kinds import doubt, train_kind
from pointsman.serve.commands.learn_output import draw_held_out, promote_and_configure
from pointsman.serve.commands.learn_report import loss_interval
from pointsman.serve.commands.learn_verifier import verifier_folder

if TYPE_CHECKING:
    from pointsman.backends.data.score_tables import ScoreTable

__all__ = ["learn_candidates"]

MANY_KINDS = ("knn", "linear", "blend")


@dataclass(frozen=True, slots=True, eq=False)
class _Tried:
    """A kind of router that was certified.

    Attributes:
        name: its kind.
        path: its checkpoint.
        found: what it predicts on the held-out prompts.
        result: threshold, loss and p-value, as `pointsman calibrate` stores them.
        chosen: column of the chosen model at the threshold, shape (n_held,).
    """

    name: str
    path: Path
    found: Predictions
    result: dict[str, Any]
    chosen: IntArray


def learn_candidates(args: argparse.Namespace, folder: Path, name: str) -> int:
    """Trains, certifies and compares routers; writes the cheapest within the bound and prints its savings."""
    kinds = [kind for kind in args.kinds if kind in MANY_KINDS]
    if not kinds:
        raise ConfigError(
            f"--kinds is {' '.join(args.kinds)}: more than two candidates can be learned with {', '.join(MANY_KINDS)}"
        )
    table = _priced(_read(args), args)
    whole = np.flatnonzero(np.isfinite(table.scores).all(axis=1))
    what = f"prompts on which all of {', '.join(table.models)} were scored"
    drawn = draw_held_out(whole, args.held_out, seed=args.seed, what=what)
    train, held = table.take(np.setdiff1d(np.arange(len(table)), drawn)), table.take(drawn)
    print(f"{len(train):,} prompts for training; {len(held):,} others for comparison and calibration", file=sys.stderr)
    chain = learn_chain(args, train, held)
    confidence = 1.0 - (1.0 - args.confidence) / (len(kinds) + (chain is not None))
    with tempfile.TemporaryDirectory(prefix="pointsman-learn-") as scratch:
        tried = _train(kinds, train, held, Path(scratch), args, confidence)
        best = min(tried, key=lambda one: _spent(one.chosen, held))
        trained = read_checkpoint(best.path)
        result = {**best.result, "data": {"source": f"{len(held):,} held-out prompts of {held.source}"}}
        chosen = calibrated_choice(trained, held, best.found, result)
        write_checkpoint(chosen, folder / name, files=trained.further_files())
    found = _report(best, tried, held, args)
    sections = {"candidates": f"candidates: {json.dumps(list(held.models))}\n"}
    if chain is not None:
        cheaper = chain.serves(held.models) and chain.usd < _spent(best.chosen, held)
        better = cheaper and chain.certified(args.max_loss, confidence, seed=args.seed)
        path = verifier_folder(folder, name)
        chain.write(path)
        found |= {"cascade": {**chain.facts, "verifier": str(path), "served": better}}
        found["lines"] += chain.lines(path, args.max_loss, confidence, seed=args.seed, better=better)
        sections |= {"cascade": chain.section(Path(args.config), path)} if better else {}
    promote_and_configure(args, folder, name, found, sections)
    return 0


def _read(args: argparse.Namespace) -> "ScoreTable":
    from pointsman.backends.data.score_tables import check_candidates, read_score_table

    table = read_score_table([mapped(source, args) for source in args.data], args.candidates, scale=args.scale)
    check_candidates(table, args.candidates)
    for note in table.notes:
        print(note, file=sys.stderr)
    return table.of(args.candidates)


def _priced(table: "ScoreTable", args: argparse.Namespace) -> "ScoreTable":
    """The table with dollars of every answer, if it has none and all prices are known."""
    if np.isfinite(table.usd).any(axis=0).all() and not args.price:
        return table
    prices = _prices(args)
    if missing := [model for model in table.models if model not in prices]:
        known = "no price of " + ", ".join(missing)
        print(f"dollars are not known ({known}): give prices with --price MODEL IN OUT", file=sys.stderr)
        return table
    from pointsman.serve.protocols.token_count import count_tokens

    n_input = [count_tokens(prompt) for prompt in table.prompts]
    n_output = np.where(np.isfinite(table.output_tokens), table.output_tokens, args.output_tokens)
    usd = [
        [prices[model].cost_usd(n, int(n_output[i, k])) for k, model in enumerate(table.models)]
        for i, n in enumerate(n_input)
    ]
    return replace(table, usd=np.array(usd))


def _prices(args: argparse.Namespace) -> dict[str, Price]:
    """Prices from the configuration, then those from the command line."""
    found: dict[str, Price] = {}
    if Path(args.config).is_file():
        from pointsman.serve.config.load import make_config, read_values
        from pointsman.serve.money.price_list import read_price_list

        listed = read_price_list(make_config(read_values(args.config), source=args.config))
        found = {model: price.price for model, price in listed.items()}
    try:
        return found | {model: Price(amount(usd_in), amount(usd_out)) for model, usd_in, usd_out in args.price}
    except argparse.ArgumentTypeError as error:
        raise ConfigError(f"--price: {error}, in dollars per million tokens") from error


def _train(
    kinds: Sequence[str],
    train: "ScoreTable",
    held: "ScoreTable",
    scratch: Path,
    args: argparse.Namespace,
    confidence: float,
) -> list[_Tried]:
    path = _training_table(train, scratch / "train.jsonl")
    options = ("--candidates", ",".join(train.models))
    if any("," in model for model in train.models):
        raise ConfigError(f"a candidate of {list(train.models)} has a comma in its name: rename it in the table")
    tried = []
    for kind in kinds:
        print(f"{kind}: ", end="", file=sys.stderr, flush=True)
        try:
            train_kind(kind, path, scratch / kind, options, seed=args.seed)
        except PointsmanError as error:
            print(f"not trained: {error}", file=sys.stderr)
            continue
        print(f"trained{doubt(scratch / kind)}", file=sys.stderr)
        tried.append(_certified(kind, scratch / kind, held, args, confidence))
    if not tried:
        raise DataError(f"no router could be trained on {train.source}: see the reasons above")
    return tried


def _training_table(train: "ScoreTable", path: Path) -> Path:
    """A row per prompt and model."""
    from pointsman.backends.data.table_writer import write_table
    from pointsman.backends.data.tables import Table

    rows, columns = np.nonzero(np.isfinite(train.scores))
    known: dict[str, Sequence[Any]] = {
        "prompt": [train.prompts[i] for i in rows],
        "model": [train.models[k] for k in columns],
        "score": train.scores[rows, columns].tolist(),
    }
    for name, values in (("cost_usd", train.usd), ("output_tokens", train.output_tokens)):
        known[name] = [value if np.isfinite(value) else None for value in values[rows, columns].tolist()]
    if train.group is not None:
        known["group"] = train.group[rows].tolist()
    write_table(Table(known), path)
    return path


def _certified(kind: str, path: Path, held: "ScoreTable", args: argparse.Namespace, confidence: float) -> _Tried:
    router = load_router(load_checkpoint(str(path), path), candidates=held.models)
    found = predictions(router, held)
    weighing = weigh_rows(found.win_rates, found.usd, point_usd=found.point_usd)
    bound = certify_choice(weighing, held.scores, max_loss=args.max_loss, confidence=confidence, seed=args.seed)
    result = {"rule": "max_loss", "wanted": args.max_loss, "threshold": bound.threshold, "loss": bound.loss,
              "p_value": bound.p_value, "test": bound.test, "n_labels": bound.n_labels,
              "confidence": args.confidence, "certified": bound.certified}  # fmt: skip
    return _Tried(kind, path, found, result, weighing.chosen(bound.threshold))


def _spent(chosen: IntArray, held: "ScoreTable") -> float:
    """Mean dollars of the chosen models; without bills, their mean place among the candidates, the reference last."""
    rows = np.arange(len(chosen))
    if not np.isfinite(held.usd).any(axis=0).all():
        return float((len(held.models) - 1 - chosen).mean())
    return float(known_bills(held.usd)[rows, chosen].mean())


def _report(best: _Tried, tried: Sequence[_Tried], held: "ScoreTable", args: argparse.Namespace) -> dict[str, Any]:
    priced = bool(np.isfinite(held.usd).any(axis=0).all())
    policies = {one.name: one.chosen for one in tried}
    policies |= {f"always {model}": np.full(len(held), k) for k, model in enumerate(held.models)}
    rows = {name: _figures(chosen, held, priced) for name, chosen in policies.items()}
    mine, always = rows[best.name], rows[f"always {held.models[0]}"]
    found: dict[str, Any] = {
        "kind": best.name,
        "n_held_out": len(held),
        "max_loss": args.max_loss,
        "confidence": args.confidence,
        "certified": best.result["certified"],
        "threshold": best.result["threshold"],
        "policies": rows,
        **mine,
    }
    if priced:
        found["saved_usd_per_1000"] = always["usd_per_1000"] - mine["usd_per_1000"]
        found["saved_share"] = found["saved_usd_per_1000"] / (always["usd_per_1000"] or 1.0)
    found["lines"] = [*_table(best.name, rows, held.models), "", *_said(found, held)]
    return found


def _figures(chosen: IntArray, held: "ScoreTable", priced: bool) -> dict[str, Any]:
    losses: FloatArray = held.scores[:, 0] - held.scores[np.arange(len(held)), chosen]
    return {
        "asked": {model: float((chosen == k).mean()) for k, model in enumerate(held.models)},
        "loss": float(losses.mean()),
        "loss_interval": loss_interval(losses),
        "usd_per_1000": 1000.0 * _spent(chosen, held) if priced else None,
    }


def _table(best: str, rows: dict[str, dict[str, Any]], models: Sequence[str]) -> list[str]:
    lines = [("policy", *(f"to {model}" for model in models), "points lost [95 %]", "$ per 1,000")]
    bills = dollar_column([row["usd_per_1000"] for row in rows.values()])
    for (name, row), usd in zip(rows.items(), bills, strict=True):
        lines.append((
            f"{name} (chosen)" if name == best else name,
            *(f"{row['asked'][model]:.0%}" for model in models),
            _points(row),
            usd,
        ))  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    shown = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in lines]
    return [shown[0], "-" * len(shown[0]), *shown[1:]]


def _points(row: dict[str, Any]) -> str:
    low, high = row["loss_interval"]
    return f"{100.0 * row['loss']:.1f} [{100.0 * low:.1f}, {100.0 * high:.1f}]"


def _said(found: dict[str, Any], held: "ScoreTable") -> list[str]:
    reference, points = held.models[0], 100.0 * found["max_loss"]
    if not found["certified"]:
        return [
            f"Nothing cheaper than always asking {reference} is certified to lose at most {points:g} points with "
            f"{found['confidence']:.0%} confidence on {counted(found['n_held_out'], 'label')}.",
            "So everything goes to it. Allow more loss (--max-loss 10%), or bring more outcomes.",
        ]
    asked = ", ".join(f"{share:.0%} to {model}" for model, share in found["asked"].items() if share >= 0.005)
    saved = "give --price MODEL IN OUT for dollars"
    if "saved_share" in found:
        saved = (
            f"{dollars(found['usd_per_1000'])} per 1,000 requests, saves {dollars(found['saved_usd_per_1000'])} "
            f"({found['saved_share']:.0%}) against always {reference}"
        )
    return [
        f"{asked}; loses at most {points:g} points against {reference} with {found['confidence']:.0%} confidence "
        f"(measured {_points(found)}); {saved}.",
        f"That holds for prompts drawn like these, at these bills. Chosen: {found['kind']}, the cheapest within "
        "the bound.",
    ]
