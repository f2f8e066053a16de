"""Logs: JSON lines for machines, short lines for terminals, one per request."""

import logging
import os
import sys
import time
from functools import lru_cache
from typing import Any

from pointsman.serve.observers.log_writer import LogWriter
from pointsman.serve.observers.terminal_log import TerminalFormatter
from pointsman.serve.protocols.write_json import write_json
from pointsman.serve.request.record import Record

__all__ = ["log_request", "set_up_logging"]

_PARENT = logging.getLogger("pointsman")
_REQUESTS = logging.getLogger("pointsman.requests")


class _JsonFormatter(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        fields = getattr(record, "fields", None)
        told = fields if fields is not None else {"message": record.getMessage()}
        if record.exc_info:
            told = {**told, "exception": self.formatException(record.exc_info)}
        return _json_line(record.created, record.levelname.lower(), record.name, told).decode()


def _json_line(created: float, level: str, logger: str, fields: dict[str, Any]) -> bytes:
    second = int(created)
    told = f"{_second(second)}.{int((created - second) * 1e3):03d}Z"
    return write_json({"time": told, "level": level, "logger": logger, **fields}, default=str)


class _Summary:
    """The fields of a request as a short line, made only if a formatter needs it."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self._fields = fields

    def __str__(self) -> str:
        return " ".join(f"{name}={value}" for name, value in self._fields.items() if value not in (None, (), [], ""))


def set_up_logging(style: str) -> None:
    """Logs to stderr, from a thread of its own.

    Args:
        style: "json", "pretty" (or "text"), or "auto": pretty where stderr is a terminal.
    """
    pretty = style in ("pretty", "text") or (style == "auto" and sys.stderr.isatty())
    handler = LogWriter(sys.stderr.fileno())
    colours = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    handler.setFormatter(
        TerminalFormatter(colours=colours, descriptor=sys.stderr.fileno()) if pretty else _JsonFormatter()
    )
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False  # nobody prints them
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("uvicorn").setLevel(logging.WARNING)


def log_request(record: Record) -> None:
    """Logs one served request, without any of its content; an observer of records."""
    if not _REQUESTS.isEnabledFor(logging.INFO):
        return
    fields = _fields(record)
    if (writer := _only_writer()) is not None:
        writer.put(_json_line(record.ended_clock_s, "info", _REQUESTS.name, fields))
        return
    entry = logging.LogRecord(_REQUESTS.name, logging.INFO, __file__, 0, _Summary(fields), (), None)
    entry.fields = fields
    _REQUESTS.handle(entry)


def _only_writer() -> LogWriter | None:
    """The handler, if it is the only one and writes JSON: going through `logging` costs twice as much as the line."""
    handlers = logging.getLogger().handlers
    if len(handlers) != 1 or _REQUESTS.handlers or _PARENT.handlers:
        return None
    return (
        writer
        if isinstance(writer := handlers[0], LogWriter) and isinstance(writer.formatter, _JsonFormatter)
        else None
    )


def _fields(record: Record) -> dict[str, Any]:
    context, decision, usage = record.context, record.decision, record.usage
    return {
        "request_id": record.id,
        "path": record.path,
        "key": context.key.id if context is not None and context.key is not None else None,
        "outcome": record.outcome,
        "status": record.status,
        "stream": record.stream,
        "model": record.model,
        "router": decision.router if decision else None,
        "win_rate": _round(decision.win_rate if decision else None),
        "threshold": _round(decision.threshold if decision else None),
        "policy": decision.policy if decision else None,
        "reason": decision.reason if decision else None,
        "rule": decision.rule if decision else None,
        "tries": list(record.trail),
        "input_tokens": usage.input_tokens if usage else None,
        "output_tokens": usage.output_tokens if usage else None,
        "cost_usd": _round(record.cost_usd, 12),
        "routing_ms": _round(record.routing_ms, 3),
        "upstream_ms": _round(record.upstream_ms, 3),
        "total_ms": _round(record.total_ms, 3),
    }


@lru_cache(maxsize=4)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def _round(value: float | None, digits: int = 6) -> float | None:
    return None if value is None else round(value, digits)
