"""The files of the page: read once, compressed once, under a path that changes with their content."""

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

__all__ = ["Asset", "Assets", "read_assets"]

_TYPES = {
    "html": b"text/html; charset=utf-8",
    "js": b"text/javascript; charset=utf-8",
    "css": b"text/css; charset=utf-8",
    "svg": b"image/svg+xml",
    "txt": b"text/plain; charset=utf-8",
}
_PAGE = "index.html"
_VERSION = b"{version}"


@dataclass(frozen=True, slots=True)
class Asset:
    """One file.

    Attributes:
        type: its media type.
        body: as it is.
        compressed: with gzip.
        tag: for If-None-Match.
    """

    type: bytes
    body: bytes
    compressed: bytes
    tag: bytes


@dataclass(frozen=True, slots=True)
class Assets:
    """All files.

    Attributes:
        page: the page itself; it names the others under `version`.
        version: changes when a file does.
        others: by path.
    """

    page: Asset
    version: str
    others: dict[str, Asset]


@cache
def read_assets() -> Assets:
    """The files of the installed package."""
    root = files("pointsman.serve.dashboard") / "static"
    bodies: dict[str, bytes] = {}
    folders = [("", root)]
    while folders:
        prefix, folder = folders.pop()
        for entry in folder.iterdir():
            if entry.is_dir():
                folders.append((f"{prefix}{entry.name}/", entry))
            elif entry.name.rpartition(".")[2] in _TYPES:
                bodies[prefix + entry.name] = entry.read_bytes()
    digest = hashlib.sha256(b"\0".join(name.encode() + b"\0" + body for name, body in sorted(bodies.items())))
    version = digest.hexdigest()[:12]
    page = bodies.pop(_PAGE).replace(_VERSION, version.encode())
    return Assets(_asset(_PAGE, page), version, {name: _asset(name, body) for name, body in bodies.items()})


def _asset(name: str, body: bytes) -> Asset:
    tag = b'"%s"' % hashlib.sha256(body).hexdigest()[:16].encode()
    return Asset(_TYPES[name.rpartition(".")[2]], body, gzip.compress(body, 9, mtime=0), tag)
