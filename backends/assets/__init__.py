"""Files bundled with the package: the static embedder's table, the common-sense weights, and the default router."""

from pathlib import Path

__all__ = ["asset_path"]


def asset_path(name: str) -> Path:
    """Directory of a bundled asset: "static" and "common_sense" (embedders) or "mf" (default router)."""
    return Path(__file__).parent / name
