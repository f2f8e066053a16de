"""The store in the configuration."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from pointsman.serve.config.base import KeyReference, Part, Seconds

__all__ = ["StoreConfig"]


def _check_url(url: str) -> str:
    if url.startswith("env:"):
        return url
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in ("sqlite", "postgresql", "postgres"):
        raise ValueError("wanted sqlite:///PATH, postgresql://USER@HOST/DATABASE, or env:NAME of a variable with one")
    if (":" in rest.partition("@")[0] and "@" in rest) or "password=" in rest:
        raise ValueError(
            "holds a password: put the whole URL into a variable and write env:NAME, "
            "or leave the password to PGPASSWORD or ~/.pgpass"
        )
    return url


StoreUrl = Annotated[str, AfterValidator(_check_url), Field(description="sqlite:///PATH, postgresql://... or env:NAME")]


class StoreConfig(Part):
    """Where decisions, feedback, keys and spend are kept, and what of them.

    Attributes:
        url: of the database, or env:NAME of a variable that holds it; a URL with a password only so.
        prompts: keep the prompts' text, their keyed hash, or nothing of them.
        hash_key: env:NAME of the key of those hashes; one that is made for the database, and kept in it, if None.
        prompt_characters: a longer prompt is kept up to this length; its hash is of the whole.
        embeddings: keep the embeddings of routed prompts, where the router has them.
        retention_days: older decisions, feedback and comparisons are deleted; null to keep all.
        queue_rows: rows that may wait to be written; beyond them the newest are lost, and counted.
        queue_bytes: likewise for their prompts and embeddings.
        batch_rows: rows written in one transaction.
        batch_s: how long a row may wait for others.
        drain_s: for what is queued to be written when the server stops.
    """

    url: StoreUrl = "sqlite:///pointsman.db"
    prompts: Literal["text", "hash", "none"] = "hash"
    hash_key: KeyReference | None = None
    prompt_characters: Annotated[int, Field(gt=0)] = 100_000
    embeddings: bool = False
    retention_days: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = 90.0
    queue_rows: Annotated[int, Field(gt=0)] = 20_000
    queue_bytes: Annotated[int, Field(gt=0)] = 64 * 1024 * 1024
    batch_rows: Annotated[int, Field(gt=0, le=5000)] = 1000
    batch_s: Seconds = 0.25
    drain_s: Seconds = 10.0
