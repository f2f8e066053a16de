"""Files that come with the package, the static embedder's table and the default router, and how they were made."""

from pathlib import Path

__all__ = ["asset_path"]


def asset_path(name: str) -> Path:
    """Directory of a bundled asset: "static" (embedder) or "mf" (default router)."""
    return Path(__file__).parent / name
