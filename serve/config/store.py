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
    """The database of decisions, feedback, keys and spending, and what it keeps.

    Attributes:
        url: URL of the database, or env:NAME of a variable that holds it (required for a URL with a password).
        prompts: store the text of prompts, their keyed hash, or nothing.
        hash_key: env:NAME of the key of those hashes; if None, a key is generated and stored in the database.
        prompt_characters: longer prompts are truncated to this length; their hash is of all that is routed.
        embeddings: keep the embeddings of routed prompts, where the router has them.
        retention_days: age at which decisions, feedback and comparisons are deleted; null to keep all.
        queue_rows: most rows waiting to be written; beyond that the newest are dropped and counted.
        queue_bytes: likewise for their prompts and embeddings.
        batch_rows: rows written in one transaction.
        batch_s: how long a row may wait for others.
        drain_s: for queued rows to be written when the server stops.
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
