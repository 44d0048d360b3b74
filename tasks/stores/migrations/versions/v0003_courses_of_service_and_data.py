"""What the service did and whether it answered, minute by minute, and what each collection brought.

What collections brought is taken from the ledger's entries of turns; of those that no turn asked for nothing is known.
"""

from __future__ import annotations

import json
from typing import Any

from alembic import op
from sqlalchemy import Column, DateTime, Float, Index, Integer, MetaData, String, Table, Text, select

revision = "0003"
down_revision = "0002"

_ledger = Table(
    "ledger",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("usecase", String),
    Column("as_of", DateTime(timezone=True)),
    Column("recorded_at", DateTime(timezone=True)),
    Column("kind", String),
    Column("action", String),
    Column("evidence", Text),
)


def upgrade() -> None:
    """Make the tables, and fill that of collections from the ledger."""
    op.create_table(
        "probes",
        Column("minute", DateTime(timezone=True), primary_key=True),
        Column("why", Text, nullable=False),
        Column("seconds", Float),
    )
    op.create_table(
        "traffic",
        Column("usecase", String, primary_key=True),
        Column("minute", DateTime(timezone=True), primary_key=True),
        Column("content", Text, nullable=False),
    )
    collections = op.create_table(
        "collections",
        Column("id", Integer, primary_key=True),
        Column("usecase", String, nullable=False),
        Column("as_of", DateTime(timezone=True), nullable=False),
        Column("recorded_at", DateTime(timezone=True), nullable=False),
        Column("content", Text, nullable=False),
        Index("collections_by_use_case", "usecase", "id"),
    )
    wanted = (_ledger.c.kind == "collect") & _ledger.c.action.in_(("done", "held"))
    for row in op.get_bind().execute(select(_ledger).where(wanted).order_by(_ledger.c.id)).all():
        values = {"usecase": row.usecase, "as_of": row.as_of, "recorded_at": row.recorded_at}
        op.get_bind().execute(collections.insert().values(**values, content=json.dumps(_content(row.evidence))))


def _content(evidence: str) -> dict[str, Any]:
    known = json.loads(evidence)
    collected, cleaned = known.get("collected") or {}, known.get("cleaned") or {}
    came = known.get("arrived") or collected
    apart = cleaned.get("quarantined") or {}
    return {
        "new": int(came.get("new") or 0),
        "corrected": int(came.get("corrected") or 0),
        "read": collected.get("read") or {},
        "quarantined": apart,
        "held": cleaned.get("held") or [],
        "rows": int(cleaned.get("rows") or 0),
    }
