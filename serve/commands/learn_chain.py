"""The cascade of many models that `pointsman learn --candidates` learns from a table with answers.

It is chosen on the training prompts for half of the bound, and tested once on prompts not used to choose it: the bound
holds for it with the stated confidence.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pointsman.core.arrays import FloatArray
from pointsman.core.chain import Played, play_chain
from pointsman.core.counted import counted
from pointsman.core.dollars import dollars
from pointsman.core.errors import PointsmanError
from pointsman.core.loss_tests import betting_p_value
from pointsman.core.verifier import read_verifier
from pointsman.serve.checkpoints.load import load_embedder
from pointsman.serve.commands.learn_report import loss_interval
from pointsman.serve.commands.learn_verifier import read_own_answers
from pointsman.serve.commands.training.verifier import chain_configuration

if TYPE_CHECKING:
    from pointsman.backends.data.answers import AnswerTable
    from pointsman.backends.data.score_tables import ScoreTable
    from pointsman.backends.training.chain import Chain

__all__ = ["LearnedChain", "learn_chain"]


@dataclass(frozen=True, slots=True, eq=False)
class LearnedChain:
    """A cascade, and its results on the held-out answers.

    Attributes:
        chain: its models, verifiers and thresholds.
        losses: against the reference, shape (n_held,).
        played: who answered, and the dollars of all calls.
        reference: the model that it is compared with.
        reference_usd: its mean dollars.
    """

    chain: "Chain"
    losses: FloatArray
    played: Played
    reference: str
    reference_usd: float

    @property
    def usd(self) -> float:
        """Mean dollars of a held-out prompt."""
        return float(self.played.usd.mean())

    @property
    def facts(self) -> dict[str, Any]:
        """Figures for JSON."""
        answered = {name: float((self.played.answered == k).mean()) for k, name in enumerate(self.chain.models)}
        return {
            "models": list(self.chain.models),
            "thresholds": list(self.chain.thresholds),
            "answered": answered,
            "loss": float(self.losses.mean()),
            "loss_interval": loss_interval(self.losses),
            "usd_per_1000": 1000.0 * self.usd,
            "n_labels": len(self.losses),
        }

    def certified(self, max_loss: float, confidence: float, *, seed: int) -> bool:
        """Whether the mean loss is at most `max_loss` with this confidence."""
        order = np.random.default_rng(seed).permutation(len(self.losses))
        error = 1.0 - confidence
        return betting_p_value(self.losses[order], max_loss, error=error) <= error

    def serves(self, candidates: Sequence[str]) -> bool:
        """Whether a router of these candidates can precede it: every model it may choose must be in the cascade."""
        return set(candidates) <= set(self.chain.models)

    def write(self, path: Path) -> None:
        """Writes its verifiers, in numbered folders, and a configuration that serves it alone."""
        from pointsman.backends.export import export_verifier

        for place, verifier in enumerate(self.chain.verifiers, start=1):
            export_verifier(verifier, path / str(place))
        (path / "cascade.yaml").write_text(chain_configuration(self.chain, path), encoding="utf-8")

    def section(self, config: Path, path: Path) -> str:
        """The key `cascade` of a configuration."""
        folder = Path(os.path.relpath(path.resolve(), config.resolve().parent))
        return chain_configuration(self.chain, folder).partition("\n")[2]

    def lines(self, path: Path, max_loss: float, confidence: float, *, seed: int, better: bool) -> list[str]:
        """Its guarantee, in words."""
        facts = self.facts
        low, high = (100.0 * end for end in facts["loss_interval"])
        answers = ", ".join(f"{share:.0%} by {name}" for name, share in facts["answered"].items())
        saved = self.reference_usd - self.usd
        verb = "saves" if saved >= 0.0 else "costs more by"
        held = f"a loss of at most {100.0 * max_loss:g} points is certified"
        if not self.certified(max_loss, confidence, seed=seed):
            held = held.replace("is certified", "is not certified")
            if facts["loss"] <= max_loss:
                held += f", which takes more than {counted(len(self.losses), 'label')} at such losses"
        use = (
            "It is cheaper than the router alone: configured."
            if better
            else f"Not used: the router serves alone; {path / 'cascade.yaml'} would serve it, with its models alone."
        )
        return [
            "",
            f"A cascade that reads answers, {' before '.join(self.chain.models)} ({path}): answered {answers}; {held} "
            f"(measured {100.0 * facts['loss']:.1f}, roughly {low:.1f} to {high:.1f}: a certificate needs stronger "
            f"evidence than such an interval); {dollars(1000.0 * self.usd)} per 1,000 "
            f"requests, {verb} {dollars(1000.0 * abs(saved))} ({abs(saved) / (self.reference_usd or 1.0):.0%}). {use}",
        ]


def learn_chain(args: argparse.Namespace, train: "ScoreTable", held: "ScoreTable") -> LearnedChain | None:
    """The cheapest cascade on the training prompts, played on the held-out ones; None without answers or bills."""
    table = read_own_answers(args, strong=train.models[0], weak=train.models[-1])
    if table is None:
        return None
    from pointsman.backends.embedders import resolve_embedder
    from pointsman.backends.training.chain import fit_chain
    from pointsman.backends.training.embeddings import embed_prompts

    learned, others = set(train.prompts), set(held.prompts)
    part = table.rows([i for i, prompt in enumerate(table.prompts) if prompt in learned])
    try:
        values = embed_prompts(part.prompts, resolve_embedder("static"))
        chain = fit_chain(part, values, list(train.models), max_loss=args.max_loss / 2.0)
        test = _complete(table.rows([i for i, prompt in enumerate(table.prompts) if prompt in others]), held.models)
        played = _played(chain, test)
    except PointsmanError as error:
        print(f"no cascade: {error}", file=sys.stderr)
        return None
    print(f"cascade: {' before '.join(chain.models)}, from {counted(len(part), 'prompt')}", file=sys.stderr)
    reference = test.models.index(held.models[0])
    losses = test.score[:, reference] - played.score
    return LearnedChain(chain, losses, played, held.models[0], float(test.usd[:, reference].mean()))


def _complete(table: "AnswerTable", models: tuple[str, ...]) -> "AnswerTable":
    """The rows on which every model has a score, an answer and a bill."""
    from pointsman.core.errors import DataError

    places = [table.models.index(name) for name in models if name in table.models]
    known = np.isfinite(table.score[:, places]).all(axis=1) & np.isfinite(table.usd[:, places]).all(axis=1)
    for k in places:
        known &= np.array([answer is not None for answer in table.answers[k]], dtype=bool)
    if not known.any() or len(places) < len(models):
        raise DataError("no held-out prompt has answers, scores and cost_usd of all candidates")
    return table.rows(np.flatnonzero(known).tolist())


def _played(chain: "Chain", table: "AnswerTable") -> Played:
    """What the chain does with a table's answers, as it is served."""
    places = [table.models.index(name) for name in chain.models]
    prompt, read = [], []
    for checkpoint, place in zip(chain.verifiers, places, strict=False):
        verifier = read_verifier(checkpoint, load_embedder(checkpoint))
        values = verifier.embed(table.prompts)
        answers = [answer for answer in table.answers[place] if answer is not None]
        prompt.append(verifier.prompt_win_rates(table.prompts, embeddings=values))
        read.append(verifier.win_rates(table.prompts, answers, embeddings=values))
    return play_chain(
        prompt, read, chain.thresholds, chain.zones, score=table.score[:, places], usd=table.usd[:, places]
    )
