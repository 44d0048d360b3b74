"""The findings and the ledger of a use case."""

from __future__ import annotations

from typing import Any

from tasks.stores.database import Database
from tasks.stores.findings import Finding
from tasks.stores.glances import Glances, LedgerLine
from tasks.stores.ledger import FORGET, RETENTION, TRIAL

LINES = 40
"""Entries of the ledger on a page."""
KINDS = (
    "decision", TRIAL, "collect", "train", "deploy", "monitor", "service", "report", "usecase", "person",
    FORGET, RETENTION,
)  # fmt: skip
_LABELS = ("Likely cause", "What was done", "What you can do")
_FINDINGS = 30


def read_findings(database: Database, name: str) -> list[Finding]:
    """Return what stands, the worst first, and then the newest of what was."""
    past = [each for each in database.findings(name, _FINDINGS) if not each.open]
    return [*database.open_findings(name), *past]


def split_body(body: str) -> list[tuple[str, str]]:
    r"""Return the lines of a finding, each with what it is about.

    Examples
    --------
    >>> split_body("Nobody asks.\nLikely cause: a key.")
    [('What', 'Nobody asks.'), ('Likely cause', 'a key.')]
    """
    lines: list[tuple[str, str]] = []
    for line in filter(None, body.split("\n")):
        label, colon, rest = line.partition(": ")
        lines.append((label, rest) if colon and label in _LABELS else ("What" if not lines else "Also", line))
    return lines


def read_ledger(
    database: Database, name: str, kind: str = "", before: int | None = None
) -> tuple[list[LedgerLine], bool]:
    """Return a page of the ledger, newest first, and whether there is more."""
    glances = Glances(database.url)
    with glances.reading() as connection:
        found = glances.lines(connection, name, LINES + 1, kinds=(kind,) if kind else (), before=before)
    return found[:LINES], len(found) > LINES


def read_entry(database: Database, name: str, number: int) -> tuple[LedgerLine, dict[str, Any]] | None:
    """Return one entry of the ledger with its evidence."""
    glances = Glances(database.url)
    with glances.reading() as connection:
        return glances.evidence(connection, name, number)
