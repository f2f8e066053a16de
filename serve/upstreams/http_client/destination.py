"""URL and common headers of an upstream's requests."""

from collections.abc import Mapping
from dataclasses import dataclass

from yarl import URL

from pointsman.serve.upstreams.http_client.proxies import environment_proxy

__all__ = ["Destination", "header_lines"]

_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Destination:
    """One URL.

    Attributes:
        url: as configured.
        headers: of every request.
        origin: scheme, host and port, which a connection belongs to.
        head: the beginning of every request, up to its length.
        proxy: the environment's proxy for it; None for a direct connection.
    """

    url: URL
    headers: Mapping[str, str]
    origin: tuple[str, str, int]
    head: bytes
    proxy: str | None

    @classmethod
    def of(cls, url: str, headers: Mapping[str, str]) -> "Destination":
        """The destination of POST requests with these headers.

        Raises:
            ConfigError: the environment names a proxy that cannot be used.
        """
        parsed = URL(url)
        host = parsed.raw_host or ""
        port = parsed.port or _DEFAULT_PORTS[parsed.scheme]
        first = f"POST {parsed.raw_path_qs} HTTP/1.1\r\nhost: {parsed.host_port_subcomponent}\r\n".encode("ascii")
        head = first + header_lines(headers)
        return cls(parsed, headers, (parsed.scheme, host, port), head, environment_proxy(url))


def header_lines(headers: Mapping[str, str]) -> bytes:
    """Headers as sent; invalid ones are left out."""
    lines = [f"{name}: {value}\r\n" for name, value in headers.items() if not {"\r", "\n", "\0"} & set(value)]
    return "".join(lines).encode("latin-1", "replace")
