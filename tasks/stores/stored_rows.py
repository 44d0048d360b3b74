"""Rows of a table by reference, for steps that need some columns of all rows, or all columns of some."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import polars as pl

from tasks.stores.lake import Lake
from tasks.stores.lake_tables import POSITION, Table
from tasks.stores.memory import gathered, in_one_piece

_MANY = 100_000
"""Rows up to which a table is read once, and held; of more, columns are read when they are asked for."""
_VALUES = 10_000_000
"""So many values of columns are read at once, or those of one column."""


@dataclass(frozen=True)
class StoredRows:
    """Rows of a version of a table, in an order.

    Attributes
    ----------
    scan : polars.LazyFrame
        The rows that these are some of; it gives them in the same order each time.
    places : Series of int or None
        Which of them these are, in order; None for all as they come.
    stored : int
        How many rows the scan gives.
    height : int
        How many these are.
    instead : polars.DataFrame or None
        Columns that take the place of the table's, or are added to them, for these rows.
    """

    lake: Lake
    table: Table
    scan: pl.LazyFrame
    schema: pl.Schema
    places: pl.Series | None
    stored: int
    height: int
    instead: pl.DataFrame | None = None

    @classmethod
    def of(cls, lake: Lake, table: Table, scan: pl.LazyFrame) -> StoredRows:
        """Refer to rows of a table; few are read at once, and held.

        Raises
        ------
        LakeError, StorageError, UnreachableError
            As `Lake.reading`, like all that reads columns.
        """
        height = int(lake.collect(table, scan.select(pl.len())).item())
        if height <= _MANY:
            scan = lake.collect(table, scan).lazy()
        return cls(lake, table, scan, scan.collect_schema(), None, height, height)

    def __len__(self) -> int:
        """Return how many rows these are."""
        return self.height

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return self.schema.names()

    def drop(self, column: str) -> StoredRows:
        """Leave out a column, if there is one of that name."""
        return replace(self, schema=pl.Schema({name: dtype for name, dtype in self.schema.items() if name != column}))

    def __getitem__(self, column: str) -> pl.Series:
        """Read one column."""
        return self.select([column])[column]

    def select(self, columns: Sequence[str]) -> pl.DataFrame:
        """Read some columns."""
        if not self.height:
            return pl.DataFrame(schema={name: self.schema[name] for name in columns})
        replaced = [] if self.instead is None else self.instead.columns
        read = [name for name in columns if name not in replaced]
        found = self.lake.collect(self.table, self.scan.select(read)) if read else pl.DataFrame(height=self.height)
        if read and self.places is not None:
            taken = found.get_columns()
            del found
            found = gathered(taken, self.places)
        return self._beside(found, self.instead, columns)

    def at(self, places: pl.Series) -> StoredRows:
        """Refer to those of the rows that stand at some places among them."""
        if len(places) == self.height and (places == pl.int_range(self.height, eager=True)).all():
            return self
        held = places if self.places is None else self.places[places]
        instead = None if self.instead is None else self.instead[places]
        return replace(self, places=held, height=len(held), instead=instead)

    def with_columns(self, instead: pl.DataFrame) -> StoredRows:
        """Put columns in the place of those of the same name, and behind them where there are none.

        Parameters
        ----------
        instead : polars.DataFrame of shape (n_rows, any)
        """
        held = instead if self.instead is None else self.instead.with_columns(*instead.iter_columns())
        return replace(self, instead=held, schema=pl.Schema({**self.schema, **instead.schema}))

    def sorted_by(self, column: str) -> StoredRows:
        """Put the rows in order of a column; those that are equal in it stay as they are."""
        values = self.select([column])
        if values[column].is_sorted():
            return self
        return self.at(values.with_row_index(POSITION).sort(column, maintain_order=True)[POSITION])

    def frame(self) -> pl.DataFrame:
        """Read all columns, some at a time, so that little more is held than the rows themselves."""
        at_once = max(1, _VALUES // max(1, self.stored))
        columns = list[pl.Series]()
        for first in range(0, len(self.columns), at_once):
            part = self.select(self.columns[first : first + at_once])
            columns += in_one_piece(part).get_columns()  # else a writer would put all of them together at once
        return pl.DataFrame(columns)

    @staticmethod
    def _beside(found: pl.DataFrame, instead: pl.DataFrame | None, columns: Sequence[str]) -> pl.DataFrame:
        """Return columns in their order, those that take others' place among them."""
        held = {} if instead is None else {column.name: column for column in instead.iter_columns()}
        return pl.DataFrame([held[name] if name in held else found[name] for name in columns])
