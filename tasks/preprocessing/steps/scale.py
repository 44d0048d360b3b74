"""Numbers brought to one scale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import polars as pl

from expectations.errors import TrainingError
from expectations.fields import Columns
from expectations.parts import FeatureStep, FitContext, FittedStep, Kind, Learnt, RowWriter


@dataclass(frozen=True)
class FittedScale(FittedStep):
    """`column` becomes (value - offset) * factor."""

    step: ClassVar[str] = "scale"

    column: str
    offset: float
    factor: float

    @property
    def touches(self) -> tuple[str, ...]:
        """The column."""
        return (self.column,)

    def frame(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Scale a column."""
        return frame.with_columns(((pl.col(self.column) - self.offset) * self.factor).alias(self.column))

    def row(self, out: RowWriter) -> None:
        """Scale one value."""
        name = out.variable(self.column)
        out.line(f"if {name} is not None: {name} = ({name} - {self.offset!r}) * {self.factor!r}")


class Scale(FeatureStep):
    """Bring numbers to mean 0 and deviation 1, the range 0 to 1 (minmax), or median 0 and quartiles 1 apart."""

    examples: ClassVar = (
        {"scale": ["x", "y"]},
        {"scale": ["x", "y"], "to": "minmax"},
        {"scale": ["x", "y"], "to": "robust"},
    )
    fitted: ClassVar = FittedScale
    makes_categories: ClassVar = False

    scale: Columns
    to: Literal["standard", "minmax", "robust"] = "standard"
    """`robust` is by the median and the distance of the quartiles, which outliers do not move."""

    def reads(self, held: Mapping[str, Kind]) -> dict[str, Kind]:
        """Return its columns, as numbers."""
        del held
        return dict.fromkeys(self.scale, "number")

    def fit(self, frame: pl.DataFrame, context: FitContext) -> Learnt:
        """Learn where each column lies, and how wide it is."""
        del context
        return Learnt([_fit(column, self.to, frame) for column in self.scale])


def _fit(column: str, to: str, frame: pl.DataFrame) -> FittedScale:
    from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler

    values = frame[column].cast(pl.Float64).drop_nulls().to_numpy().reshape(-1, 1)
    if not len(values):
        raise TrainingError("numbers to scale", f"{column} missing in all training rows", "Impute it before")
    if to == "standard":
        standard = StandardScaler().fit(values)
        return FittedScale(column, float(standard.mean_[0]), 1.0 / float(standard.scale_[0]))
    if to == "robust":
        robust = RobustScaler().fit(values)
        return FittedScale(column, float(robust.center_[0]), 1.0 / float(robust.scale_[0]))
    minmax = MinMaxScaler().fit(values)
    return FittedScale(column, float(minmax.data_min_[0]), float(minmax.scale_[0]))
