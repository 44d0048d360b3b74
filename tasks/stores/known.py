"""What of a use case's collected rows may be known at an instant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Literal

import polars as pl

from expectations.history import HistoryColumn
from expectations.usecase import UseCase
from tasks.preprocessing.history.earlier_rows import EarlierRows, columns_read, oldest_read
from tasks.preprocessing.history.series import ticks_of
from tasks.stores.lake import Lake
from tasks.stores.lake_tables import BATCH, COLLECTED, POSITION, TECHNICAL

_VALUES = 10_000_000
"""Of a table read whole so many are put in order at once, or the values of one column."""


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
        return self.spec.known_late

    def ripe_until(self) -> datetime:
        """Event times up to this instant (inclusive) have their label by `as_of`."""
        return self.spec.label_delay.after(self.as_of, -1)

    def visible(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        """Leave out rows at or after `as_of`, and hide what is not ripe in others."""
        return self._with_hidden(rows.filter(pl.col(self.spec.time_column) < self.as_of))

    def _with_hidden(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        clock, present, arrived = pl.col(self.spec.time_column), set(rows.collect_schema()), self.spec.label.arrived
        ripe = clock <= self.ripe_until()
        if arrived is not None and arrived in present:
            ripe &= pl.col(arrived) <= self.as_of
        return rows.with_columns(
            pl.when(ripe).then(pl.col(column)).alias(column) for column in self.hidden if column in present
        )

    def versions(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        """Leave out versions of rows that were collected after `as_of`; of a row without another the first stays."""
        first = pl.col(BATCH).min().over(list(self.spec.keys))
        return rows.filter((pl.col(COLLECTED) <= self.as_of) | (pl.col(BATCH) == first))

    def scan(
        self,
        table: Literal["raw", "clean"] = "clean",
        *,
        version: int | None = None,
        columns: Sequence[str] | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        of: pl.DataFrame | None = None,
    ) -> pl.LazyFrame:
        """Return rows with event time in [since, until), never at or after `as_of`, in order of time and keys.

        Nothing is read until the result is collected, by `Lake.collect`.

        Parameters
        ----------
        table : {"raw", "clean"}
        version : int, optional
            A version of the table; the newest where not given.
        columns : sequence of str, optional
            Those wanted; all where not given. Columns of `history` are among them, by the clean rows known now.
        of : DataFrame, optional
            Keys of the rows that are wanted; all where not given.
        """
        held, earlier = self._looked_back(version if table == "clean" else None, columns, since)
        rows = self.lake.scan(table, version)
        if of is not None:
            rows = rows.join(of.lazy(), on=list(self.spec.keys), how="semi", maintain_order="left")
        frame = self._collected(rows, held, since, until)
        if earlier is None:
            return frame
        schema = {**frame.collect_schema(), **dict.fromkeys(earlier.columns, pl.Float64())}
        frame = frame.map_batches(earlier.beside, schema=schema)
        return frame if columns is None else frame.select(list(dict.fromkeys(columns)))

    def _looked_back(
        self, version: int | None, columns: Sequence[str] | None, since: datetime | None
    ) -> tuple[Sequence[str] | None, EarlierRows | None]:
        """Return the columns to read for those wanted, and the earlier rows that the others of them look back at."""
        wanted = [name for name in self.spec.history if columns is None or name in columns]
        if not wanted:
            return columns, None
        looked_back = {name: self.spec.looked_back[name] for name in wanted}
        earlier = self.earlier(looked_back, version, oldest_read(looked_back.values(), since))
        by = [name for column in looked_back.values() for name in column.by]
        held = None if columns is None else [name for name in (*columns, *by, earlier.clock) if name not in wanted]
        return held, earlier

    def earlier(
        self, columns: Mapping[str, HistoryColumn], version: int | None = None, since: datetime | None = None
    ) -> EarlierRows:
        """Read what some columns look back at: clean rows, as known now.

        Of a corrected row that is the version collected last by `as_of`, whichever row looks back: `known_after` is to
        be longer than corrections take.

        Parameters
        ----------
        version : int, optional
            Of the clean table; the newest where not given.
        since : datetime, optional
            The oldest event time that is looked at; all where not given.

        Raises
        ------
        LakeError, StorageError, UnreachableError
            As `Lake.reading`.
        TrainingError
            If a column that is looked at holds no numbers, or entities cannot be identified.
        """
        clock = self.spec.time_column
        rows = pl.DataFrame(schema={clock: pl.Datetime("us", "UTC")})
        if columns and self.lake.version("clean") is not None:
            with self.lake.reading("clean"):
                clean = self.lake.scan("clean", version)
                present = clean.collect_schema().names()
                read = [name for name in columns_read(columns) if name in present]
                rows = self._collected(clean, [*read, clock], since, None).collect()
        return EarlierRows.of(columns, rows, clock)

    def complete_until(self, of: str) -> int:
        """Return, in microseconds since 1970, the event time from which on values of a column are not known yet."""
        return ticks_of(self.ripe_until()) + 1 if of in self.hidden else ticks_of(self.as_of)

    def _collected(
        self, frame: pl.LazyFrame, columns: Sequence[str] | None, since: datetime | None, until: datetime | None
    ) -> pl.LazyFrame:
        clock, keys = self.spec.time_column, list(self.spec.keys)
        moving = clock not in keys  # a correction may move a row in time: the newest version is sought first
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
        frame = frame.sort(*order, place, maintain_order=True)
        if not moving:
            frame = frame.unique(keys, keep="last", maintain_order=True)
        return frame if columns is None else frame.select(list(dict.fromkeys(columns)))

    def rows(
        self,
        table: Literal["raw", "clean"] = "clean",
        *,
        version: int | None = None,
        columns: Sequence[str] | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> pl.DataFrame:
        """Read rows; parameters as for `scan`, raises as `Lake.reading`."""
        with self.lake.reading(table):
            if since is None and until is None:
                return self._whole(table, version, columns, labelled=False)
            return self.scan(table, version=version, columns=columns, since=since, until=until).collect()

    def _whole(
        self, table: Literal["raw", "clean"], version: int | None, columns: Sequence[str] | None, *, labelled: bool
    ) -> pl.DataFrame:
        """Read what `scan` gives in memory that holds it little more than once: sorted are the places of rows alone.

        Parameters
        ----------
        labelled : bool
            Whether rows without a label are left out.
        """
        held, earlier = self._looked_back(version if table == "clean" else None, columns, None)
        rows, label = self.lake.scan(table, version), self.spec.label.column
        ordered = self._collected(
            rows.with_row_index(POSITION), [POSITION, label] if labelled else [POSITION], None, None
        )
        if labelled:
            ordered = ordered.filter(pl.col(label).is_not_null())
        places = ordered.select(POSITION).collect()[POSITION]
        names = list(dict.fromkeys(rows.collect_schema() if held is None else held))
        at_once = max(1, _VALUES // max(1, len(places)))
        found = list[pl.Series]()
        for first in range(0, len(names), at_once):
            part = self._with_hidden(rows).select(names[first : first + at_once]).collect()
            found += part[places].get_columns()
        frame = pl.DataFrame(found)
        if earlier is None:
            return frame
        frame = earlier.beside(frame)
        return frame if columns is None else frame.select(list(dict.fromkeys(columns)))

    def labelled(
        self,
        *,
        version: int | None = None,
        columns: Sequence[str] | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> pl.DataFrame:
        """Read ripe rows of the clean table that have a label; parameters as for `scan`."""
        with self.lake.reading("clean"):
            if since is None and until is None:
                return self._whole("clean", version, columns, labelled=True)
            rows = self.scan(version=version, columns=columns, since=since, until=until)
            return rows.filter(pl.col(self.spec.label.column).is_not_null()).collect()


class RowSource:
    """Rows by reference: the ripe rows with a label of a version of the clean table, as known at an instant.

    Prefect, which looks into every dataclass that tasks hand on, takes it as one value.
    """

    def __init__(self, known: Known, version: int) -> None:
        self.known, self.version = known, version

    @cached_property
    def rows(self) -> pl.DataFrame:
        """The rows, read once however often they are asked for; raises as `Lake.reading`."""
        return self.known.labelled(version=self.version)
