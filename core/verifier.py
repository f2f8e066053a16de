"""The verifier: the strong model's win rate once the cheap model's answer has been read.

    benefit  = P(strong right, cheap wrong) - P(cheap right, strong wrong)
    win rate = (1 + benefit) / 2

A cheap answer that is wrong is not worth asking on where the strong model would fail, too: the benefit says what asking
on repairs. It is linear in features of the answer and the prompt, standardised on the training rows:

    SIGNALS            see `core.answer_signals`
    rank               rank of the doubt among the cheap model's training answers, in [0, 1]: calibrated per model
    weak_record        what the cheap model scored on the k training prompts nearest to this one, weighted as in
    strong_record      `core.knn`; and the strong one
    longer             tokens (or characters) of the answer beyond those of the neighbours' answers, in logarithms
    win_rate           a router's for the prompt, where the verifier was trained with one
    products           rank x strong_record, rank x tokens, tokens squared

A checkpoint holds several such heads, the richest first: the first whose signals an answer has all of reads it, so that
a model without log-probabilities is read without them. Head "prompt" predicts the same from the prompt alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pointsman.core.answer_signals import SIGNALS, Answer, KnownSignals, answer_signals
from pointsman.core.arrays import AnyFloatArray, Float32Array, FloatArray
from pointsman.core.cascade import Window, window
from pointsman.core.checkpoint import Checkpoint
from pointsman.core.embedding import CANARIES, Embedder, check_canaries, check_identity
from pointsman.core.errors import CheckpointError, EmbedderMismatchError
from pointsman.core.knn import neighbour_means
from pointsman.core.pair import ModelPair

__all__ = ["KIND", "Head", "Verifier", "features", "read_verifier"]

KIND = "verifier"
_RECORDS = ("weak_record", "strong_record", "usual_length")


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """benefit = intercept + weights . (features - mean) / scale, clipped to [-1, 1].

    Attributes:
        names: of the features, in order.
        mean, scale, weights: shape (n_features,).
    """

    names: tuple[str, ...]
    mean: FloatArray
    scale: FloatArray
    weights: FloatArray
    intercept: float

    def win_rates(self, columns: Mapping[str, FloatArray]) -> FloatArray:
        """Win rates in [0, 1], shape (n_prompts,); NaN where a feature is."""
        table = np.stack([columns[name] for name in self.names], axis=1)
        benefit = self.intercept + ((table - self.mean) / self.scale) @ self.weights
        return np.asarray((1.0 + np.clip(benefit, -1.0, 1.0)) / 2.0)


class Verifier:
    """Reads the cheap model's answers; see the module.

    Args:
        pair: the models, strong and cheap ("weak").
        embed: embedder of the training prompts.
        embeddings: of the training prompts, unit norm, float32, shape (n_prompts, dim).
        records: of each training prompt, what weak and strong scored and how long the weak answer was, shape
            (n_prompts, 3).
        doubts: quantiles of the weak model's doubt in training, shape (n_quantiles,); empty without probabilities.
        heads: by name, the richest first, "prompt" among them.
        residuals: answer's minus prompt's win rate on rows left out of training, shape (n_residuals,).
        usd, seconds: mean per prompt of (weak, strong); None where they are not known.
    """

    def __init__(
        self,
        pair: ModelPair,
        embed: Embedder,
        embeddings: Float32Array,
        records: FloatArray,
        *,
        doubts: FloatArray,
        heads: Mapping[str, Head],
        residuals: FloatArray,
        k: int,
        temperature: float,
        usd: tuple[float, float] | None = None,
        seconds: tuple[float, float] | None = None,
    ) -> None:
        self.pair = pair
        self.embed = embed
        self.embeddings = embeddings
        self.records = records
        self.doubts = doubts
        self.heads = dict(heads)
        self.residuals = residuals
        self.k, self.temperature = k, temperature
        self.usd, self.seconds = usd, seconds

    @property
    def reads_win_rate(self) -> bool:
        """Whether it was trained with a router's win rates and needs one per prompt."""
        return any("win_rate" in head.names for head in self.heads.values())

    def reads(self, signal: str) -> bool:
        """Whether its richest head needs a signal of the answer, e.g. "doubt"."""
        return signal in next(iter(self.heads.values())).names

    def prompt_win_rates(
        self, prompts: Sequence[str], *, embeddings: AnyFloatArray | None = None, win_rates: FloatArray | None = None
    ) -> FloatArray:
        """Win rates from the prompts alone, in [0, 1], shape (n_prompts,)."""
        columns = self._columns(prompts, [None] * len(prompts), embeddings, win_rates)
        return self.heads["prompt"].win_rates(columns)

    def win_rates(
        self,
        prompts: Sequence[str],
        answers: Sequence[Answer | KnownSignals],
        *,
        embeddings: AnyFloatArray | None = None,
        win_rates: FloatArray | None = None,
    ) -> FloatArray:
        """Win rates after the cheap model's answers were read, in [0, 1], shape (n_prompts,).

        Args:
            embeddings: of the prompts by this verifier's embedder, shape (n_prompts, dim); computed if None.
            win_rates: a router's for the prompts, where `reads_win_rate`.
        """
        columns = self._columns(prompts, answers, embeddings, win_rates)
        found = np.full(len(prompts), np.nan)
        for head in self.heads.values():  # the last one needs the prompt alone
            missing = np.isnan(found)
            if missing.any():
                found[missing] = head.win_rates({name: values[missing] for name, values in columns.items()})
        return found

    def window(
        self, *, weak_usd: float | None = None, strong_usd: float | None = None, verifier_usd: float = 0.0
    ) -> Window:
        """The grey zone at these dollars of a prompt; at those of training, or of a free cheap model, if None."""
        usd = (weak_usd, strong_usd) if weak_usd is not None and strong_usd is not None else self.usd
        weak, strong = usd if usd is not None else (0.0, 1.0)
        return window(self.residuals, weak_usd=weak, strong_usd=strong, verifier_usd=verifier_usd)

    def _columns(
        self,
        prompts: Sequence[str],
        answers: Sequence[Answer | KnownSignals | None],
        embeddings: AnyFloatArray | None,
        win_rates: FloatArray | None,
    ) -> dict[str, FloatArray]:
        values = self.embed(prompts) if embeddings is None else embeddings
        records = neighbour_means(self.embeddings, self.records, values, k=self.k, temperature=self.temperature)
        return features(answer_signals(prompts, answers), records, self.doubts, win_rates=win_rates)


def features(
    signals: Mapping[str, FloatArray],
    records: FloatArray,
    doubts: FloatArray,
    *,
    win_rates: FloatArray | None = None,
) -> dict[str, FloatArray]:
    """All features of some prompts and answers, by name, shape (n_prompts,) each.

    Args:
        signals: of the answers, see `answer_signals`.
        records: of each prompt's neighbours, shape (n_prompts, 3).
        doubts: sorted doubts of the model in training; empty if there are none.
        win_rates: a router's for the prompts.
    """
    found = {name: signals[name] for name in SIGNALS} | dict(zip(_RECORDS, records.T, strict=True))
    doubt, length = found["doubt"], np.where(np.isnan(found["tokens"]), found["characters"], found["tokens"])
    rank = np.full(len(doubt), np.nan)
    if doubts.size:
        sides = [np.searchsorted(doubts, doubt, side=side) for side in ("left", "right")]
        rank = np.where(np.isnan(doubt), np.nan, (sides[0] + sides[1]) / (2.0 * doubts.size))
    return {
        **found,
        "rank": rank,
        "longer": length - found["usual_length"],
        "win_rate": np.full(len(doubt), np.nan) if win_rates is None else np.asarray(win_rates, dtype=np.float64),
        "rank x strong_record": (rank - 0.5) * found["strong_record"],
        "rank x tokens": (rank - 0.5) * found["tokens"],
        "tokens squared": found["tokens"] ** 2,
    }


def read_verifier(checkpoint: Checkpoint, embed: Embedder | None) -> Verifier:
    """The verifier of a checkpoint.

    Args:
        embed: the embedder that it was trained with; its identity and canaries are checked.

    Raises:
        CheckpointError: it is a router, or lacks something.
        EmbedderMismatchError: `embed` is missing, another one, or has drifted since training.
    """
    where = f"checkpoint {str(checkpoint.path or checkpoint.kind)!r}"
    if checkpoint.kind != KIND:
        raise CheckpointError(
            f"{where} is a router of kind {checkpoint.kind!r}, wanted a verifier: make one with "
            "`pointsman train verifier`"
        )
    if embed is None or checkpoint.embedder is None or checkpoint.canaries is None:
        raise EmbedderMismatchError(f"{where} of kind {KIND!r} needs an embedder with its canaries, and has none")
    check_identity(checkpoint.embedder, embed.identity)
    check_canaries(checkpoint.canaries, embed(CANARIES), checkpoint.embedder.name)
    embeddings, records = checkpoint.array("embeddings", ndim=2), checkpoint.array("records", ndim=2)
    options = checkpoint.options
    try:
        names: dict[str, list[str]] = options["heads"]
        heads = {name: _head(checkpoint, name, tuple(used)) for name, used in names.items()}
        k, temperature = int(options["k"]), float(options["temperature"])
        usd, seconds = (_two(options.get(name)) for name in ("usd", "seconds"))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{where}: its heads, k, temperature, usd or seconds are malformed: {error!r}") from error
    if records.shape != (len(embeddings), len(_RECORDS)) or "prompt" not in heads or k < 1 or not temperature > 0:
        raise CheckpointError(f"{where}: records of shape {records.shape} and heads {list(heads)} do not fit together")
    return Verifier(
        checkpoint.pair,
        embed,
        embeddings.astype(np.float32),
        records.astype(np.float64),
        doubts=checkpoint.array("doubts", ndim=1).astype(np.float64),
        heads=heads,
        residuals=checkpoint.array("residuals", ndim=1).astype(np.float64),
        k=k,
        temperature=temperature,
        usd=usd,
        seconds=seconds,
    )


def _head(checkpoint: Checkpoint, name: str, used: tuple[str, ...]) -> Head:
    table = checkpoint.array(f"head.{name}", ndim=2).astype(np.float64)
    known = features({signal: np.zeros(1) for signal in SIGNALS}, np.zeros((1, 3)), np.zeros(0))
    unknown = [feature for feature in used if feature not in known]
    if table.shape != (3, len(used) + 1) or unknown or not (table[1, 1:] > 0).all():
        raise CheckpointError(
            f"checkpoint {str(checkpoint.path)!r}: head {name!r} has shape {table.shape} for {len(used)} features"
            + (f", of which {unknown[0]!r} is unknown" if unknown else "")
        )
    return Head(used, table[0, 1:], table[1, 1:], table[2, 1:], float(table[2, 0]))


def _two(values: Sequence[float] | None) -> tuple[float, float] | None:
    if values is None:
        return None
    weak, strong = values
    return float(weak), float(strong)
