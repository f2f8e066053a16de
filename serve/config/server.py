"""The HTTP server in the configuration."""

from typing import Annotated, Literal

from pydantic import Field

from pointsman.serve.config.base import Name, Part, Seconds

__all__ = ["ServerConfig"]


class ServerConfig(Part):
    """The HTTP server and its limits.

    Attributes:
        max_body_bytes: largest body of a request.
        max_total_body_bytes: all bodies together that are held or still arriving, per process; beyond it requests get a
            503 with Retry-After. Bodies of up to 64 kB that arrive at once are not counted.
        max_header_bytes: largest request line and headers together.
        header_timeout_s: for the headers to arrive.
        body_timeout_s: for a request's body to arrive.
        stall_timeout_s: for a client to read more of its answer before it is disconnected.
        ping_s: silence in a stream after which the client gets a comment that keeps the connection alive; the first one
            starts the response, so a later error of the upstream arrives as an event of the stream.
        routing_timeout_s: for a decision; the strong model answers if it takes longer.
        drain_timeout_s: for requests in flight to finish when the server stops.
        cors_origins: origins whose pages may send requests from a browser.
        keys_file: access keys, made by `pointsman keys`; without keys everyone who reaches the server has access.
        keys: "store" to keep the access keys in the store instead (`pointsman keys --store`).
        watch: reload when the configuration file or a checkpoint that it names changes; SIGHUP reloads in any case.
        log: json, pretty (lines for people; also called text), or auto: pretty where stderr is a terminal, else json.
        log_requests: one line per request.
    """

    host: Name = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 6060
    max_body_bytes: Annotated[int, Field(gt=0)] = 32 * 1024 * 1024
    max_total_body_bytes: Annotated[int, Field(gt=0)] = 256 * 1024 * 1024
    max_header_bytes: Annotated[int, Field(ge=1024)] = 64 * 1024
    header_timeout_s: Seconds = 20.0
    body_timeout_s: Seconds = 60.0
    stall_timeout_s: Seconds = 60.0
    ping_s: Seconds = 15.0
    routing_timeout_s: Seconds = 2.0
    drain_timeout_s: Seconds = 60.0
    cors_origins: Annotated[tuple[Name, ...], Field(strict=False)] = ()
    keys_file: str | None = None
    keys: Literal["store"] | None = None
    watch: bool = True
    log: Literal["auto", "json", "pretty", "text"] = "auto"
    log_requests: bool = True

    @property
    def asks_for_keys(self) -> bool:
        """Whether requests need an access key."""
        return self.keys_file is not None or self.keys is not None
