"""Telemetry in the configuration."""

from pointsman.serve.config.base import Part

__all__ = ["TelemetryConfig"]


class TelemetryConfig(Part):
    """OpenTelemetry.

    Attributes:
        traces: OpenTelemetry spans of requests, decisions and upstream calls. The standard OTEL_* environment
            variables set the destination; spans contain no prompts or answers.
    """

    traces: bool = False
