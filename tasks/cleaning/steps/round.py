"""Numbers with as many digits as they mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import polars as pl
from pydantic import Field

from expectations.fields import Columns
from expectations.parts import CleaningStep, FittedStep, Kind, Repaired, RowWriter
from tasks.cleaning.changes import count_changes
from tasks.preprocessing.reading import numbers_of

_WHOLE = 2.0**52
"""Numbers from here on have nothing behind the decimal point."""


@dataclass(frozen=True)
class FittedRound(FittedStep):
    """Values of `column` are rounded to `digits` behind the decimal point."""

    step: ClassVar[str] = "round"

    column: str
    digits: int

    @property
    def touches(self) -> tuple[str, ...]:
        """The column."""
        return (self.column,)

    @property
    def _factor(self) -> float:
        return 10.0 ** abs(self.digits)

    def frame(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Round a column, by the operations that round one value."""
        values, factor = numbers_of(frame, self.column), self._factor
        with np.errstate(over="ignore"):
            scaled = values * factor if self.digits >= 0 else values / factor
            whole = np.rint(scaled) + 0.0  # no -0.0
            rounded = whole / factor if self.digits >= 0 else whole * factor
        found = np.where(np.abs(scaled) < _WHOLE, rounded, values)
        return frame.with_columns(pl.Series(self.column, found, dtype=pl.Float64, nan_to_null=True))

    def row(self, out: RowWriter) -> None:
        """Round one value."""
        name = out.variable(self.column)
        out.line(f"if {name} is not None: {name} = {out.bind(self._rounded)}({name})")

    def _rounded(self, value: float) -> float:
        scaled = value * self._factor if self.digits >= 0 else value / self._factor
        if not abs(scaled) < _WHOLE:
            return value
        whole = float(round(scaled))
        return whole / self._factor if self.digits >= 0 else whole * self._factor


class Round(CleaningStep):
    """Round numbers to digits behind the decimal point (negative: to tens, hundreds, …), halves to the even digit."""

    examples: ClassVar = ({"round": ["x"], "digits": 2}, {"round": ["x", "n"], "digits": -1})
    fitted: ClassVar = FittedRound
    computes: ClassVar = True
    own_columns: ClassVar = True

    round: Columns
    digits: Annotated[int, Field(ge=-12, le=12)] = 0

    def reads(self) -> tuple[str, ...]:
        """Return its columns."""
        return self.round

    def repair(self, rows: pl.DataFrame, keys: Sequence[str]) -> tuple[pl.DataFrame, Repaired]:
        """Round them; integers have no digits behind the point."""
        del keys
        done = rows
        for column in self.round:
            if self.digits < 0 or not rows.schema[column].is_integer():
                done = FittedRound(column, self.digits).frame(done)
        return done, Repaired(f"round({', '.join(self.round)})", 0, count_changes(rows, done, self.round))

    def served(self, kinds: Mapping[str, Kind]) -> Sequence[FittedStep]:
        """Return it for the columns that a request carries."""
        return [FittedRound(column, self.digits) for column in self.round if kinds.get(column) == "number"]
