"""An API key that is never shown."""

import json
import os
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import quote

from pointsman.core.errors import ConfigError

__all__ = ["Secret", "read_key"]

_PREFIX = "env:"
_SHORTEST_WORD = 12


@dataclass(frozen=True, slots=True)
class Secret:
    """A value that no repr, log or error shows.

    Attributes:
        source: where it came from, e.g. "env:OPENAI_API_KEY"; safe to show.
    """

    source: str
    value: str = field(repr=False)

    def redact(self, data: bytes) -> bytes:
        """`data` with every occurrence of the value masked, plain or as JSON or URLs escape it.

        A short word such as "ollama", the placeholder for a service that needs no key, is kept: it is not a secret,
        and an answer may well contain it.
        """
        if not (self.value.isalpha() and len(self.value) < _SHORTEST_WORD):
            for form in _forms(self.value):
                data = data.replace(form, b"[redacted]")
        return data


def read_key(reference: str) -> Secret:
    """The key that `env:NAME` names.

    Raises:
        ConfigError: the variable is not set, is empty, or holds characters that no HTTP header can carry.
    """
    name = reference.removeprefix(_PREFIX)
    value = os.environ.get(name, "").strip()
    if not value:
        raise ConfigError(f"environment variable {name} is not set, wanted an API key in it")
    if not value.isascii() or not value.isprintable():
        raise ConfigError(f"environment variable {name} holds characters that no HTTP header can carry")
    return Secret(_PREFIX + name, value)


@lru_cache(maxsize=256)
def _forms(value: str) -> tuple[bytes, ...]:
    escaped = json.dumps(value)[1:-1]
    forms = (value, escaped, escaped.replace("/", r"\/"), quote(value, safe=""), quote(value))
    return tuple(dict.fromkeys(form.encode() for form in forms))
