"""All that homes had before their databases were numbered: what one of them lacks is made.

Which tables and indexes are there says how old it is; none of them ever changed its columns.
"""

from __future__ import annotations

from alembic import op
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
    UniqueConstraint,
    text,
)

revision = "0001"
down_revision = None

_before = MetaData()

Table(
    "use_cases",
    _before,
    Column("name", String, primary_key=True),
    Column("folder", String, nullable=False),
    Column("digest", String, nullable=False),
    Column("schedule", Text, nullable=False, default="{}"),
)
Table(
    "trusted_code",
    _before,
    Column("usecase", String, primary_key=True),
    Column("digest", String, nullable=False),
)
Table(
    "turns",
    _before,
    Column("id", String, primary_key=True),
    Column("usecase", String, nullable=False),
    Column("cause", String, nullable=False),
    Column("decision", String),
    Column("as_of", DateTime(timezone=True), nullable=False),
    Column("state", String, nullable=False),
    Column("owner", String),
    Column("lease_until", DateTime(timezone=True)),
    Column("flow_run", String),
    Column("tracking_run", String),
    Column("product", Text),
    Index(
        "one_open_turn",
        "usecase",
        unique=True,
        sqlite_where=text("state IN ('requested','collecting','training','deploying')"),
        postgresql_where=text("state IN ('requested','collecting','training','deploying')"),
    ),
)
Table(
    "measurements",
    _before,
    Column("id", Integer, primary_key=True),
    Column("usecase", String, nullable=False),
    Column("window_start", DateTime(timezone=True), nullable=False),
    Column("window_end", DateTime(timezone=True), nullable=False),
    Column("content", Text, nullable=False),
    UniqueConstraint("usecase", "window_start", "window_end"),
)
Table(
    "ledger",
    _before,
    Column("id", Integer, primary_key=True),
    Column("entry", String, nullable=False, unique=True),
    Column("usecase", String, nullable=False, index=True),
    Column("turn", String, ForeignKey("turns.id")),
    Column("as_of", DateTime(timezone=True), nullable=False),
    Column("recorded_at", DateTime(timezone=True), nullable=False),
    Column("kind", String, nullable=False),
    Column("action", String, nullable=False),
    Column("cause", String, nullable=False),
    Column("summary", Text, nullable=False),
    Column("evidence", Text, nullable=False),
    Index("ledger_by_kind", "usecase", "kind", "id"),
)
Table(
    "outbox",
    _before,
    Column("id", String, primary_key=True),
    Column("usecase", String, nullable=False),
    Column("name", String, nullable=False),
    Column("labels", Text, nullable=False),
    Column("payload", Text, nullable=False),
    Column("occurred", DateTime(timezone=True), nullable=False),
    Column("sent", DateTime(timezone=True)),
)
Table(
    "findings",
    _before,
    Column("id", Integer, primary_key=True),
    Column("usecase", String, nullable=False, index=True),
    Column("key", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("severity", String, nullable=False),
    Column("title", String, nullable=False),
    Column("body", Text, nullable=False),
    Column("evidence", Text, nullable=False),
    Column("opened", DateTime(timezone=True), nullable=False),
    Column("last_seen", DateTime(timezone=True), nullable=False),
    Column("times_seen", Integer, nullable=False),
    Column("recorded_at", DateTime(timezone=True), nullable=False),
    Column("due", DateTime(timezone=True), nullable=False),
    Column("acknowledged_by", String),
    Column("acknowledged_at", DateTime(timezone=True)),
    Column("resolved", DateTime(timezone=True)),
    Column("resolved_at", DateTime(timezone=True)),
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
Table(
    "targets",
    _before,
    Column("usecase", String, primary_key=True),
    Column("target", String, primary_key=True),
    Column("label", String, nullable=False),
    Column("since", DateTime(timezone=True), nullable=False),
    Column("posts", Text, nullable=False),
    Column("digested", DateTime(timezone=True)),
    Column("attempts", Integer, nullable=False),
    Column("next_attempt", DateTime(timezone=True)),
    Column("failing_since", DateTime(timezone=True)),
    Column("last_error", Text, nullable=False),
    Column("last_success", DateTime(timezone=True)),
    Column("claimed_until", DateTime(timezone=True)),
)
Table(
    "target_views",
    _before,
    Column("usecase", String, primary_key=True),
    Column("target", String, primary_key=True),
    Column("listed", DateTime(timezone=True), nullable=False),
    Column("sendable", DateTime(timezone=True), nullable=False),
)
Table(
    "told",
    _before,
    Column("usecase", String, primary_key=True),
    Column("target", String, primary_key=True),
    Column("finding", Integer, primary_key=True),
    Column("severity", String),
    Column("resolved", Integer, nullable=False),
)
Table(
    "running",
    _before,
    Column("flow_run", String, primary_key=True),
    Column("usecase", String, nullable=False),
    Column("host", String, nullable=False),
    Column("process", Integer, nullable=False),
    Column("born", Float, nullable=False),
    Column("seen", DateTime(timezone=True), nullable=False),
)
Table(
    "marks",
    _before,
    Column("usecase", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("value", Text, nullable=False),
)


def upgrade() -> None:
    """Make tables and indexes that are not there."""
    connection = op.get_bind()
    _before.create_all(connection)
    for index in (each for table in _before.sorted_tables for each in table.indexes):
        index.create(connection, checkfirst=True)
