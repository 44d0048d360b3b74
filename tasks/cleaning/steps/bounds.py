"""Values out of bounds as missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import polars as pl
from pydantic import model_validator

from expectations.fields import Columns, Strict
from expectations.parts import CleaningStep, FittedStep, Kind, Repaired, RowWriter
from tasks.cleaning.changes import count_changes


@dataclass(frozen=True)
class FittedBounds(FittedStep):
    """Values of `column` outside [low, high] become missing; None is no bound."""

    step: ClassVar[str] = "bounds"

    column: str
    low: float | None
    high: float | None

    @property
    def touches(self) -> tuple[str, ...]:
        """The column."""
        return (self.column,)

    def frame(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Leave out values of a column."""
        value = pl.col(self.column)
        number, inside = value.cast(pl.Float64), pl.lit(value=True)
        if self.low is not None:
            inside &= number >= self.low
        if self.high is not None:
            inside &= number <= self.high
        return frame.with_columns(pl.when(inside).then(value).alias(self.column))

    def row(self, out: RowWriter) -> None:
        """Leave out one value."""
        name = out.variable(self.column)
        outside = [f"{name} < {self.low!r}"] if self.low is not None else []
        outside += [f"{name} > {self.high!r}"] if self.high is not None else []
        out.line(f"if {name} is not None and ({' or '.join(outside)}): {name} = None")


class ValueBounds(Strict):
    """The least and the greatest value that can be."""

    columns: Columns
    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError("bounds needs min, max or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}")
        return self


class WithinBounds(CleaningStep):
    """Make values outside a range missing, where they are errors (`clip` sets them to the nearest bound)."""

    examples: ClassVar = (
        {"bounds": {"columns": ["x"], "min": -50, "max": 1000}},
        {"bounds": {"columns": ["y", "n"], "max": 3}},
    )
    fitted: ClassVar = FittedBounds
    computes: ClassVar = True
    own_columns: ClassVar = True

    bounds: ValueBounds

    def reads(self) -> tuple[str, ...]:
        """Return its columns."""
        return self.bounds.columns

    def repair(self, rows: pl.DataFrame, keys: Sequence[str]) -> tuple[pl.DataFrame, Repaired]:
        """Leave them out."""
        del keys
        columns, done = self.bounds.columns, rows
        for step in self._steps(columns):
            done = step.frame(done)
        return done, Repaired(f"bounds({', '.join(columns)})", 0, count_changes(rows, done, columns))

    def served(self, kinds: Mapping[str, Kind]) -> Sequence[FittedStep]:
        """Return the bounds of the columns that a request carries."""
        return self._steps([column for column in self.bounds.columns if kinds.get(column) == "number"])

    def _steps(self, columns: Sequence[str]) -> list[FittedBounds]:
        return [FittedBounds(column, self.bounds.min, self.bounds.max) for column in columns]
