"""OpenTelemetry spans of requests, decisions and upstream calls."""

from pointsman.serve.observers.tracing.spans import Tracing

__all__ = ["Tracing"]
