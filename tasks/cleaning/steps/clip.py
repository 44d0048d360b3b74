"""Values within bounds."""

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
class FittedBound(FittedStep):
    """Values of `column` outside [low, high] become the bound; None is no bound."""

    step: ClassVar[str] = "clip"

    column: str
    low: float | None
    high: float | None

    @property
    def touches(self) -> tuple[str, ...]:
        """The column."""
        return (self.column,)

    def frame(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Bound a column."""
        return frame.with_columns(pl.col(self.column).clip(self.low, self.high))

    def row(self, out: RowWriter) -> None:
        """Bound one value."""
        name = out.variable(self.column)
        if self.low is not None:
            out.line(f"if {name} is not None and {name} < {self.low!r}: {name} = {self.low!r}")
        if self.high is not None:
            out.line(f"if {name} is not None and {name} > {self.high!r}: {name} = {self.high!r}")


class ClipRange(Strict):
    """Bounds; values beyond are set to them."""

    columns: Columns
    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError("clip needs min, max or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}")
        return self


class Clip(CleaningStep):
    """Set values outside a range to its bounds."""

    examples: ClassVar = ({"clip": {"columns": ["x"], "min": -2, "max": 1000}}, {"clip": {"columns": ["y"], "max": 3}})
    fitted: ClassVar = FittedBound
    computes: ClassVar = True
    own_columns: ClassVar = True

    clip: ClipRange

    def reads(self) -> tuple[str, ...]:
        """Return its columns."""
        return self.clip.columns

    def repair(self, rows: pl.DataFrame, keys: Sequence[str]) -> tuple[pl.DataFrame, Repaired]:
        """Set them."""
        del keys
        columns = self.clip.columns
        clipped = rows.with_columns(pl.col(columns).clip(self.clip.min, self.clip.max))
        return clipped, Repaired(f"clip({', '.join(columns)})", 0, count_changes(rows, clipped, columns))

    def served(self, kinds: Mapping[str, Kind]) -> Sequence[FittedStep]:
        """Return the bounds of the columns that a request carries."""
        numbers = [column for column in self.clip.columns if kinds.get(column) == "number"]
        return [FittedBound(column, self.clip.min, self.clip.max) for column in numbers]
