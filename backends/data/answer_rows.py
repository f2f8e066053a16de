"""The answer in a row of a table, with its log-probabilities and whatever else is known of it."""

import json
import math
from typing import Any

from pointsman.backends.data.tables import Table
from pointsman.backends.data.values import is_missing, number
from pointsman.core.answer_signals import SIGNALS, Answer, KnownSignals
from pointsman.core.errors import DataError

__all__ = ["ANSWER_FACTS", "row_answers"]

ANSWER_FACTS = (
    "answer",
    "signals",
    "confidence",
    "logprobs",
    "output_tokens",
    "finish_reason",
    "agreement",
    "p_true",
    "checker",
)


def row_answers(table: Table) -> list[Answer | KnownSignals | None]:
    """The answer of each row of a table with columns `answer` and any of the further facts, or its signals; None
    without either.

    Raises:
        DataError: a value is malformed; the message gives its row.
    """
    facts = {name: table.columns[name] for name in ANSWER_FACTS if name in table.columns}
    return [
        _answer({name: values[i] for name, values in facts.items()}, f"{table.source}, row {table.first_row + i}")
        for i in range(len(table))
    ]


def _answer(facts: dict[str, Any], where: str) -> Answer | KnownSignals | None:
    if not is_missing(facts.get("signals")):
        return _signals(facts["signals"], where)
    text = facts.get("answer")
    if text is None or text != text:  # NaN is how pandas leaves a text out
        return None
    if not isinstance(text, str):
        raise DataError(f"{where}: answer is {text!r:.80}, wanted a text")
    numbers = {
        name: _optional_number(facts.get(name), name, where, low, high)
        for name, low, high in (
            ("confidence", -math.inf, 1e-6),
            ("output_tokens", 0.0, math.inf),
            ("agreement", 0.0, 1.0),
            ("p_true", 0.0, 1.0),
            ("checker", 0.0, 1.0),
        )
    }
    tokens = numbers.pop("output_tokens")
    reason = facts.get("finish_reason")
    return Answer(
        text,
        token_logprobs=_logprobs(facts.get("logprobs"), where),
        output_tokens=None if tokens is None else int(tokens),
        finish_reason=str(reason) if reason else None,
        **numbers,
    )


def _signals(value: Any, where: str) -> KnownSignals:
    try:
        found = json.loads(value) if isinstance(value, str) else value
        numbers = {str(name): float(number) for name, number in found.items() if number is not None}
        if unknown := sorted(set(numbers) - set(SIGNALS)):
            raise ValueError(unknown[0])
        if not all(map(math.isfinite, numbers.values())):
            raise ValueError
    except (AttributeError, TypeError, ValueError) as error:
        raise DataError(
            f'{where}: signals are {value!r:.80}, wanted a mapping of numbers such as {{"tokens": 5.0}}, as '
            f"`pointsman judge` and `export-battles --as answers` write it"
        ) from error
    return numbers


def _optional_number(value: Any, name: str, where: str, low: float, high: float) -> float | None:
    if is_missing(value):
        return None
    found = number(value)
    if not (math.isfinite(found) and low <= found <= high):
        bounds = "a log-probability, at most 0" if name == "confidence" else f"a number in [{low:g}, {high:g}]"
        raise DataError(f"{where}: {name} is {value!r:.80}, wanted {bounds}")
    return found


def _logprobs(value: Any, where: str) -> tuple[float, ...]:
    if is_missing(value):
        return ()
    try:
        found = json.loads(value) if isinstance(value, str) else value
        numbers = tuple(float(number) for number in found)
        if not all(math.isfinite(number) and number <= 1e-6 for number in numbers):
            raise ValueError
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: logprobs is {value!r:.80}, wanted a list of log-probabilities, at most 0") from error
    return numbers
