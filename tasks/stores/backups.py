"""Which backups were made of this home: they hold what is erased afterwards."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select

from tasks.stores import tables
from tasks.stores.database import Database

_NAMED = "backup/"
_EVERY = ""
"""In the place of a use case: a backup is of all."""


def note_backup(database: Database, place: str, made: datetime) -> None:
    """Remember where a backup lies, and when it was made."""
    database.mark(_EVERY, f"{_NAMED}{place}", made.isoformat())


def backups_of(database: Database) -> list[tuple[str, datetime]]:
    """Return the places of the backups that were made, and when, the oldest first."""
    marks = tables.marks
    query = select(marks.c.name, marks.c.value).where(marks.c.usecase == _EVERY, marks.c.name.startswith(_NAMED))
    with database.reading() as connection:
        found = [(name.removeprefix(_NAMED), datetime.fromisoformat(made)) for name, made in connection.execute(query)]
    return sorted(found, key=lambda each: each[1])
