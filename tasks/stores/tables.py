"""Tables of the platform database. SQLite on a laptop, Postgres in the stack: nothing here but what both understand.

What changes here changes homes that are there, too: by a module in `migrations/versions`.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    Column,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)

from tasks.stores.stages import OPEN

metadata = MetaData()


class _Instant(TypeDecorator[datetime]):
    """Instants in UTC on either side: SQLite keeps no zone, and Postgres gives back the server's."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: object) -> datetime | None:  # noqa: ARG002
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: object) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


_instant = _Instant()
_is_open = text("state IN ({})".format(",".join(f"'{state}'" for state in OPEN)))

use_cases = Table(
    "use_cases",
    metadata,
    Column("name", String, primary_key=True),
    Column("folder", String, nullable=False),
    Column("digest", String, nullable=False),
    Column("schedule", Text, nullable=False, default="{}"),
)
trusted_code = Table(
    "trusted_code",
    metadata,
    Column("usecase", String, primary_key=True),
    Column("digest", String, nullable=False),
)
turns = Table(
    "turns",
    metadata,
    Column("id", String, primary_key=True),
    Column("usecase", String, nullable=False),
    Column("cause", String, nullable=False),
    Column("decision", String),
    Column("as_of", _instant, nullable=False),
    Column("state", String, nullable=False),
    Column("owner", String),
    Column("lease_until", _instant),
    Column("flow_run", String),
    Column("tracking_run", String),
    Column("product", Text),
    Index(
        "one_open_turn",
        "usecase",
        unique=True,
        sqlite_where=_is_open,
        postgresql_where=_is_open,
    ),
)
measurements = Table(
    "measurements",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("usecase", String, nullable=False),
    Column("window_start", _instant, nullable=False),
    Column("window_end", _instant, nullable=False),
    Column("content", Text, nullable=False),
    Column("champion", String, nullable=False),
    Column("status", String, nullable=False),
    UniqueConstraint("usecase", "window_start", "window_end"),
    Index("measurements_by_champion", "usecase", "champion", "window_start", "status"),  # contents are large: not read
)
ledger = Table(
    "ledger",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("entry", String, nullable=False, unique=True),
    Column("usecase", String, nullable=False, index=True),
    Column("turn", String, ForeignKey("turns.id")),
    Column("as_of", _instant, nullable=False),
    Column("recorded_at", _instant, nullable=False),
    Column("kind", String, nullable=False),
    Column("action", String, nullable=False),
    Column("cause", String, nullable=False),
    Column("summary", Text, nullable=False),
    Column("evidence", Text, nullable=False),
    Index("ledger_by_kind", "usecase", "kind", "id"),  # the newest of a kind, however much was written since
)
outbox = Table(
    "outbox",
    metadata,
    Column("id", String, primary_key=True),
    Column("usecase", String, nullable=False),
    Column("name", String, nullable=False),
    Column("labels", Text, nullable=False),
    Column("payload", Text, nullable=False),
    Column("occurred", _instant, nullable=False),
    Column("sent", _instant),
)
findings = Table(
    "findings",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("usecase", String, nullable=False, index=True),
    Column("key", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("severity", String, nullable=False),
    Column("title", String, nullable=False),
    Column("body", Text, nullable=False),
    Column("evidence", Text, nullable=False),
    Column("opened", _instant, nullable=False),
    Column("last_seen", _instant, nullable=False),
    Column("times_seen", Integer, nullable=False),
    Column("recorded_at", _instant, nullable=False),
    Column("due", _instant, nullable=False),
    Column("acknowledged_by", String),
    Column("acknowledged_at", _instant),
    Column("resolved", _instant),
    Column("resolved_at", _instant),
    Column("resolved_how", Text),
    Index(
        "one_open_finding",
        "usecase",
        "key",
        unique=True,
        sqlite_where=text("resolved_at IS NULL"),
        postgresql_where=text("resolved_at IS NULL"),
    ),
)
targets = Table(
    "targets",
    metadata,
    Column("usecase", String, primary_key=True),
    Column("target", String, primary_key=True),
    Column("label", String, nullable=False),
    Column("since", _instant, nullable=False),
    Column("posts", Text, nullable=False),
    Column("digested", _instant),
    Column("attempts", Integer, nullable=False),
    Column("next_attempt", _instant),
    Column("failing_since", _instant),
    Column("last_error", Text, nullable=False),
    Column("last_success", _instant),
    Column("claimed_until", _instant),
)
target_views = Table(
    "target_views",
    metadata,
    Column("usecase", String, primary_key=True),
    Column("target", String, primary_key=True),
    Column("listed", _instant, nullable=False),
    Column("sendable", _instant, nullable=False),
)
reported = Table(
    "reported",
    metadata,
    Column("usecase", String, primary_key=True),
    Column("target", String, primary_key=True),
    Column("finding", Integer, primary_key=True),
    Column("severity", String),
    Column("resolved", Integer, nullable=False),
)
presences = Table(
    "running",
    metadata,
    Column("flow_run", String, primary_key=True),
    Column("usecase", String, nullable=False),
    Column("host", String, nullable=False),
    Column("process", Integer, nullable=False),
    Column("born", Float, nullable=False),
    Column("seen", _instant, nullable=False),
)
marks = Table(
    "marks",
    metadata,
    Column("usecase", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("value", Text, nullable=False),
)
probes = Table(
    "probes",
    metadata,
    Column("minute", _instant, primary_key=True),
    Column("why", Text, nullable=False),
    Column("seconds", Float),
)
traffic = Table(
    "traffic",
    metadata,
    Column("usecase", String, primary_key=True),
    Column("minute", _instant, primary_key=True),
    Column("content", Text, nullable=False),
)
collections = Table(
    "collections",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("usecase", String, nullable=False),
    Column("as_of", _instant, nullable=False),
    Column("recorded_at", _instant, nullable=False),
    Column("content", Text, nullable=False),
    Index("collections_by_use_case", "usecase", "id"),
)
