"""Connects to a Ray cluster, or starts one of this machine's cores."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pointsman.core.errors import ConfigError, MissingExtraError

__all__ = ["connected", "import_ray"]

_MAJOR = "2"
_FIRST_MINOR = 40


def import_ray() -> Any:
    """The module `ray`.

    Raises:
        MissingExtraError: it is not installed.
        ConfigError: it is another version than one that works.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError("ray", "ray") from error
    major, minor = ray.__version__.split(".")[:2]
    if major != _MAJOR or int(minor) < _FIRST_MINOR:
        raise ConfigError(
            f"Ray {ray.__version__} is installed, wanted {_MAJOR}.{_FIRST_MINOR} or a later {_MAJOR}.x: "
            f'pip install "ray>={_MAJOR}.{_FIRST_MINOR},<{int(_MAJOR) + 1}"'
        )
    return ray


@contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """The module `ray`, connected for the length of a block; not again where it is connected already.

    Args:
        address: of a cluster, "auto" for the one on this machine; None starts one that ends with the block.

    Raises:
        ConfigError: there is no cluster at the address.
    """
    ray = import_ray()
    if ray.is_initialized():
        yield ray
        return
    try:
        ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ConfigError(f"no Ray cluster answers at {address or 'this machine'}: {error}") from error
    try:
        yield ray
    finally:
        ray.shutdown()
