"""Access keys: who has access, to which models, how often. Only their hashes are stored.

A key reads pm-<id>-<secret>. The secret has 256 random bits, so one round of SHA-256 is enough to store it safely.
"""

import hashlib
import hmac
import json
import logging
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Protocol

from pointsman.core.errors import ConfigError
from pointsman.core.replace_file import replacing

__all__ = ["AccessKey", "KeyRing", "Keys", "locked", "match_key", "new_key", "read_keys", "revoke_key", "write_keys"]

_LOG = logging.getLogger(__name__)
_PREFIX = "pm"
_RECHECK_S = 1.0


@dataclass(frozen=True, slots=True)
class AccessKey:
    """One key.

    Attributes:
        id: names it; not secret.
        name: whose it is.
        sha256: of the whole key, in hexadecimal.
        created: seconds since 1970.
        models: patterns of the model fields that it may ask for, e.g. ("router-mf*", "auto"); all if None.
        requests_per_minute: limit; none if None.
        tier: label for policies; none if None.
        admin: may see what was asked, and change how it is answered.
    """

    id: str
    name: str
    sha256: str
    created: int
    models: tuple[str, ...] | None = None
    requests_per_minute: int | None = None
    tier: str | None = None
    admin: bool = False

    def allows(self, model: str) -> bool:
        """Whether the key allows a model field."""
        return self.models is None or any(fnmatchcase(model, pattern) for pattern in self.models)


class Keys(Protocol):
    """The keys that are valid now."""

    def find(self, text: str) -> AccessKey | None:
        """The key matching `text`, or None. Returns at once."""
        ...


def new_key(
    name: str,
    *,
    models: tuple[str, ...] | None = None,
    requests_per_minute: int | None = None,
    tier: str | None = None,
    admin: bool = False,
) -> tuple[AccessKey, str]:
    """A new key: as it is stored, and as it is shown to its owner, once.

    Raises:
        ValueError: `requests_per_minute` is not positive.
    """
    if requests_per_minute is not None and requests_per_minute < 1:
        raise ValueError(f"requests_per_minute is {requests_per_minute}, wanted at least 1")
    key_id = secrets.token_hex(4)
    text = f"{_PREFIX}-{key_id}-{secrets.token_urlsafe(32)}"
    return AccessKey(key_id, name, _digest(text), int(time.time()), models, requests_per_minute, tier, admin), text


def read_keys(path: str | os.PathLike[str]) -> dict[str, AccessKey]:
    """The keys of a file, by id.

    Raises:
        ConfigError: it cannot be read or is not a key file.
    """
    try:
        entries = json.loads(Path(path).read_text(encoding="utf-8"))["keys"]
        keys = [_key(entry) for entry in entries]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"key file {path} cannot be read: {error}; make one with `pointsman keys create`") from error
    return {key.id: key for key in keys}


def write_keys(path: str | os.PathLike[str], keys: Mapping[str, AccessKey]) -> None:
    """Replaces a key file atomically; only its owner may read it."""
    with replacing(Path(path)) as staging:
        staging.write_text(json.dumps({"keys": [asdict(key) for key in keys.values()]}, indent=1), encoding="utf-8")


@contextmanager
def locked(path: str | os.PathLike[str]) -> Iterator[None]:
    """Locks a key file, so that no other process changes it between reading and writing."""
    from filelock import FileLock

    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.parent / f".{target.name}.lock", mode=0o600):
        yield


def revoke_key(keys: Mapping[str, AccessKey], key_id: str) -> dict[str, AccessKey]:
    """The keys without one of them.

    Raises:
        ConfigError: no key has that id.
    """
    if key_id not in keys:
        raise ConfigError(f"there is no key {key_id!r}; existing keys: {', '.join(keys) or 'none'}")
    return {other: key for other, key in keys.items() if other != key_id}


def match_key(text: str, keys: Mapping[str, AccessKey]) -> AccessKey | None:
    """The key in `keys`, by id, that matches `text`, or None."""
    parts = text.split("-", 2)
    key = keys.get(parts[1]) if len(parts) == 3 else None
    expected = key.sha256 if key is not None else _digest("")
    return key if hmac.compare_digest(_digest(text), expected) else None


class KeyRing:
    """The keys of a file, reloaded when it changes: a revoked key is rejected within a second."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Reads the file.

        Raises:
            ConfigError: it cannot be read or is not a key file.
        """
        self._path = Path(path)
        self._stamp = self._look()  # before it is read: it may be replaced meanwhile
        self._keys = read_keys(path)
        self._checked_at = time.monotonic()

    def find(self, text: str) -> AccessKey | None:
        """The key matching `text`, or None. Takes the same time for every wrong secret."""
        self._refresh()
        return match_key(text, self._keys)

    def _refresh(self) -> None:
        now = time.monotonic()
        if now - self._checked_at < _RECHECK_S:
            return
        self._checked_at = now
        try:
            stamp = self._look()
            if stamp != self._stamp:
                self._keys, self._stamp = read_keys(self._path), stamp
        except (OSError, ConfigError) as error:
            _LOG.error("%s; the keys are unchanged", error)

    def _look(self) -> tuple[int, int, int] | None:
        """Identifies one version of the file; its time alone does not, since the clock ticks in milliseconds."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None  # which whoever reads it says
        return found.st_ctime_ns, found.st_size, found.st_ino


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _key(entry: Mapping[str, Any]) -> AccessKey:
    """A key of a file.

    Raises:
        TypeError: an entry is malformed.
    """
    key = AccessKey(**{**entry, "models": _patterns(entry.get("models"))})
    if not all(isinstance(text, str) for text in (key.id, key.name, key.sha256, *(key.models or ()))):
        raise TypeError(f"id, name, sha256 and models of key {key.id!r} must be strings")
    if type(key.requests_per_minute) not in (int, type(None)) or not isinstance(key.admin, bool):
        raise TypeError(f"requests_per_minute of key {key.id!r} must be a whole number, admin true or false")
    return key


def _patterns(models: list[str] | None) -> tuple[str, ...] | None:
    if isinstance(models, str):
        raise TypeError(f"models is {models!r}, wanted a list")
    return None if models is None else tuple(models)
