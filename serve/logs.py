"""Logs: JSON lines for machines, short lines for terminals, one per request."""

import logging
import sys
import time
from typing import Any

import orjson

from pointsman.serve.record import Record

__all__ = ["log_request", "set_up_logging"]

_REQUESTS = logging.getLogger("pointsman.requests")


class _JsonFormatter(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        fields = getattr(record, "fields", None)
        entry.update(fields if fields is not None else {"message": record.getMessage()})
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(entry, default=str).decode()


def set_up_logging(style: str) -> None:
    """Logs to stderr.

    Args:
        style: "json", "text", or "auto": text where stderr is a terminal.
    """
    as_text = style == "text" or (style == "auto" and sys.stderr.isatty())
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s") if as_text else _JsonFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("uvicorn").setLevel(logging.WARNING)


def log_request(record: Record) -> None:
    """Logs one served request, without any of its content; an observer of records."""
    if not _REQUESTS.isEnabledFor(logging.INFO):
        return
    fields = _fields(record)
    text = " ".join(f"{name}={value}" for name, value in fields.items() if value not in (None, (), [], ""))
    _REQUESTS.info("%s", text, extra={"fields": fields})


def _fields(record: Record) -> dict[str, Any]:
    decision = record.decision
    return {
        "request_id": record.id,
        "path": record.path,
        "outcome": record.outcome,
        "status": record.status,
        "stream": record.stream,
        "model": record.model,
        "router": decision.router if decision else None,
        "win_rate": _round(decision.win_rate if decision else None),
        "threshold": _round(decision.threshold if decision else None),
        "reason": decision.reason if decision else None,
        "tries": list(record.trail),
        "routing_ms": _ms(record.routing_s),
        "upstream_ms": _ms(record.upstream_s),
        "total_ms": _ms(record.total_s),
    }


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(1e3 * seconds, 3)


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
