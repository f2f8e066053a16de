"""The store's tables. `migrations.py` makes them; a test holds the two together."""

from collections.abc import Sequence
from typing import Any

import orjson
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    text,
)
from sqlalchemy.types import TypeDecorator

__all__ = [
    "TABLES",
    "UNANSWERED",
    "Json",
    "Moment",
    "Words",
    "autopilot",
    "comparisons",
    "decisions",
    "feedback",
    "keys",
    "spend",
    "status",
]


class Moment(TypeDecorator[float]):
    """Seconds since 1970, kept as whole milliseconds."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: float | None, dialect: Dialect) -> int | None:
        return None if value is None else round(1000.0 * value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> float | None:
        return None if value is None else value / 1000.0


class Json(TypeDecorator[Any]):
    """JSON types, kept as text."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return orjson.dumps(value).decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else orjson.loads(value)


class OptionalJson(Json):
    """Likewise; None is no value."""

    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else super().process_bind_param(value, dialect)


class Words(TypeDecorator[Sequence[str]]):
    """A tuple of strings, kept as a JSON array."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Sequence[str] | None, dialect: Dialect) -> str | None:
        return None if value is None else orjson.dumps(value).decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> Sequence[str] | None:
        return None if value is None else tuple(orjson.loads(value))


TABLES = MetaData()
UNANSWERED = text("outcome <> 'answered'")

decisions = Table(
    "decisions",
    TABLES,
    Column("id", Text, primary_key=True),
    Column("request_id", Text, nullable=False),
    Column("at", Moment, nullable=False),
    Column("path", Text, nullable=False),
    Column("requested", Text),
    Column("model", Text),
    Column("decided", Text),
    Column("router", Text),
    Column("checkpoint", Text),
    Column("win_rate", Double),
    Column("threshold", Double),
    Column("policy", Text),
    Column("reason", Text),
    Column("key_id", Text),
    Column("tier", Text),
    Column("session", Text),
    Column("prompt_hash", Text),
    Column("prompt", Text),
    Column("embedding", LargeBinary),
    Column("input_tokens", BigInteger),
    Column("output_tokens", BigInteger),
    Column("cached_tokens", BigInteger),
    Column("usage_estimated", Boolean, nullable=False),
    Column("cost_usd", Double),
    Column("strong_usd", Double),
    Column("weak_usd", Double),
    Column("outcome", Text, nullable=False),
    Column("status", Integer, nullable=False),
    Column("stream", Boolean, nullable=False),
    Column("trail", Words, nullable=False),
    Column("routing_ms", Double),
    Column("upstream_ms", Double),
    Column("total_ms", Double, nullable=False),
    Column("reference", Text),
    Column("weighed", OptionalJson),
    Column("share", Double),
    Column("expected_usd", Double),
    Column("rule", Text),
    Index("decisions_request_id", "request_id", "id"),
    Index("decisions_model", "model", "id"),
    Index("decisions_key_id", "key_id", "id"),
)
Index("decisions_unanswered", decisions.c.outcome, decisions.c.id, postgresql_where=UNANSWERED, sqlite_where=UNANSWERED)

feedback = Table(
    "feedback",
    TABLES,
    Column("id", Text, primary_key=True),
    Column("request_id", Text, nullable=False),
    Column("at", Moment, nullable=False),
    Column("kind", Text, nullable=False),
    Column("value", Double, nullable=False),
    Column("key_id", Text),
    Column("comment", Text),
    Column("decision_id", Text),
    Index("feedback_request_id", "request_id", "id"),
)

comparisons = Table(
    "comparisons",
    TABLES,
    Column("id", Text, primary_key=True),
    Column("request_id", Text, nullable=False),
    Column("at", Moment, nullable=False),
    Column("model_a", Text, nullable=False),
    Column("model_b", Text, nullable=False),
    Column("outcome", Double, nullable=False),
    Column("judge", Text, nullable=False),
    Column("cost_usd", Double),
    Column("tokens_a", BigInteger),
    Column("tokens_b", BigInteger),
    Column("decision_id", Text),
    Column("answer_a", Text),
    Column("answer_b", Text),
    Column("signals_a", Json),
    Column("signals_b", Json),
    Index("comparisons_request_id", "request_id", "id"),
)

autopilot = Table(
    "autopilot",
    TABLES,
    Column("id", Text, primary_key=True),
    Column("at", Moment, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("score", Double, nullable=False),
    Column("loss", Double, nullable=False),
    Column("probability", Double, nullable=False),
    Column("n_undrawn", Integer, nullable=False),
    Column("plan", Json, nullable=False),
    Column("agreed", Boolean, nullable=False),
    Column("cost_usd", Double, nullable=False),
    Column("embedding", LargeBinary),
    Column("counted", Integer, nullable=False),
    Column("others", Json, nullable=False),
    Column("win_rate", Double),
    Column("n_characters", Integer, nullable=False),
    Column("label_share", Double, nullable=False),
    Column("wants_label", Integer, nullable=False),
    Column("label", Double),
    Column("shown", Json, nullable=False),
    Column("until", Double),
    Column("candidate", Text),
    Column("win_rates", Json, nullable=False),
    Index("autopilot_counted", "counted", "id"),
)

spend = Table(
    "spend",
    TABLES,
    Column("at", Moment, primary_key=True),
    Column("key_id", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("writer", Text, primary_key=True),
    Column("n_requests", BigInteger, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("cost_usd", Double, nullable=False),
)

budget_accounts = Table(
    "budget_accounts",
    TABLES,
    Column("name", Text, primary_key=True),
    Column("begin", Moment, primary_key=True),
    Column("drawn_usd", Double, nullable=False),
    Column("granted_usd", Double, nullable=False),
)

sessions = Table(
    "sessions",
    TABLES,
    Column("session", Text, primary_key=True),
    Column("model", Text, nullable=False),
    Column("at", Moment, nullable=False),
    Index("sessions_at", "at"),
)

keys = Table(
    "keys",
    TABLES,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("models", Words),
    Column("requests_per_minute", Integer),
    Column("tier", Text),
    Column("admin", Boolean, nullable=False),
    Column("revoked_at", Moment),
)

status = Table(
    "status",
    TABLES,
    Column("name", Text, primary_key=True),
    Column("value", Json, nullable=False),
    Column("version", Integer, nullable=False),
    Column("at", Moment, nullable=False),
)
