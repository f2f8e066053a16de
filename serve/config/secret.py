"""An API key that does not show itself."""

import os
from dataclasses import dataclass, field

from pointsman.core.errors import ConfigError

__all__ = ["Secret", "read_key"]

_PREFIX = "env:"


@dataclass(frozen=True, slots=True)
class Secret:
    """A value that no repr, log or error shows.

    Attributes:
        source: where it came from, e.g. "env:OPENAI_API_KEY"; safe to show.
    """

    source: str
    value: str = field(repr=False)

    def redact(self, data: bytes) -> bytes:
        """`data` with every occurrence of the value blotted out."""
        return data.replace(self.value.encode(), b"[redacted]")


def read_key(reference: str) -> Secret:
    """The key that `env:NAME` names.

    Raises:
        ConfigError: the variable is not set, is empty, or holds what no HTTP header can carry.
    """
    name = reference.removeprefix(_PREFIX)
    value = os.environ.get(name, "").strip()
    if not value:
        raise ConfigError(f"environment variable {name} is not set, wanted an API key in it")
    if not value.isascii() or not value.isprintable():
        raise ConfigError(f"environment variable {name} holds characters that no HTTP header can carry")
    return Secret(_PREFIX + name, value)
