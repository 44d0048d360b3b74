"""A lake that is looked at several times as it was at once: each table is opened, and its files looked at, one time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tasks.stores.lake import Lake
from tasks.stores.lake_tables import Table

if TYPE_CHECKING:
    from deltalake import DeltaTable


@dataclass(frozen=True)
class PinnedLake(Lake):
    """Tables as they are when they are first read, for what reads them many times and writes none.

    Opening a table reads its log, which takes the longer the more was committed of late.
    """

    _opened: dict[Table, DeltaTable | None] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, lake: Lake) -> PinnedLake:
        """Pin a lake."""
        return lake if isinstance(lake, cls) else cls(lake.root, lake.usecase)

    def open(self, table: Table, version: int | None = None, *, whole: bool = False) -> DeltaTable | None:
        """Open a table as `Lake.open` does; the newest version is the one that was opened first."""
        if version is not None:
            return super().open(table, version, whole=whole)
        if table not in self._opened:
            self._opened[table] = super().open(table, whole=True)
        return self._opened[table]
