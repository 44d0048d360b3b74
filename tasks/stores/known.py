"""What of a use case's collected rows may be known at an instant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import polars as pl

from expectations.usecase import UseCase
from tasks.stores.lake import BATCH, COLLECTED, TECHNICAL, Lake


@dataclass(frozen=True)
class Known:
    """What of a use case's rows may be known at an instant: the only way stages read collected rows.

    Rows have an event time before `as_of`; label and forbidden columns are missing wherever they are not yet ripe, and
    labels of a table of their own that says when each came until then. Of a row that was corrected, or got its label,
    it is the version that was collected last by `as_of`; of one that was first collected after that the first.
    """

    lake: Lake
    spec: UseCase
    as_of: datetime

    @property
    def hidden(self) -> tuple[str, ...]:
        """Columns that are known only once ripe."""
        label = self.spec.label
        read = label.expression.columns if label.expression else ()
        arrived = (label.arrived,) if label.arrived else ()
        return tuple(dict.fromkeys((label.column, *read, *arrived, *self.spec.forbidden)))

    def ripe_until(self) -> datetime:
        """Event times up to this instant (inclusive) have their label by `as_of`."""
        return self.spec.label_delay.after(self.as_of, -1)

    def visible(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        """Leave out rows at or after `as_of`, and hide what is not ripe in others."""
        clock, present, arrived = pl.col(self.spec.time_column), set(rows.collect_schema()), self.spec.label.arrived
        told = clock <= self.ripe_until()
        if arrived is not None and arrived in present:
            told &= pl.col(arrived) <= self.as_of
        return rows.filter(clock < self.as_of).with_columns(
            pl.when(told).then(pl.col(column)).alias(column) for column in self.hidden if column in present
        )

    def versions(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        """Leave out versions of rows that were collected after `as_of`; of a row without another the first stays."""
        first = pl.col(BATCH).min().over(list(self.spec.keys))
        return rows.filter((pl.col(COLLECTED) <= self.as_of) | (pl.col(BATCH) == first))

    def rows(
        self,
        table: Literal["raw", "clean"] = "clean",
        *,
        version: int | None = None,
        columns: Sequence[str] | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        latest: bool = True,
    ) -> pl.DataFrame:
        """Read rows with event time in [since, until), never at or after `as_of`, in order of time and keys.

        Parameters
        ----------
        table : {"raw", "clean"}
        version : int, optional
            A version of the table; the newest where not given.
        columns : sequence of str, optional
            Those wanted; all where not given.
        latest : bool
            Only the latest version of each key.
        """
        with self.lake.reading(table):
            return self._rows(self.lake.scan(table, version), columns, since, until, latest=latest)

    def _rows(
        self,
        frame: pl.LazyFrame,
        columns: Sequence[str] | None,
        since: datetime | None,
        until: datetime | None,
        *,
        latest: bool,
    ) -> pl.DataFrame:
        clock, keys = self.spec.time_column, list(self.spec.keys)
        moving = latest and clock not in keys  # a correction may move a row in time: the newest version is sought first
        place = pl.when(pl.col(COLLECTED) > self.as_of).then(-pl.col(BATCH)).otherwise(pl.col(BATCH))
        if moving:
            frame = frame.sort(place, maintain_order=True).unique(keys, keep="last", maintain_order=True)
        if since is not None:
            frame = frame.filter(pl.col(clock) >= since)
        if until is not None:
            frame = frame.filter(pl.col(clock) < until)
        frame = self.visible(frame)
        order = [clock, *(key for key in keys if key != clock)]
        if columns is not None:
            frame = frame.select(list(dict.fromkeys((*columns, *order, *TECHNICAL))))
        found = frame.collect().sort(*order, place if latest else BATCH, maintain_order=True)
        if latest and not moving:
            found = found.unique(keys, keep="last", maintain_order=True)
        if columns is not None:
            return found.select(list(dict.fromkeys(columns)))
        return found

    def labelled(self, **options: object) -> pl.DataFrame:
        """Read ripe rows that have a label; options as for `rows`."""
        found = self.rows(**options)  # type: ignore[arg-type]
        return found.filter(pl.col(self.spec.label.column).is_not_null())
