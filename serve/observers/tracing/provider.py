"""The span exporter, configured by OpenTelemetry's standard environment variables."""

import os
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from pointsman.core.errors import ConfigError, MissingExtraError

__all__ = ["make_provider"]

_EXPORTERS = "opentelemetry_traces_exporter"


def make_provider() -> tuple[Any, bool]:
    """The tracer provider, and whether it was created here.

    An existing one, for example by `opentelemetry-instrument`, is used. Otherwise OTEL_SERVICE_NAME,
    OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER, OTEL_BSP_*, OTEL_EXPORTER_OTLP_*, OTEL_SDK_DISABLED apply, and
    of OTEL_TRACES_EXPORTER "otlp", over HTTP, "console", "none", and the names that other packages register.

    Raises:
        MissingExtraError: OpenTelemetry is not installed.
        ConfigError: no such exporter is installed.
    """
    try:
        trace: Any = import_module("opentelemetry.trace")
        sdk: Any = import_module("opentelemetry.sdk.trace")
        exporting: Any = import_module("opentelemetry.sdk.trace.export")
        resources: Any = import_module("opentelemetry.sdk.resources")
    except ModuleNotFoundError as error:
        raise MissingExtraError("opentelemetry-sdk", "otel") from error
    present = trace.get_tracer_provider()
    if isinstance(present, sdk.TracerProvider):
        return present, False
    named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": "pointsman"}
    provider = sdk.TracerProvider(resource=resources.Resource.create(named))
    for name in os.environ.get("OTEL_TRACES_EXPORTER", "otlp").split(","):
        if name.strip() not in ("", "none"):
            provider.add_span_processor(exporting.BatchSpanProcessor(_exporter(name.strip())))
    return provider, True


def _exporter(name: str) -> Any:
    if name == "otlp":
        try:
            module: Any = import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter")
        except ModuleNotFoundError as error:
            raise MissingExtraError("opentelemetry-exporter-otlp-proto-http", "otel") from error
        return module.OTLPSpanExporter()
    for point in entry_points(group=_EXPORTERS, name=name):
        return point.load()()
    known = sorted({"otlp", "none", *(point.name for point in entry_points(group=_EXPORTERS))})
    raise ConfigError(f"OTEL_TRACES_EXPORTER names {name!r}, wanted one of {', '.join(known)}")
