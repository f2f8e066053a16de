"""OpenTelemetry spans of requests, decisions and upstream calls."""

from pointsman.serve.tracing.tracing import Tracing

__all__ = ["Tracing"]
