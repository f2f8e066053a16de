"""Telemetry in the configuration."""

from pointsman.serve.config.base import Part

__all__ = ["TelemetryConfig"]


class TelemetryConfig(Part):
    """What is told to others while requests are served.

    Attributes:
        traces: OpenTelemetry spans of requests, decisions and upstream calls. Where they go is said by the standard
            OTEL_* environment variables; prompts and answers are not in them.
    """

    traces: bool = False
