"""From an OpenAI-compatible answer to the next token's probabilities, and from those to a win rate."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from pointsman.core.errors import UpstreamError

__all__ = ["ScoreReading", "TokenProbabilities", "read_answer", "read_scores"]

_MIN_SCORE_MASS = 0.5
_MAX_UNCERTAINTY = 0.1
_ROUNDING = 1e-4


@dataclass(frozen=True, slots=True)
class TokenProbabilities:
    """The likeliest next tokens.

    Attributes:
        tokens: text of each listed token, surrounding blanks removed.
        probabilities: of each, in [0, 1], their sum at most 1 but for rounding.
    """

    tokens: tuple[str, ...]
    probabilities: tuple[float, ...]

    @property
    def unlisted_limit(self) -> float:
        """Most that any token that is not listed can have: no more than the least listed, nor than what is left."""
        return max(0.0, min(min(self.probabilities), 1.0 - sum(self.probabilities)))


@dataclass(frozen=True, slots=True)
class ScoreReading:
    """A win rate, or the fallback to strong with its reason.

    Attributes:
        win_rate: in [0, 1].
        low: least win rate that the unlisted tokens leave possible; `win_rate` is the greatest.
        reason: why `win_rate` is 1 for lack of a valid score; None for a valid reading.
    """

    win_rate: float
    low: float
    reason: str | None = None


def read_answer(body: bytes, url: str) -> TokenProbabilities:
    """Probabilities of the first token of a chat or text completion.

    Raises:
        UpstreamError: the answer is not a completion, or has no probabilities.
    """
    try:
        choice = orjson.loads(body)["choices"][0]
        listed = _listed(choice.get("logprobs"))
    except (orjson.JSONDecodeError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise UpstreamError(f"{url} answered something that is not a completion: {body[:200]!r}") from error
    if not listed:
        raise UpstreamError(
            f"{url} answered without logprobs, which the win rate is read from; serve the model with an engine that "
            "gives them (vLLM, llama.cpp, Ollama from 0.12.11, OpenAI), or take another router"
        )
    tokens, values = zip(*listed, strict=True)
    if not all(isinstance(value, int | float) and math.isfinite(value) and value <= _ROUNDING for value in values):
        raise UpstreamError(f"{url} answered logprobs {values!r:.200}, wanted finite numbers of at most 0")
    probabilities = tuple(math.exp(min(value, 0.0)) for value in values)
    if sum(probabilities) > 1.0 + _ROUNDING * len(probabilities):
        raise UpstreamError(f"{url} answered probabilities that add up to {sum(probabilities):.4f}, wanted at most 1")
    return TokenProbabilities(tuple(str(token).strip() for token in tokens), probabilities)


def read_scores(found: TokenProbabilities, score_tokens: Sequence[str], *, score_threshold: int) -> ScoreReading:
    """Win rate = share of the scores below the threshold in the probability of all scores.

    A score that is not listed has at most `unlisted_limit`. The win rate is the greatest that this allows, so that a
    short list errs towards strong, and there is none (1, with a reason) where scores have less than half of the
    probability, or the list leaves more than 0.1 of the win rate open.

    Args:
        score_tokens: texts of the scores, lowest first.
        score_threshold: lowest score at which the weak model suffices, 1 to the number of scores.
    """
    mass = [
        sum(p for token, p in zip(found.tokens, found.probabilities, strict=True) if token == score)
        for score in score_tokens
    ]
    if sum(mass) < _MIN_SCORE_MASS:
        said = found.tokens[max(range(len(found.tokens)), key=found.probabilities.__getitem__)]
        reason = f"invalid output: scores have {sum(mass):.0%} of the probability, the likeliest token is {said!r}"
        return ScoreReading(1.0, 0.0, reason)
    below, above = mass[: score_threshold - 1], mass[score_threshold - 1 :]
    least, most = sum(below), sum(above)
    left = max(0.0, 1.0 - sum(found.probabilities))
    more_below = min(left, found.unlisted_limit * below.count(0))
    more_above = min(left, found.unlisted_limit * above.count(0))
    low, high = least / (least + most + more_above), (least + more_below) / (least + more_below + most)
    if high - low > _MAX_UNCERTAINTY:
        reason = f"invalid output: the tokens listed leave the win rate between {low:.2f} and {high:.2f}"
        return ScoreReading(1.0, low, reason)
    return ScoreReading(high, low)


def _listed(logprobs: Any) -> list[tuple[Any, Any]]:
    """Token and log-probability pairs of the first position, of either of the two formats; empty where none."""
    if not logprobs:
        return []
    if logprobs.get("content"):
        return [(item["token"], item["logprob"]) for item in logprobs["content"][0].get("top_logprobs") or []]
    tops = logprobs.get("top_logprobs") or [{}]
    first: Mapping[str, Any] = tops[0] or {}
    return list(first.items())
