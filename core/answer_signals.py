"""Numbers read from a model's answer alone, without further calls: a verifier learns from them.

    doubt   = log(1 - exp(confidence)), confidence the log-probability that the model gives its own answer: as
              reported, or the mean over the answer's tokens
    margin  = log-probability of the first token minus that of its runner-up
    wrong_equations = share of the answer's equations between numbers ("3 * 60 = 180") that do not hold

A signal that an answer does not have is NaN. Only the beginning and the end of a text are read, so that the time
is bounded.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from pointsman.core.arrays import FloatArray

__all__ = [
    "OPTIONAL_SIGNALS",
    "PROBABILITY_SIGNALS",
    "SIGNALS",
    "Answer",
    "KnownSignals",
    "answer_signals",
    "hedges",
    "is_refusal",
    "known_signals",
]

PROBABILITY_SIGNALS = ("doubt", "worst_token", "margin", "first_tokens")
_TEXT_SIGNALS = (
    "prompt_characters",
    "characters",
    "tokens",
    "short",
    "truncated",
    "equations",
    "wrong_equations",
    "numbers_used",
    "states_result",
    "decimal_result",
    "ends_openly",
    "hedges",
    "refusal",
)
OPTIONAL_SIGNALS = ("agreement", "p_true", "checker")
SIGNALS = (*PROBABILITY_SIGNALS, *_TEXT_SIGNALS, *OPTIONAL_SIGNALS)

_LEAST_DOUBT = 1e-7
_MOST_NATS = 20.0
_FIRST = 4
_SHORT_TOKENS = 2
_MAX_CHARACTERS = 20_000
_MAX_PROMPT_NUMBERS = 50
_TOLERANCE = 0.011
_NUMBER = r"\$?\d[\d,]{0,15}(?:\.\d{1,9})?"
_EQUATION = re.compile(rf"(?<![\d.,])({_NUMBER}%?(?:\s?[-+*/x×÷]\s?{_NUMBER}%?){{1,8}})\s?=\s?({_NUMBER})")
_OPERATION = re.compile(rf"({_NUMBER})(%?)\s?([-+*/x×÷]?)")
_RESULT = re.compile(r"####|\\boxed|\banswer(?: is|:)", re.IGNORECASE)
_HEDGE = re.compile(
    r"\b(?:however|assum\w{1,8}|wait|mistake|incorrect|approximately|roughly|perhaps|maybe|might be|not sure|unclear"
    r"|depends|it seems|i think|i believe|not enough)\b",
    re.IGNORECASE,
)
_REFUSAL = re.compile(
    r"\b(?:i(?: am|['’]m) (?:sorry|unable|not able)|i (?:can(?:not|['’]t)|do(?: not|n['’]t) know|won['’]t)"
    r"|as an ai\b|(?:cannot|can['’]t|unable to) (?:help|assist|answer|comply|provide|determine))",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What is known about one model's answer to one prompt.

    Attributes:
        text: of the answer.
        confidence: log-probability that the model gives its answer, at most 0; None if unknown.
        token_logprobs: of each token, in order; empty if unknown.
        margin: nats between the first token and its runner-up; None if unknown.
        output_tokens: number of billed tokens.
        finish_reason: as OpenAI names it, e.g. "stop" or "length".
        agreement: share of further samples that give the same answer, in [0, 1].
        p_true: probability that a model gives to the answer being right, when asked, in [0, 1].
        checker: score by an external checker, in [0, 1].
    """

    text: str
    confidence: float | None = None
    token_logprobs: tuple[float, ...] = ()
    margin: float | None = None
    output_tokens: int | None = None
    finish_reason: str | None = None
    agreement: float | None = None
    p_true: float | None = None
    checker: float | None = None


KnownSignals: TypeAlias = Mapping[str, float]  # of an answer whose text was not kept


def answer_signals(prompts: Sequence[str], answers: Sequence[Answer | KnownSignals | None]) -> dict[str, FloatArray]:
    """All `SIGNALS` of some answers, shape (n_prompts,) each; NaN where an answer does not have one.

    Args:
        answers: one per prompt; its signals where its text was not kept; None where there is no answer, whose signals
            are NaN but for the prompt's own.

    Raises:
        ValueError: there are not as many answers as prompts.
    """
    if len(prompts) != len(answers):
        raise ValueError(f"there are {len(answers)} answers to {len(prompts)} prompts, wanted one to each")
    rows = [_row(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)]
    table = np.array(rows, dtype=np.float64).reshape(len(rows), len(SIGNALS))
    return {name: table[:, k] for k, name in enumerate(SIGNALS)}


def known_signals(prompt: str, answer: Answer) -> dict[str, float]:
    """The signals that an answer has, to be stored instead of it."""
    row = zip(SIGNALS, _row(prompt, answer), strict=True)
    return {name: value for name, value in row if not math.isnan(value)}


def hedges(text: str) -> int:
    """Number of words of doubt in a text."""
    return sum(1 for _ in _HEDGE.finditer(_ends(text)))


def is_refusal(text: str) -> bool:
    """Whether a text begins with a refusal."""
    return _REFUSAL.search(text[:200]) is not None


def _row(prompt: str, answer: Answer | KnownSignals | None) -> list[float]:
    if isinstance(answer, Mapping):
        return [answer.get(name, math.nan) for name in SIGNALS]
    prompt_characters = math.log1p(len(prompt))
    if answer is None:
        return [prompt_characters if name == "prompt_characters" else math.nan for name in SIGNALS]
    text = _ends(answer.text)
    equations = [_holds(m[1], m[2]) for m in _EQUATION.finditer(text)]
    numbers = re.findall(_NUMBER, text)
    last = numbers[-1] if numbers else ""
    n_tokens = answer.output_tokens
    return [
        *_probabilities(answer),
        prompt_characters,
        math.log1p(len(answer.text)),
        math.nan if n_tokens is None else math.log1p(n_tokens),
        float(len(answer.text) <= 8 if n_tokens is None else n_tokens <= _SHORT_TOKENS),
        float(answer.finish_reason == "length"),
        math.log1p(len(equations)),
        1.0 - sum(equations) / len(equations) if equations else 0.0,
        _numbers_used(prompt, numbers),
        float(_RESULT.search(text) is not None),
        float("." in last),
        float(text.rstrip()[-1:].isalpha()),
        math.log1p(hedges(text)),
        float(is_refusal(text)),
        *(math.nan if value is None else value for value in (answer.agreement, answer.p_true, answer.checker)),
    ]


def _probabilities(answer: Answer) -> list[float]:
    tokens = answer.token_logprobs
    confidence = answer.confidence
    if confidence is None and tokens:
        confidence = sum(tokens) / len(tokens)
    return [
        math.nan if confidence is None else math.log(max(_LEAST_DOUBT, -math.expm1(min(0.0, confidence)))),
        max(-_MOST_NATS, min(tokens)) if tokens else math.nan,
        math.nan if answer.margin is None else min(_MOST_NATS, answer.margin),
        max(-_MOST_NATS, sum(tokens[:_FIRST]) / len(tokens[:_FIRST])) if tokens else math.nan,
    ]


def _ends(text: str) -> str:
    half = _MAX_CHARACTERS // 2
    return text if len(text) <= _MAX_CHARACTERS else f"{text[:half]}\n{text[-half:]}"


def _numbers_used(prompt: str, numbers: Sequence[str]) -> float:
    """Share of the prompt's numbers that the answer mentions; 1 where the prompt has none."""
    wanted = [_plain(number) for number in re.findall(_NUMBER, _ends(prompt))[:_MAX_PROMPT_NUMBERS]]
    found = {_plain(number) for number in numbers}
    return sum(number in found for number in wanted) / len(wanted) if wanted else 1.0


def _plain(number: str) -> str:
    return number.strip("$,").replace(",", "")


def _holds(left: str, right: str) -> bool:
    """Whether the left side, products before sums, is about the right one."""
    total, product, sign, operator = 0.0, 1.0, 1.0, "*"
    for number, percent, following in _OPERATION.findall(left):
        value = float(_plain(number)) / (100.0 if percent else 1.0)
        if operator in "/÷":
            product = product / value if value else math.inf
        elif operator in "*x×":
            product *= value
        else:
            total, product, sign = total + sign * product, value, -1.0 if operator == "-" else 1.0
        operator = following
    total += sign * product
    return math.isfinite(total) and abs(total - float(_plain(right))) <= _TOLERANCE * max(1.0, abs(total))
