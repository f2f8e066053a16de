"""What `pointsman learn` learns from answers: a verifier, and the bound certified for a cascade with it."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pointsman.core.arrays import FloatArray
from pointsman.core.cascade_guarantee import CascadePoint, certify_cascade
from pointsman.core.checkpoint import Checkpoint, write_checkpoint
from pointsman.core.counted import counted
from pointsman.core.dollars import dollars
from pointsman.core.errors import PointsmanError
from pointsman.core.verifier import read_verifier
from pointsman.serve.checkpoints.load import load_embedder
from pointsman.serve.commands.arguments import mapped
from pointsman.serve.commands.learn_report import loss_interval
from pointsman.serve.commands.verifiers import cascade_facts

if TYPE_CHECKING:
    from pointsman.backends.data.answers import AnswerTable
    from pointsman.backends.evaluation.outcome_pairs import PairOutcomes

__all__ = ["FittedPair", "PairCascade", "certify_pair", "fit_pair", "read_own_answers", "verifier_folder"]

_LEAST_ANSWERS = 20


@dataclass(frozen=True, slots=True, eq=False)
class FittedPair:
    """A verifier of the pair, and the answers not used to train it."""

    checkpoint: Checkpoint
    held: "AnswerTable"


@dataclass(frozen=True, slots=True, eq=False)
class PairCascade:
    """A cascade of the pair at the bound.

    Attributes:
        checkpoint: of the verifier.
        point: what is certified.
        interval: of the mean loss.
        source: of the labels.
    """

    checkpoint: Checkpoint
    point: CascadePoint
    interval: tuple[float, float]
    source: str

    @property
    def facts(self) -> dict[str, Any]:
        """Figures for JSON."""
        return {**cascade_facts(self.point, self.source), "loss_interval": self.interval}

    def beats(self, *, share: float, usd: float | None) -> bool:
        """Whether it is certified and cheaper than a router, in dollars of 1,000 requests or else in strong calls."""
        if not self.point.guarantee.certified:
            return False
        if usd is not None and self.point.usd is not None:
            return 1000.0 * self.point.usd < usd
        return self.point.strong_share < share

    def write(self, path: Path, args: argparse.Namespace) -> None:
        """The verifier with its policy."""
        rule = f"max_loss={args.max_loss:g},confidence={args.confidence:g}"
        facts = {**cascade_facts(self.point, self.source), "confidence": args.confidence}
        write_checkpoint(replace(self.checkpoint, thresholds={rule: facts}), path)

    def lines(self, path: Path, *, better: bool) -> list[str]:
        """Its guarantee, in words."""
        head = f"A cascade that reads the answer of {self.checkpoint.pair.weak} first ({path}): "
        if not self.point.guarantee.certified:
            return ["", f"{head}nothing is certified for it on {self.point.guarantee.n_labels:,} held-out answers."]
        usd, always = self.point.usd, self.point.strong_usd
        low, high = (100.0 * end for end in self.interval)
        bills = ""
        if usd is not None and always:
            saved = f"saves {dollars(1000.0 * (always - usd))} ({1.0 - usd / always:.0%})"
            bills = f"; {dollars(1000.0 * usd)} per 1,000 requests, {saved}"
        use = "It is cheaper than the router alone: configured." if better else "The router alone is cheaper: not used."
        return [
            "",
            f"{head}{self.point.strong_share:.0%} of the answers are the strong model's; same bound (measured "
            f"{100.0 * self.point.loss:.1f} [{low:.1f}, {high:.1f}]){bills}. {use}",
        ]

    def sections(self, config: Path, path: Path, args: argparse.Namespace) -> dict[str, str]:
        """The configuration that serves it."""
        folder = json.dumps(os.path.relpath(path.resolve(), config.resolve().parent))
        pair = self.checkpoint.pair
        names = f"strong: {json.dumps(pair.strong)}, weak: {json.dumps(pair.weak)}"
        return {"cascade": f"cascade:\n  verifier: {folder}\n  pair: {{{names}}}\n  max_loss: {args.max_loss:g}\n"}


def verifier_folder(checkpoints: Path, name: str) -> Path:
    """Folder of the verifier of a checkpoint: beside the folder of routers, which holds only routers."""
    return checkpoints.parent / "verifiers" / name


def read_own_answers(args: argparse.Namespace, *, strong: str, weak: str) -> "AnswerTable | None":
    """The answers of the training table; None if it has none, or there are several tables."""
    from pointsman.backends.data.answers import read_answers
    from pointsman.backends.data.labels import label_columns

    source = mapped(args.data[0], args)
    if not _answer_columns(weak) & set(label_columns(source)):
        return None
    if len(args.data) > 1 or tuple(args.scale) != (0.0, 1.0):
        print("verifier: skipped; it needs a single table of scores in [0, 1]", file=sys.stderr)
        return None
    try:
        return read_answers(source, strong=strong, weak=weak)
    except PointsmanError as error:
        print(f"verifier: not trained: {error}", file=sys.stderr)
        return None


def _answer_columns(weak: str) -> set[str]:
    return {"answer", "signals", "answer_a", "signals_a", f"{weak}_answer", f"{weak}_signals"}


def fit_pair(args: argparse.Namespace, train: "PairOutcomes", held: "PairOutcomes") -> FittedPair | None:
    """A verifier trained on the training prompts; None without answers."""
    table = read_own_answers(args, strong=train.pair.strong, weak=train.pair.weak)
    if table is None:
        return None
    from pointsman.backends.embedders import resolve_embedder
    from pointsman.backends.training.embeddings import embed_prompts
    from pointsman.backends.training.verifier import fit_verifier

    parts = [_of(table, part.prompts) for part in (train, held)]
    if min(map(len, parts)) < _LEAST_ANSWERS:
        told = counted(len(table), "prompt has", "prompts have")
        print(
            f"verifier: not trained: {told} answers, wanted at least {_LEAST_ANSWERS} to train on and as many held out",
            file=sys.stderr,
        )
        return None
    try:
        checkpoint = fit_verifier(parts[0], embed_prompts(parts[0].prompts, resolve_embedder("static")))
    except PointsmanError as error:
        print(f"verifier: not trained: {error}", file=sys.stderr)
        return None
    print(f"verifier: trained on {counted(len(parts[0]), 'answer')}", file=sys.stderr)
    return FittedPair(checkpoint, parts[1])


def _of(table: "AnswerTable", prompts: Sequence[str]) -> "AnswerTable":
    """The rows of some prompts."""
    wanted = set(prompts)
    return table.rows([i for i, prompt in enumerate(table.prompts) if prompt in wanted])


def certify_pair(
    fitted: FittedPair,
    held: "PairOutcomes",
    money: tuple[FloatArray, FloatArray] | None,
    args: argparse.Namespace,
    confidence: float,
) -> PairCascade:
    """The bound certified for the cascade on the held-out answers."""
    verifier, table = read_verifier(fitted.checkpoint, load_embedder(fitted.checkpoint)), fitted.held
    values = verifier.embed(table.prompts)
    answers = [answer for answer in table.answers[1] if answer is not None]
    prompt = verifier.prompt_win_rates(table.prompts, embeddings=values)
    read = verifier.win_rates(table.prompts, answers, embeddings=values)
    strong, weak = table.score[:, 0], table.score[:, 1]
    point = certify_cascade(
        prompt, read, strong, weak, zone=verifier.window(), max_loss=args.max_loss, confidence=confidence,
        usd=_bills(table, held, money), seed=args.seed,
    )  # fmt: skip
    from pointsman.core.cascade import cascade_scores

    kept = cascade_scores(prompt, read, point.zone) < point.threshold
    return PairCascade(fitted.checkpoint, point, loss_interval(np.where(kept, strong - weak, 0.0)), args.data[0])


def _bills(
    table: "AnswerTable", held: "PairOutcomes", money: tuple[FloatArray, FloatArray] | None
) -> tuple[FloatArray, FloatArray] | None:
    """Dollars of each of the table's prompts with the strong and with the weak model."""
    if money is None:
        return None
    place = {prompt: i for i, prompt in enumerate(held.prompts)}
    rows = [place[prompt] for prompt in table.prompts]
    return money[0][rows], money[1][rows]
