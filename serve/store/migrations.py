"""Migrates an empty or older database to this version's tables: numbered steps, forward only, in one transaction.

A step that has been released is never changed; a change of the schema is a new step. (Our own, and not Alembic: it is
these lines, against 90 ms of import and three packages, and the lock and the refusal of newer schemas would be ours
all the same.)
"""

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from pointsman.core.errors import StoreError

__all__ = ["MIGRATIONS", "migrate"]

_LOCK = 0x706F696E74736D6E  # names our lock among PostgreSQL's advisory locks
_TYPES = {
    "sqlite": {"blob": "BLOB", "ordered": "TEXT"},
    "postgresql": {"blob": "BYTEA", "ordered": 'TEXT COLLATE "C"'},
}

_FIRST = (
    """
    CREATE TABLE decisions (
        id {ordered} NOT NULL PRIMARY KEY, request_id TEXT NOT NULL, at BIGINT NOT NULL, path TEXT NOT NULL,
        requested TEXT, model TEXT, decided TEXT, router TEXT, checkpoint TEXT, win_rate DOUBLE PRECISION,
        threshold DOUBLE PRECISION, policy TEXT, reason TEXT, key_id TEXT, tier TEXT, session TEXT, prompt_hash TEXT,
        prompt TEXT, embedding {blob}, input_tokens BIGINT, output_tokens BIGINT, cached_tokens BIGINT,
        usage_estimated BOOLEAN NOT NULL, cost_usd DOUBLE PRECISION, strong_usd DOUBLE PRECISION,
        weak_usd DOUBLE PRECISION, outcome TEXT NOT NULL, status INTEGER NOT NULL, stream BOOLEAN NOT NULL,
        trail TEXT NOT NULL, routing_ms DOUBLE PRECISION, upstream_ms DOUBLE PRECISION,
        total_ms DOUBLE PRECISION NOT NULL
    )
    """,
    "CREATE INDEX decisions_request_id ON decisions (request_id, id)",
    "CREATE INDEX decisions_model ON decisions (model, id)",
    "CREATE INDEX decisions_key_id ON decisions (key_id, id)",
    "CREATE INDEX decisions_unanswered ON decisions (outcome, id) WHERE outcome <> 'answered'",
    """
    CREATE TABLE feedback (
        id {ordered} NOT NULL PRIMARY KEY, request_id TEXT NOT NULL, at BIGINT NOT NULL, kind TEXT NOT NULL,
        value DOUBLE PRECISION NOT NULL, key_id TEXT, comment TEXT
    )
    """,
    "CREATE INDEX feedback_request_id ON feedback (request_id, id)",
    """
    CREATE TABLE comparisons (
        id {ordered} NOT NULL PRIMARY KEY, request_id TEXT NOT NULL, at BIGINT NOT NULL, model_a TEXT NOT NULL,
        model_b TEXT NOT NULL, outcome DOUBLE PRECISION NOT NULL, judge TEXT NOT NULL, cost_usd DOUBLE PRECISION,
        tokens_a BIGINT, tokens_b BIGINT
    )
    """,
    "CREATE INDEX comparisons_request_id ON comparisons (request_id, id)",
    """
    CREATE TABLE spend (
        at BIGINT NOT NULL, key_id TEXT NOT NULL, model TEXT NOT NULL, writer TEXT NOT NULL, n_requests BIGINT NOT NULL,
        input_tokens BIGINT NOT NULL, output_tokens BIGINT NOT NULL, cost_usd DOUBLE PRECISION NOT NULL,
        PRIMARY KEY (at, key_id, model, writer)
    )
    """,
    """
    CREATE TABLE keys (
        id TEXT NOT NULL PRIMARY KEY, name TEXT NOT NULL, sha256 TEXT NOT NULL, created BIGINT NOT NULL, models TEXT,
        requests_per_minute INTEGER, tier TEXT, admin BOOLEAN NOT NULL, revoked_at BIGINT
    )
    """,
    """
    CREATE TABLE status (
        name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL, version INTEGER NOT NULL, at BIGINT NOT NULL
    )
    """,
)

_SECOND = (  # clients choose request ids, and two may choose the same
    "ALTER TABLE feedback ADD COLUMN decision_id TEXT",
    "ALTER TABLE comparisons ADD COLUMN decision_id TEXT",
    """
    UPDATE feedback SET decision_id = (
        SELECT max(d.id) FROM decisions AS d WHERE d.request_id = feedback.request_id AND d.id < feedback.id
        AND (feedback.key_id IS NULL OR d.key_id = feedback.key_id)
    )
    """,
    """
    UPDATE comparisons SET decision_id = (
        SELECT max(d.id) FROM decisions AS d WHERE d.request_id = comparisons.request_id AND d.id < comparisons.id
        AND d.model = comparisons.model_a
    )
    """,
)

_THIRD = (  # `begin` is a word of SQL
    """
    CREATE TABLE budget_accounts (
        name TEXT NOT NULL, "begin" BIGINT NOT NULL, drawn_usd DOUBLE PRECISION NOT NULL,
        granted_usd DOUBLE PRECISION NOT NULL, PRIMARY KEY (name, "begin")
    )
    """,
)

_FOURTH = (
    "CREATE TABLE sessions (session TEXT NOT NULL PRIMARY KEY, model TEXT NOT NULL, at BIGINT NOT NULL)",
    "CREATE INDEX sessions_at ON sessions (at)",
)

_FIFTH = (
    """
    CREATE TABLE autopilot (
        id {ordered} NOT NULL PRIMARY KEY, at BIGINT NOT NULL, generation INTEGER NOT NULL,
        score DOUBLE PRECISION NOT NULL, loss DOUBLE PRECISION NOT NULL, probability DOUBLE PRECISION NOT NULL,
        n_undrawn INTEGER NOT NULL, plan TEXT NOT NULL, agreed BOOLEAN NOT NULL, cost_usd DOUBLE PRECISION NOT NULL,
        embedding {blob}, counted INTEGER NOT NULL
    )
    """,
    "CREATE INDEX autopilot_counted ON autopilot (counted, id)",
)

_SIXTH = (
    "ALTER TABLE autopilot ADD COLUMN others TEXT NOT NULL DEFAULT '[]'",
    "ALTER TABLE autopilot ADD COLUMN win_rate DOUBLE PRECISION",
    "ALTER TABLE autopilot ADD COLUMN n_characters INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE autopilot ADD COLUMN label_share DOUBLE PRECISION NOT NULL DEFAULT 0",
    "ALTER TABLE autopilot ADD COLUMN wants_label INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE autopilot ADD COLUMN label DOUBLE PRECISION",
    "ALTER TABLE autopilot ADD COLUMN shown TEXT NOT NULL DEFAULT 'null'",
)

_SEVENTH = (  # of any number of models
    "ALTER TABLE decisions ADD COLUMN reference TEXT",
    "ALTER TABLE decisions ADD COLUMN weighed TEXT",
    "ALTER TABLE decisions ADD COLUMN share DOUBLE PRECISION",
    "ALTER TABLE decisions ADD COLUMN expected_usd DOUBLE PRECISION",
)

_EIGHTH: Sequence[str] = tuple(  # what a verifier learns from
    f"ALTER TABLE comparisons ADD COLUMN {name} TEXT" for name in ("answer_a", "answer_b", "signals_a", "signals_b")
)

_NINTH: Sequence[str] = ("ALTER TABLE decisions ADD COLUMN rule TEXT",)

_TENTH: Sequence[str] = (  # the autopilot among more than two candidates
    "ALTER TABLE autopilot ADD COLUMN until DOUBLE PRECISION",
    "ALTER TABLE autopilot ADD COLUMN candidate TEXT",
)

_ELEVENTH: Sequence[str] = ("ALTER TABLE autopilot ADD COLUMN win_rates TEXT NOT NULL DEFAULT '[]'",)

MIGRATIONS: tuple[Sequence[str], ...] = (
    _FIRST, _SECOND, _THIRD, _FOURTH, _FIFTH, _SIXTH, _SEVENTH, _EIGHTH, _NINTH, _TENTH,
    _ELEVENTH,
)  # fmt: skip


async def migrate(connection: AsyncConnection, steps: Sequence[Sequence[str]] = MIGRATIONS) -> None:
    """Runs the steps still missing in the database, within the connection's transaction, which must be for writing.

    Raises:
        StoreError: the database was made by a later version.
    """
    dialect = connection.dialect.name
    if dialect == "postgresql":
        await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    await connection.execute(text("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)"))
    found = (await connection.execute(text("SELECT max(version) FROM schema_version"))).scalar() or 0
    if found > len(steps):
        raise StoreError(
            f"the store's schema is version {found}, but this Pointsman knows {len(steps)}: a newer one has used "
            "it; upgrade Pointsman, or name another database as store.url"
        )
    for number, statements in enumerate(steps[found:], start=found + 1):
        for statement in statements:
            await connection.execute(text(statement.format(**_TYPES[dialect])))
        await connection.execute(text("INSERT INTO schema_version VALUES (:version)"), {"version": number})
