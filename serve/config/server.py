"""The HTTP server in the configuration."""

from typing import Annotated, Literal

from pydantic import Field

from pointsman.serve.config.base import Name, Part, Seconds

__all__ = ["ServerConfig"]


class ServerConfig(Part):
    """The HTTP server and its limits.

    Attributes:
        max_body_bytes: of a request.
        body_timeout_s: for a request's body to arrive.
        routing_timeout_s: for a decision; the strong model answers where it takes longer.
        drain_timeout_s: for the requests that are being served when the server is told to stop.
        cors_origins: origins whose pages may ask from a browser.
        keys_file: access keys, made by `pointsman keys`; without it everyone who reaches the server may ask.
        watch: reload when the configuration file or a checkpoint that it names changes; SIGHUP reloads in any case.
        log: json lines, text, or auto: text where stderr is a terminal.
        log_requests: one line per request.
    """

    host: Name = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 6060
    max_body_bytes: Annotated[int, Field(gt=0)] = 32 * 1024 * 1024
    body_timeout_s: Seconds = 60.0
    routing_timeout_s: Seconds = 2.0
    drain_timeout_s: Seconds = 60.0
    cors_origins: Annotated[tuple[Name, ...], Field(strict=False)] = ()
    keys_file: str | None = None
    watch: bool = True
    log: Literal["auto", "json", "text"] = "auto"
    log_requests: bool = True
