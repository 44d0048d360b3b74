"""Measurements say beside their content whose they are and what came of them, so that few of many are read.

A process of before that still runs then fails to write one without them: no decision would see it.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, DateTime, Integer, String, Text, UniqueConstraint, text

revision = "0002"
down_revision = "0001"

_FIELD = {"sqlite": "json_extract(content, '$.{}')", "postgresql": r"content\:\:json->>'{}'"}


def upgrade() -> None:
    """Make the table with the columns, and fill them from what was measured: by the database, as contents are large."""
    op.rename_table("measurements", "measurements_before")
    op.create_table(
        "measurements",
        Column("id", Integer, primary_key=True),
        Column("usecase", String, nullable=False),
        Column("window_start", DateTime(timezone=True), nullable=False),
        Column("window_end", DateTime(timezone=True), nullable=False),
        Column("content", Text, nullable=False),
        Column("champion", String, nullable=False),
        Column("status", String, nullable=False),
        UniqueConstraint("usecase", "window_start", "window_end"),
    )
    field = _FIELD[op.get_context().dialect.name]
    champion, status = (f"coalesce({field.format(name)}, '')" for name in ("champion", "status"))
    kept = "usecase, window_start, window_end, content"
    copied = f"INSERT INTO measurements ({kept}, champion, status) SELECT {kept}, {champion}, {status}"
    op.execute(text(f"{copied} FROM measurements_before ORDER BY id"))
    op.drop_table("measurements_before")
    op.create_index("measurements_by_champion", "measurements", ["usecase", "champion", "window_start", "status"])
