"""Numbers in another unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import polars as pl
from pydantic import Field

from expectations.fields import Columns, Strict
from expectations.parts import CleaningStep, FittedStep, Kind, Repaired, RowWriter
from tasks.cleaning.changes import count_changes
from tasks.preprocessing.formulas import finite


@dataclass(frozen=True)
class FittedConversion(FittedStep):
    """Values of `column` become value * factor + offset."""

    step: ClassVar[str] = "convert"

    column: str
    factor: float
    offset: float

    @property
    def touches(self) -> tuple[str, ...]:
        """The column."""
        return (self.column,)

    def frame(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Convert a column."""
        return frame.with_columns(converted(self.column, self.factor, self.offset))

    def row(self, out: RowWriter) -> None:
        """Convert one value."""
        name = out.variable(self.column)
        out.line(f"if {name} is not None: {name} = {name} * {self.factor!r} + {self.offset!r}")
        out.line(f"if {name} is not None and not _isfinite({name}): {name} = None")


def converted(column: str, factor: float, offset: float) -> pl.Expr:
    """Return value * factor + offset; missing where that is no finite number."""
    return finite(pl.col(column).cast(pl.Float64) * factor + offset).alias(column)


class Conversion(Strict):
    """What a value is multiplied by, and what is added then."""

    columns: Columns
    factor: Annotated[float, Field(gt=0)] = 1.0
    offset: float = 0.0


class Convert(CleaningStep):
    """Bring numbers to another unit: value * factor + offset."""

    examples: ClassVar = (
        {"convert": {"columns": ["x"], "factor": 0.0254}},
        {"convert": {"columns": ["x", "y"], "factor": 0.5555555555555556, "offset": -17.77777777777778}},
    )
    fitted: ClassVar = FittedConversion
    computes: ClassVar = True
    own_columns: ClassVar = True

    convert: Conversion

    def reads(self) -> tuple[str, ...]:
        """Return its columns."""
        return self.convert.columns

    def repair(self, rows: pl.DataFrame, keys: Sequence[str]) -> tuple[pl.DataFrame, Repaired]:
        """Convert them."""
        del keys
        columns = self.convert.columns
        done = rows.with_columns(converted(column, self.convert.factor, self.convert.offset) for column in columns)
        return done, Repaired(f"convert({', '.join(columns)})", 0, count_changes(rows, done, columns))

    def served(self, kinds: Mapping[str, Kind]) -> Sequence[FittedStep]:
        """Return the conversion of the columns that a request carries."""
        numbers = [column for column in self.convert.columns if kinds.get(column) == "number"]
        return [FittedConversion(column, self.convert.factor, self.convert.offset) for column in numbers]
