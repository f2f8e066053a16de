"""`pointsman onboard`: adds a model to a trained checkpoint from a few hundred of its answers."""

import argparse
import asyncio
import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pointsman.core.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from pointsman.core.counted import counted
from pointsman.core.dollars import dollars
from pointsman.core.errors import CheckpointError, ConfigError, DataError
from pointsman.core.prices import Price
from pointsman.serve.checkpoints.load import load_embedder
from pointsman.serve.commands.arguments import add_config_argument, amount
from pointsman.serve.commands.judge import complete_models, judge_with_journal, print_failures, read_judging
from pointsman.serve.judging.journal import Journal, Reply, call_key
from pointsman.serve.judging.judge import JudgingReport, estimate_cost_usd

if TYPE_CHECKING:
    from pointsman.backends.training.onboarding import Measured

__all__ = ["add_arguments", "run"]

_N_LANDMARKS = 300
_MOST_STORED = 20_000  # requests


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the subcommand."""
    add = parser.add_argument
    add("model", help="the model to add: a model string, or a name under models of the config")
    add("--checkpoint", required=True, metavar="DIR", help="checkpoint of kind linear, knn or blend; changed in place")
    add("-o", "--output", metavar="DIR", help="write the changed checkpoint here instead")
    add("--remove", action="store_true", help="remove the model again")
    add("-n", "--landmarks", type=int, default=_N_LANDMARKS, help=f"number of prompts to ask (default: {_N_LANDMARKS})")
    add("--prompts", metavar="TABLE", help="the table it was trained on, for a checkpoint that keeps no prompts")
    like = parser.add_mutually_exclusive_group()
    like.add_argument("--traffic", metavar="TABLE", help="file of prompts that the landmarks should resemble")
    like.add_argument("--store", metavar="URL", help="server's store whose prompts the landmarks should resemble")
    add("--scores", metavar="TABLE", help="landmarks scored elsewhere: prompt, score, and cost_usd and tokens if known")
    add("--list-prompts", metavar="FILE", help="write the landmark prompts and stop")
    add("--reference", metavar="MODEL", help="the config's name for the checkpoint's reference, if it differs")
    add("--judge", help="the model that compares the answers with the reference's (default: the config's shadow.judge)")
    add("--max-usd", type=amount, help="most dollars to spend; needs prices")
    add("--price", action="append", default=[], metavar="MODEL=IN,OUT", help="dollars per million tokens, repeatable")
    add("--max-tokens", type=int, default=1024, help="most tokens of a reply (default: 1024)")
    add("--parameters", default="{}", help="further request parameters as JSON, e.g. '{\"temperature\": 0}'")
    add("--concurrency", type=int, default=8, help="concurrent calls (default: 8)")
    add("--requests-per-minute", type=float, help="most calls started per minute")
    add("--base-url", help="OpenAI-protocol URL for models that the config gives none")
    add("--journal", help="file that keeps paid calls, to continue after a stop (default: DIR.MODEL.journal)")
    add("--estimate", action="store_true", help="print the estimated cost and stop")
    add("--seed", type=int, default=0, help="seed of the choice of landmarks (default: 0)")
    add("--json", action="store_true", help="print JSON")
    add_config_argument(parser, "YAML file that says where the models are")


def run(args: argparse.Namespace) -> int:
    """Adds or removes a model, and prints how much it helps; 1 if the ceiling left landmarks without a score."""
    checkpoint = read_checkpoint(args.checkpoint)
    if args.remove:
        from pointsman.backends.training.onboarding import remove_model

        return _write(args, checkpoint, remove_model(checkpoint, args.model), {"removed": args.model})
    if args.model in checkpoint.models:
        raise CheckpointError(f"{args.checkpoint} already contains {args.model!r}: --remove removes it")
    texts = _texts(args, checkpoint)
    if args.scores is not None:
        return _add(args, checkpoint, _read_scores(args, texts))
    rows = _landmarks(args, checkpoint, texts)
    prompts = [str(texts[row]) for row in rows]
    if args.list_prompts is not None:
        from pointsman.backends.data.table_writer import write_table
        from pointsman.backends.data.tables import Table

        write_table(Table({"prompt": prompts}), args.list_prompts)
        print(args.list_prompts)
        return 0
    return _ask_and_add(args, checkpoint, rows, prompts)


def _ask_and_add(args: argparse.Namespace, checkpoint: Checkpoint, rows: np.ndarray, prompts: list[str]) -> int:
    args.model_a, args.model_b = args.model, args.reference or checkpoint.candidates[0]
    args.max_cost_usd = args.max_usd
    complete_models(args)
    judging, parameters = read_judging(args)
    if judging.prices:
        estimate = estimate_cost_usd(judging, prompts)
        print(f"{len(prompts):,} landmarks will cost about {dollars(estimate)} at most", file=sys.stderr)
        if args.estimate:
            print(json.dumps({"n_landmarks": len(prompts), "estimate_usd": estimate}))
            return 0
    elif args.estimate:
        raise ConfigError("an estimate needs prices: --price MODEL=IN,OUT, or models.<name>.price in the configuration")
    path = Path(args.journal or f"{args.checkpoint.rstrip('/')}.{args.model.replace('/', '_')}.journal")
    report = judge_with_journal(prompts, judging, parameters, path, args)
    print(
        f"{report.n_prompts:,} of {counted(len(prompts), 'landmark')} judged in both orders: "
        f"{counted(report.n_calls, 'call')} made, "
        f"{report.n_from_journal:,} from the journal, {report.n_failed:,} failed, {dollars(report.spent_usd)} spent",
        file=sys.stderr,
    )
    print_failures(report)
    if report.stopped:
        print(f"Stopped at the ceiling of --max-usd; raise it to continue from {path}.", file=sys.stderr)
        return 1
    with Journal(path) as journal:
        replies = [journal.get(call_key(args.model, prompt, judging.settings)) for prompt in prompts]
    measured = _judged(args.model, checkpoint, rows, prompts, report, replies, judging.prices.get(args.model))
    return _add(args, checkpoint, measured)


def _judged(
    model: str,
    checkpoint: Checkpoint,
    rows: np.ndarray,
    prompts: list[str],
    report: JudgingReport,
    replies: list[Reply | None],
    price: Price | None,
) -> "Measured":
    """Scores from verdicts: the reference's own score, plus one where the model won, less one where it lost."""
    from pointsman.backends.training.onboarding import Measured

    shares: dict[str, list[float]] = defaultdict(list)
    for battle in report.battles:
        winner = battle["winner"]
        shares[battle["prompt"]].append(0.5 if winner == "tie" else float(battle[winner] == model))
    reference = checkpoint.array("scores", ndim=2)[rows, checkpoint.row(checkpoint.candidates[0])]
    won = np.array([np.mean(shares[prompt]) if shares[prompt] else np.nan for prompt in prompts])
    scores = np.clip(reference + 2.0 * won - 1.0, 0.0, 1.0)
    counted = [(np.nan, np.nan) if reply is None else (reply.input_tokens, reply.output_tokens) for reply in replies]
    tokens = np.array(counted, dtype=np.float64)
    usd = [np.nan if price is None or r is None else price.cost_usd(r.input_tokens, r.output_tokens) for r in replies]
    return Measured(rows, scores, np.array(usd), tokens[:, 0], tokens[:, 1])


def _texts(args: argparse.Namespace, checkpoint: Checkpoint) -> list[str | None]:
    """Text of each row of the checkpoint, from itself or from the table it was trained on.

    Raises:
        CheckpointError: neither has them.
    """
    from pointsman.backends.data.labels import read_prompts
    from pointsman.backends.training.kept_prompts import KEPT, kept_prompts, match_prompts
    from pointsman.backends.training.onboarding import check_kind

    check_kind(checkpoint)
    if args.prompts is not None:
        given = list(dict.fromkeys(p for _, part in read_prompts(args.prompts) for p in part if p))
        return match_prompts(checkpoint, given, _embed(checkpoint, given))
    found = kept_prompts(checkpoint)
    if all(text is None for text in found):
        raise CheckpointError(
            f"checkpoint {args.checkpoint} keeps no prompts ({KEPT}) that could be asked: name the table that "
            "it was trained on with --prompts, or train it again"
        )
    return found


def _embed(checkpoint: Checkpoint, prompts: list[str]) -> np.ndarray:
    embed = load_embedder(checkpoint)
    if embed is None:
        raise CheckpointError(f"checkpoint {checkpoint.path} names no embedder")
    return np.asarray(embed(prompts))


def _landmarks(args: argparse.Namespace, checkpoint: Checkpoint, texts: list[str | None]) -> np.ndarray:
    """Rows to ask: prompts with a text and a score of the reference."""
    from pointsman.backends.training.onboarding import choose_landmarks

    reference = checkpoint.array("scores", ndim=2)[:, checkpoint.row(checkpoint.candidates[0])]
    able = np.array([bool(text and text.strip()) for text in texts]) & (reference >= 0.0)
    traffic = _traffic(args, checkpoint)
    embeddings = checkpoint.array("embeddings", ndim=2).astype(np.float32)
    return choose_landmarks(embeddings, able, args.landmarks, traffic=traffic, seed=args.seed)


def _traffic(args: argparse.Namespace, checkpoint: Checkpoint) -> np.ndarray | None:
    """Embeddings of the prompts that the landmarks should resemble; None for the checkpoint's own."""
    if args.store is not None:
        prompts = asyncio.run(_stored_prompts(args.store, args.config))
    elif args.traffic is not None:
        from pointsman.backends.data.labels import read_prompts

        prompts = [p for _, part in read_prompts(args.traffic) for p in part if p]
    else:
        return None
    if not prompts:
        raise DataError(
            f"{args.store or args.traffic} holds no prompts"
            + (": set store.prompts to text and wait for new traffic, or use --traffic" if args.store else "")
        )
    return _embed(checkpoint, prompts)


async def _stored_prompts(url: str, config: str | None) -> list[str]:
    """Distinct prompts of the newest 20,000 answered requests that a router decided."""
    from pointsman.serve.store.opening import open_store
    from pointsman.serve.store.queries import DecisionFilter

    async with open_store(url, config=config) as store:
        rows = await store.decisions(DecisionFilter(outcome="answered"), limit=_MOST_STORED)
    return list(dict.fromkeys(row.prompt for row in rows if row.router is not None and row.prompt))


def _read_scores(args: argparse.Namespace, texts: list[str | None]) -> "Measured":
    """Scores from elsewhere, on the prompts of the table that are in the checkpoint.

    Raises:
        DataError: it scores only other models, or none of the checkpoint's prompts.
    """
    from pointsman.backends.data.score_tables import read_score_table
    from pointsman.backends.training.onboarding import Measured

    table = read_score_table([args.scores], [args.model])
    if args.model not in table.models:
        raise DataError(f"{args.scores} has no scores of {args.model!r}; it has {', '.join(table.models[:20])}")
    column, place = table.models.index(args.model), {text: row for row, text in enumerate(texts) if text is not None}
    at = [i for i, prompt in enumerate(table.prompts) if prompt in place and np.isfinite(table.scores[i, column])]
    if not at:
        raise DataError(f"{args.scores} scores none of the checkpoint's prompts: --list-prompts writes those to score")
    rows = np.array([place[table.prompts[i]] for i in at])
    parts = (table.scores, table.usd, table.input_tokens, table.output_tokens)
    return Measured(rows, *[part[at, column] for part in parts])


def _add(args: argparse.Namespace, checkpoint: Checkpoint, measured: "Measured") -> int:
    from pointsman.backends.training.model_worth import model_worth
    from pointsman.backends.training.onboarding import add_model

    made = add_model(checkpoint, args.model, measured)
    worth = model_worth(checkpoint, args.model, measured, _kept_or_none(checkpoint))
    return _write(args, checkpoint, made, {"added": args.model, **worth})


def _kept_or_none(checkpoint: Checkpoint) -> list[str | None]:
    from pointsman.backends.training.kept_prompts import kept_prompts

    return kept_prompts(checkpoint)


def _write(args: argparse.Namespace, before: Checkpoint, made: Checkpoint, facts: dict[str, Any]) -> int:
    from pointsman.backends.training.kept_prompts import KEPT

    kept = before.path / KEPT if before.path is not None else None
    target = args.output or args.checkpoint
    write_checkpoint(made, target, files={KEPT: kept} if kept is not None and kept.is_file() else None)
    facts = {"output": target, "models": list(made.models), "candidates": list(made.candidates), **facts}
    if args.json:
        print(json.dumps(facts))
        return 0
    for line in facts.get("lines", ()):
        print(line, file=sys.stderr)
    print(_next_step(before, made, target), file=sys.stderr)
    print(target)
    return 0


def _next_step(before: Checkpoint, made: Checkpoint, target: str) -> str:
    """How to serve the changed candidates."""
    named = ",".join(made.candidates)
    stored = counted(len(before.thresholds), "stored threshold")
    void = f"; {stored} of the candidates before hold no longer" if before.thresholds else ""
    return (
        f"to serve it: name {', '.join(made.candidates)} as candidates, and for shares, dollars and bounds run "
        f"`pointsman calibrate TABLE --candidates {named} --checkpoint {target}`{void}"
    )
