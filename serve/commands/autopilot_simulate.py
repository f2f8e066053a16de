"""`pointsman autopilot simulate`: a labelled table replayed as traffic."""

import argparse
import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pointsman.core.counted import counted
from pointsman.core.dollars import dollar_column
from pointsman.serve.checkpoints.load import load_checkpoint, load_router
from pointsman.serve.commands.arguments import amount
from pointsman.serve.commands.progress import progress_bar
from pointsman.serve.commands.training.inputs import name_list

if TYPE_CHECKING:
    from pointsman.core.autopilot_simulation import Learner, Simulation, Table

__all__ = ["add_arguments", "run"]

_ORDERS = 20
_FIRST = 500
_SPREAD = (0.1, 0.9)
_FIGURES = ("weak_share", "loss", "policy_loss", "compared", "saved_usd", "compared_usd")


@dataclass(frozen=True, slots=True, eq=False)
class _Replayed:
    """A table replayed as traffic.

    Attributes:
        look: column of the second look; None where prompts alone decide.
        models: the reference first.
        priced: whether the table gives dollars.
    """

    table: "Table"
    learn: "Learner | None"
    look: str | None
    n_prompts: int
    models: tuple[str, ...]
    priced: bool
    notes: tuple[str, ...]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the action."""
    add = parser.add_argument
    add("table", help="table of outcomes (prompt and a column per model, or prompt, model, score)")
    add("--max-loss", type=float, required=True, help="mean loss of quality against always asking the strong model")
    add(
        "--compare",
        type=float,
        required=True,
        help="share of requests for which the other model is asked, too, and both answers are judged",
    )
    add("--confidence", type=float, default=0.95, help="that the bound holds at every moment (default: 0.95)")
    add("--strong", help="strong model: a column, or a name in column `model` (default: column strong)")
    add("--weak", help="weak model: a column, or a name in column `model` (default: column weak)")
    look = parser.add_mutually_exclusive_group()
    look.add_argument("--second-look", metavar="COLUMN",
        help="the weak model is asked first, and kept while its confidence is high enough (default: column confidence "
        "where there is one)")  # fmt: skip
    look.add_argument("--score", metavar="COLUMN",
        help="likewise by a score: the higher, the more strong is needed (pointsman score --verifier)")  # fmt: skip
    look.add_argument("--prompts-only", action="store_true", help="decide by the prompts alone")
    add("--router", default="mf", metavar="CHECKPOINT", help="router of the first generation (default: mf)")
    add("--scale", nargs=2, type=float, default=[0.0, 1.0], metavar=("LOW", "HIGH"), help="range of the scores (0 1)")
    add("--candidates", type=name_list, default=[], metavar="A,B,C",
        help="replay the choice among these models, the reference first, by the prompts alone (with a --router that "
        "was trained on them)")  # fmt: skip
    add("--judge-usd", type=amount, default=0.0, help="dollars per judgement (default: 0)")
    add("--requests", type=int, help="number of requests (default: one per prompt of the table); "
        "beyond that the prompts repeat in another order")  # fmt: skip
    add("--seed", type=int, help="seed of a single order (default: orders of the seeds 0, 1, ...)")
    add("--orders", type=int, default=_ORDERS, help=f"number of orders without --seed (default: {_ORDERS})")
    add("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Replays the table, and prints what would have been certified when."""
    from pointsman.core.autopilot_simulation import simulate

    _check(args)
    replayed = _of_candidates(args) if args.candidates else _of_pair(args)
    seeds = range(args.orders) if args.seed is None else [args.seed]
    requests = _moments(args.requests or replayed.n_prompts)
    found = []
    with progress_bar("orders") as bar:
        task = bar.add_task("Replaying", total=len(seeds))
        for seed in seeds:
            rng = np.random.default_rng(seed)
            found.append(
                simulate(replayed.table, requests, max_loss=args.max_loss, share=args.compare, rng=rng,
                         confidence=args.confidence, learn=replayed.learn)
            )  # fmt: skip
            bar.advance(task)
    facts = _facts(args, replayed, requests, found)
    for note in facts["notes"]:
        print(note, file=sys.stderr)
    print(json.dumps(facts) if args.json else "\n".join(_lines(facts)))
    return 0


def _of_pair(args: argparse.Namespace) -> _Replayed:
    from pointsman.backends.evaluation.autopilot_table import comparison_learner, read_labelled_traffic

    traffic = read_labelled_traffic(
        args.table, strong=args.strong, weak=args.weak, confidence=args.second_look, score=args.score,
        prompts_only=args.prompts_only, scale=(args.scale[0], args.scale[1]),
    )  # fmt: skip
    outcomes, router = traffic.outcomes, load_router(load_checkpoint(args.router))
    learn = comparison_learner(outcomes, router) if traffic.look is None else None
    models = (outcomes.pair.strong, outcomes.pair.weak)
    table = traffic.table(router, judge_usd=args.judge_usd)
    known = outcomes.strong_usd is not None
    return _Replayed(table, learn, traffic.look, len(outcomes), models, known, tuple(outcomes.notes))


def _of_candidates(args: argparse.Namespace) -> _Replayed:
    from pointsman.serve.commands.autopilot_candidates import candidate_traffic

    scored, table = candidate_traffic(
        args.table, args.candidates, args.router, judge_usd=args.judge_usd, scale=(args.scale[0], args.scale[1])
    )
    known = bool(np.isfinite(scored.usd).any(axis=0).all())
    return _Replayed(table, None, None, len(scored), scored.models, known, scored.notes)


def _check(args: argparse.Namespace) -> None:
    if args.candidates and (args.strong or args.weak or args.second_look or args.score):
        raise ValueError(
            "--candidates is given with --strong, --weak, --second-look or --score, wanted one of both: a cascade is "
            "certified for a pair"
        )
    for name in ("max_loss", "confidence"):
        if not 0.0 < getattr(args, name) < 1.0:
            given = f"--{name.replace('_', '-')} is {getattr(args, name)}"
            raise ValueError(f"{given}, wanted a number between 0 and 1")
    if not 0.0 < args.compare <= 1.0:
        raise ValueError(
            f"--compare is {args.compare}, wanted a number in (0, 1]: nothing is certified where nothing is compared"
        )
    for name in ("requests", "orders"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            raise ValueError(f"--{name} is {getattr(args, name)}, wanted at least 1")
    if not args.scale[0] < args.scale[1]:
        raise ValueError(f"--scale is {args.scale}, wanted a lower and a higher number")


def _moments(n_requests: int) -> np.ndarray:
    """500, 1,000, 2,000, 4,000, ... and the last."""
    doubled = [_FIRST * 2**k for k in range(40) if _FIRST * 2**k < n_requests]
    return np.array([*doubled, n_requests])


def _facts(
    args: argparse.Namespace, replayed: _Replayed, requests: np.ndarray, found: "list[Simulation]"
) -> dict[str, Any]:
    """Means over the orders; with several orders also the tenth and ninetieth percentile."""
    facts: dict[str, Any] = {"requests": requests.tolist()}
    for name in _FIGURES:
        values = np.array([[getattr(moment, name) for moment in one.moments] for one in found], dtype=np.float64)
        facts[name] = np.round(values.mean(axis=0), 6).tolist()
        if len(found) > 1:
            low, high = np.round(np.quantile(values, _SPREAD, axis=0), 6).tolist()
            facts[f"{name}_low"], facts[f"{name}_high"] = low, high
    broken = sum(one.broken for one in found)
    needed = [one.moments[-1].needed for one in found]
    notes = list(replayed.notes)
    if requests[-1] > replayed.n_prompts:
        notes.append(
            f"{counted(replayed.n_prompts, 'prompt')}, {counted(requests[-1], 'request')}: "
            "prompts repeat in another order"
        )
    if not replayed.priced:
        notes.append("the table gives no dollars: only --judge-usd is counted")
    return {
        **facts,
        "broken": bool(broken),
        "n_broken": broken,
        "orders": len(found),
        "worst_loss": max(one.worst_loss for one in found),
        "generations": [len(one.generations) for one in found],
        "requests_to_next_step": None if None in needed else int(np.median([n for n in needed if n is not None])),
        "max_loss": args.max_loss,
        "compare": args.compare,
        "confidence": args.confidence,
        "second_look": replayed.look,
        "n_prompts": replayed.n_prompts,
        "strong": replayed.models[0],
        "weak": replayed.models[-1],
        "models": list(replayed.models),
        "notes": notes,
    }


def _lines(facts: dict[str, Any]) -> list[str]:
    look = f"its confidence ({facts['second_look']})" if facts["second_look"] else "the prompt alone"
    models = " and ".join([", ".join(facts["models"][:-1]), facts["models"][-1]])
    lines = [
        f"{counted(facts['n_prompts'], 'prompt')}, {models}, by {look}; {facts['orders']} orders",
        f"{'requests':>9}{'to weak':>9}{'[10 - 90 %]':>16}{'true loss':>11}{'so far':>9}{'compared':>10}"
        f"{'$ saved':>11}{'$ comparing':>13}",
    ]
    saved, compared = dollar_column(facts["saved_usd"]), dollar_column(facts["compared_usd"])
    for i, n in enumerate(facts["requests"]):
        ends = [facts.get(f"weak_share_{end}", facts["weak_share"])[i] for end in ("low", "high")]
        lines.append(
            f"{n:>9,}{facts['weak_share'][i]:>9.1%}{f'[{ends[0]:.1%} - {ends[1]:.1%}]':>16}"
            f"{facts['policy_loss'][i]:>11.4f}{facts['loss'][i]:>9.4f}{facts['compared'][i]:>10,.0f}"
            f"{saved[i]:>11}{compared[i]:>13}"
        )
    kept = f"the bound of {facts['max_loss']:g} was broken in {facts['n_broken']} of {facts['orders']} orders"
    lines.append(f"{kept}; highest true loss of what was served {facts['worst_loss']:.4f}")
    if facts["weak_share"][-1] == 0.0:
        needed = facts["requests_to_next_step"]
        told = (
            f"about {counted(needed, 'more request')}"
            if needed
            else "no number of requests: the weak model costs too much"
        )
        lines.append(f"nothing is certified yet; the first step would take {told}")
    return lines
