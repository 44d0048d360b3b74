"""What people ask for by hand, on the page or the command line: who asks, and that it stands in the ledger."""

from __future__ import annotations

import getpass
import json
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from typing import Literal

from tasks.stores.database import HELD, HELD_BATCH, VOUCHED, Database
from tasks.stores.ledger import Entry

KIND = "person"
"""Kind of the ledger's entries of what people ask for."""
Where = Literal["on the page", "on the command line"]


def this_person() -> str:
    """Return who uses this machine, as far as it knows."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name
        return "a user of this machine"


def asked(usecase: str, what: str, words: str, who: str, where: Where) -> Entry:
    """Return the entry of the ledger that says what was asked for.

    Parameters
    ----------
    what : str
        The name of what was asked for.
    words : str
        That, and what it was asked for with.
    """
    key, summary = f"{usecase}/{KIND}/{uuid.uuid4().hex}", f"{words}: asked for {where} by {who}"
    return Entry(key, usecase, datetime.now(UTC), KIND, "asked", what, summary, {"who": who})


def acknowledge(database: Database, usecase: str, key: str, who: str, where: Where) -> bool:
    """Note that a person has seen an open finding, in the ledger too; False, and nothing noted, where none is open."""
    with database.transaction() as connection:
        done = database.acknowledge(connection, usecase, key, who)
        if done:
            database.write(connection, asked(usecase, "acknowledge", f"acknowledge {key}", who, where))
    return done


def release_held(database: Database, usecase: str, who: str, where: Where) -> int | None:
    """Let the batch that is held go on with the next collection; returns its number, None where none is held."""
    marks = database.marks_of(usecase, (HELD, HELD_BATCH))
    held, batch = json.loads(marks.get(HELD, "[]")), marks.get(HELD_BATCH)
    if not held or batch is None:
        return None
    with database.transaction() as connection:
        database.put_mark(connection, usecase, VOUCHED, batch)
        entry = asked(usecase, "release", f"release the held batch {batch}", who, where)
        evidence = {**entry.evidence, "batch": int(batch), "held": held}
        database.write(connection, replace(entry, evidence=evidence))
    return int(batch)
