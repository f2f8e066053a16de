"""Log lines for people: one request in about a hundred characters, in colours where a terminal shows them."""

import logging
import time
from collections.abc import Mapping
from typing import Any

from pointsman.core.dollars import dollars

__all__ = ["TerminalFormatter", "request_line"]

_GREEN, _YELLOW, _RED, _DIM = "32", "33", "31", "2"
_MODEL_CHARS, _REASON_CHARS = 24, 36
_LEVELS = {"WARNING": _YELLOW, "ERROR": _RED, "CRITICAL": _RED}


class TerminalFormatter(logging.Formatter):
    """Requests as columns, everything else as time, level and message."""

    def __init__(self, *, colours: bool) -> None:
        super().__init__()
        self._colours = colours

    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%H:%M:%S", time.localtime(record.created))
        fields = getattr(record, "fields", None)
        if fields is not None:
            colour = _RED if (fields["status"] or 500) >= 500 else _YELLOW if fields["status"] >= 400 else _GREEN
            return self._painted(f"{at}  ", _DIM) + self._painted(f"{fields['status'] or '-':>3}", colour) + (
                f"  {request_line(fields)}"
            )  # fmt: skip
        level = self._painted(record.levelname.lower(), _LEVELS.get(record.levelname, _DIM))
        line = f"{self._painted(at, _DIM)}  {level}  {record.getMessage()}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line

    def _painted(self, text: str, colour: str) -> str:
        return f"\033[{colour}m{text}\033[0m" if self._colours else text


def request_line(fields: Mapping[str, Any]) -> str:
    """Model, why it was chosen, tokens, dollars and time; what is not known is left blank."""
    model = (fields["model"] or "-")[:_MODEL_CHARS]
    tokens = ""
    if fields["input_tokens"] is not None or fields["output_tokens"] is not None:
        tokens = f"{fields['input_tokens'] or 0:,}+{fields['output_tokens'] or 0:,} tok"
    cost = "" if fields["cost_usd"] is None else dollars(fields["cost_usd"])
    took = f"{fields['total_ms']:,.0f} ms" if fields["total_ms"] is not None else ""
    key = f"  {fields['key']}" if fields["key"] else ""
    return (
        f"{model:<{_MODEL_CHARS}}  {_why(fields):<18}  {tokens:>15}  {cost:>9}  {took:>9}{key}{_said(fields)}".rstrip()
    )


def _why(fields: Mapping[str, Any]) -> str:
    """The win rate beside the threshold, or that the request named its model."""
    rate, threshold = fields["win_rate"], fields["threshold"]
    if rate is None or threshold is None:
        return str(fields["router"] or "named")
    return f"{fields['router']} {rate:.2f} {'>=' if rate >= threshold else '<'} {threshold:.2f}"


def _said(fields: Mapping[str, Any]) -> str:
    """What is out of the ordinary."""
    odd = [fields["outcome"] if fields["outcome"] not in ("answered", None) else "", fields["reason"] or ""]
    shown = ", ".join(text for text in odd if text and text != "win_rate")
    return f"  {shown[:_REASON_CHARS]}" if shown else ""
