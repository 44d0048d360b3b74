"""What was reported to a target is called so; a trial that could not judge is `undetermined`, as drift is.

A process of before that still runs then fails where it sends a message, and sends none twice.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Rename the table, and the action of those trials."""
    op.rename_table("told", "reported")
    op.execute(text("UPDATE ledger SET action = 'undetermined' WHERE kind = 'trial' AND action = 'untold'"))
