"""A digest of a configuration's values and of the checkpoints that it names."""

import hashlib
from pathlib import Path

from pointsman.serve.checkpoints.load import checkpoint_folder
from pointsman.serve.config import Config

__all__ = ["checkpoint_files", "config_digest"]

_META = "pointsman.json"  # holds the hashes of a checkpoint's other files


def checkpoint_files(config: Config) -> tuple[Path, ...]:
    """For each of the user's checkpoints, the file that changes whenever any of its files does."""
    folders = [checkpoint_folder(router.kind or name, router.checkpoint) for name, router in config.routers.items()]
    return tuple(folder / _META for folder in folders if folder is not None)


def config_digest(config: Config) -> str:
    """First 16 hexadecimal digits of the SHA-256 of the values and the checkpoints; keys are part of neither."""
    digest = hashlib.sha256(config.model_dump_json().encode())
    for path in checkpoint_files(config):
        digest.update(b"\0" + (path.read_bytes() if path.is_file() else b""))
    return digest.hexdigest()[:16]
