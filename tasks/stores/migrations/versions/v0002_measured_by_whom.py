"""Measurements say beside their content whose they are and what came of them, so that few of many are read."""

from __future__ import annotations

import json

from alembic import op
from sqlalchemy import Column, Integer, MetaData, String, Table, Text, select, update

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the columns, and fill them from what was measured."""
    op.add_column("measurements", Column("champion", String))
    op.add_column("measurements", Column("status", String))
    op.create_index("measurements_by_champion", "measurements", ["usecase", "champion", "window_start", "status"])
    kept = Table(
        "measurements",
        MetaData(),
        Column("id", Integer),
        Column("content", Text),
        Column("champion", String),
        Column("status", String),
    )
    connection = op.get_bind()
    for row in connection.execute(select(kept.c.id, kept.c.content)).all():
        content = json.loads(row.content)
        values = {name: content.get(name) for name in ("champion", "status")}
        connection.execute(update(kept).where(kept.c.id == row.id).values(values))
