"""Numbers beyond what the training rows mostly held."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
import polars as pl
from pydantic import Field, model_validator

from expectations.errors import TrainingError
from expectations.fields import Columns
from expectations.parts import FeatureStep, FitContext, FittedStep, Kind, Learnt, RowWriter
from tasks.preprocessing.reading import numbers_of

Quantile = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True)
class FittedOutliers(FittedStep):
    """Values of `column` outside [low, high] become the bound, or missing where `missing`."""

    step: ClassVar[str] = "outliers"

    column: str
    low: float
    high: float
    missing: bool

    @property
    def touches(self) -> tuple[str, ...]:
        """The column."""
        return (self.column,)

    def frame(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Bound a column."""
        values = numbers_of(frame, self.column)
        low, high = (np.nan, np.nan) if self.missing else (self.low, self.high)
        found = np.where(values < self.low, low, np.where(values > self.high, high, values))
        return frame.with_columns(pl.Series(self.column, found, dtype=pl.Float64, nan_to_null=True))

    def row(self, out: RowWriter) -> None:
        """Bound one value."""
        name = out.variable(self.column)
        low, high = ("None", "None") if self.missing else (repr(self.low), repr(self.high))
        out.line(f"if {name} is not None: {name} = {self._chosen(name, low, high)}")
        if self.missing:
            out.note(self.column, never_missing=False)

    def _chosen(self, name: str, low: str, high: str) -> str:
        return f"{low} if {name} < {self.low!r} else {high} if {name} > {self.high!r} else {name}"


class Outliers(FeatureStep):
    """Bring numbers outside two quantiles of the training rows to these quantiles, or make them missing.

    What is missing already stays so.
    """

    examples: ClassVar = (
        {"outliers": ["x", "y"]},
        {"outliers": ["x"], "quantiles": [0.1, 0.75], "to": "missing"},
    )
    fitted: ClassVar = FittedOutliers
    makes_categories: ClassVar = False

    outliers: Columns
    quantiles: tuple[Quantile, Quantile] = (0.01, 0.99)
    """Between neighbours the quantile lies on the line between them."""
    to: Literal["bound", "missing"] = "bound"

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        low, high = self.quantiles
        if low >= high:
            raise ValueError(f"quantile {low} is not below quantile {high}")
        return self

    def reads(self, held: Mapping[str, Kind]) -> dict[str, Kind]:
        """Return its columns, as numbers."""
        del held
        return dict.fromkeys(self.outliers, "number")

    def fit(self, frame: pl.DataFrame, context: FitContext) -> Learnt:
        """Learn the quantiles of each column."""
        del context
        return Learnt([self._fit(column, frame) for column in self.outliers])

    def _fit(self, column: str, frame: pl.DataFrame) -> FittedOutliers:
        values = numbers_of(frame, column)
        values = values[~np.isnan(values)]
        if not len(values):
            raise TrainingError(
                "numbers to take quantiles of", f"{column} missing in all training rows", "Take it out of `outliers`"
            )
        low, high = np.quantile(values, self.quantiles)
        return FittedOutliers(column, float(low), float(high), self.to == "missing")
