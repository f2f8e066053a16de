"""Log lines for people: a request is one line of 80 to 120 characters, in colours where a terminal shows them."""

import logging
import os
import time
from collections.abc import Mapping
from typing import Any

from pointsman.core.dollars import dollars

__all__ = ["TerminalFormatter"]

_GREEN, _YELLOW, _RED, _DIM = "32", "33", "31", "2"
_WIDEST, _WIDE, _NARROWEST = 120, 86, 80  # characters of a line; with `_WIDE` for a request there is room for tokens
_LEVELS = {"WARNING": _YELLOW, "ERROR": _RED, "CRITICAL": _RED}


class TerminalFormatter(logging.Formatter):
    """Requests as columns, everything else as time, level and message."""

    def __init__(self, *, colours: bool, descriptor: int = -1) -> None:
        """Makes lines as wide as the terminal at `descriptor`, or of 120 characters without one."""
        super().__init__()
        self._colours, self._descriptor = colours, descriptor

    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%H:%M:%S", time.localtime(record.created))
        fields = getattr(record, "fields", None)
        if fields is not None:
            status = fields["status"] or 500
            colour = _RED if status >= 500 else _YELLOW if status >= 400 else _GREEN
            shown = f"{fields['status'] or '-':>3}"
            begin = f"{self._painted(f'{at}  ', _DIM)}{self._painted(shown, colour)}  "
            return begin + request_line(fields, self._width() - len(f"{at}  200  "))
        level = self._painted(record.levelname.lower(), _LEVELS.get(record.levelname, _DIM))
        line = f"{self._painted(at, _DIM)}  {level}  {record.getMessage()}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line

    def _width(self) -> int:
        """Width of a line: the terminal's, also after resizing."""
        try:
            columns = os.get_terminal_size(self._descriptor).columns
        except OSError:
            return _WIDEST
        return min(max(columns, _NARROWEST), _WIDEST)

    def _painted(self, text: str, colour: str) -> str:
        return f"\033[{colour}m{text}\033[0m" if self._colours else text


def request_line(fields: Mapping[str, Any], width: int = _WIDEST) -> str:
    """Model, why it was chosen, tokens, dollars, time, and anything unusual, in at most `width` characters.

    Unknown fields are blank. If there is not enough room, tokens are dropped first, and then anything unusual
    replaces why.
    """
    wide = width >= _WIDE
    model_chars, why_chars = (24, 18) if wide else (20, 16)
    why, odd = _why(fields), _odd(fields)
    if odd and not wide:
        why, odd = odd, ""
    tokens = ""
    if fields["input_tokens"] is not None or fields["output_tokens"] is not None:
        tokens = f"{fields['input_tokens'] or 0:,}+{fields['output_tokens'] or 0:,} tok"
    cost = "" if fields["cost_usd"] is None else dollars(fields["cost_usd"])
    took = f"{fields['total_ms']:,.0f} ms" if fields["total_ms"] is not None else ""
    line = f"{_cut(fields['model'] or '-', model_chars):<{model_chars}}  {_cut(why, why_chars):<{why_chars}}  "
    line += f"{tokens:>15}  " if wide else ""
    return _cut(f"{line}{cost:>9}  {took:>9}  {odd}".rstrip(), width)


def _cut(text: str, width: int) -> str:
    """At most this many characters, none of which moves the cursor."""
    shown = text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)
    return shown if len(shown) <= width else f"{shown[: width - 1]}…"


def _why(fields: Mapping[str, Any]) -> str:
    """The win rate and the threshold, or that the request named its model."""
    rate, threshold = fields["win_rate"], fields["threshold"]
    if rate is None or threshold is None:
        return str(fields["router"] or "named")
    return f"{fields['router']} {rate:.2f} {'>=' if rate >= threshold else '<'} {threshold:.2f}"


def _odd(fields: Mapping[str, Any]) -> str:
    """The key, if known, and anything unusual."""
    outcome, reason = fields["outcome"], fields["reason"]
    said = [outcome if outcome != "answered" else None, reason if reason != "win_rate" else None]
    return "  ".join(text for text in (fields["key"], ", ".join(text for text in said if text)) if text)
