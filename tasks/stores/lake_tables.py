"""The tables of the lake, and what of their columns is its own.

Tables
------
raw
    What came, joined; every version of a row that was ever collected, numbered by the batch that brought it.
clean
    Rows that passed the suite, repaired; the latest of each key wins on reading.
quarantine
    Rows that failed, with the reasons.
predictions
    What the service answered, harvested from its journal, and what it was asked (`request_columns`).
labels
    True labels that came by feedback, and the name of the key each came with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import polars as pl

from tasks.stores.request_columns import is_request
from tasks.stores.table_settings import HARVEST

Table = Literal["raw", "clean", "quarantine", "predictions", "labels", "shadows"]
TABLES: tuple[Table, ...] = get_args(Table)

BATCH = "_batch"
COLLECTED = "_collected"
TECHNICAL = (BATCH, COLLECTED)
UNREAD, BETWEEN_UNREAD = "_unread", "\x1f"
"""Of the raw table: columns that this row had a value in which is no number, where one was needed.

Between their names stands a character that no use case can name; a name may hold `; `, which stood there before.
"""
POSITION = "_position"
"""Where a row stands among others, for a while; no table has it."""
RESERVED = frozenset(
    {
        *TECHNICAL,
        UNREAD,
        "_hash",
        "_known",
        POSITION,
        "_found",
        "_newest",
        "_count",
        "_prediction",
        "_reasons",
        "_sent",
    }
)
"""Names of columns that no source may have."""

#: Columns a table may lack that was made before they were kept: they are missing in its rows, and appending adds them.
ADDED: dict[Table, dict[str, pl.DataType]] = {
    "labels": {"sender": pl.String()},
    "predictions": {HARVEST: pl.Int64()},
}

GROWING: tuple[Table, ...] = ("raw", "clean", "quarantine")
"""Tables whose columns follow the sources: new ones are added, lacking ones are missing, types become wider."""


def grows(table: Table, column: str) -> bool:
    """Whether a table gets a column when rows with it are appended, and rows without it lack it."""
    return table in GROWING or (table == "predictions" and is_request(column))


@dataclass(frozen=True)
class Version:
    """A committed state of a table."""

    table: str
    version: int
    rows: int
