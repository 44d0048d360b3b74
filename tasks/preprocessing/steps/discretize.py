"""Numbers as the bin they lie in."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field

from expectations.errors import TrainingError
from expectations.fields import Columns
from expectations.parts import FeatureStep, FitContext, FittedStep, Kind, Learnt, RowWriter
from tasks.preprocessing.reading import numbers_of

Vector = npt.NDArray[np.float64]
_ITERATIONS = 300


@dataclass(frozen=True)
class FittedBins(FittedStep):
    """Values of `column` become the number of `edges` that they reach; missing ones stay missing."""

    step: ClassVar[str] = "discretize"

    column: str
    edges: tuple[float, ...]

    @property
    def touches(self) -> tuple[str, ...]:
        """The column."""
        return (self.column,)

    def frame(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Find the bins of a column."""
        values = numbers_of(frame, self.column)
        bins = np.searchsorted(np.array(self.edges, dtype=np.float64), values, side="right")
        found = np.where(np.isnan(values), np.nan, bins)
        return frame.with_columns(pl.Series(self.column, found, dtype=pl.Float64, nan_to_null=True))

    def row(self, out: RowWriter) -> None:
        """Find the bin of one value."""
        name = out.variable(self.column)
        reached = f"{out.bind(bisect_right)}({out.bind(self.edges)}, {name})"
        out.line(f"if {name} is not None: {name} = float({reached})")


class Discretize(FeatureStep):
    """Replace numbers by their bin, counted from 0: of equal width, of as many training rows each, or by k-means.

    The first and the last bin take what lies beyond the training rows; what is missing stays so. Of values that are
    often the same there are fewer bins.
    """

    examples: ClassVar = (
        {"discretize": ["x", "y"]},
        {"discretize": ["x"], "bins": 4, "by": "width"},
        {"discretize": ["y"], "bins": 3, "by": "kmeans"},
    )
    fitted: ClassVar = FittedBins
    makes_categories: ClassVar = False

    discretize: Columns
    bins: Annotated[int, Field(ge=2, le=1000)] = 10
    by: Literal["quantile", "width", "kmeans"] = "quantile"

    def reads(self, held: Mapping[str, Kind]) -> dict[str, Kind]:
        """Return its columns, as numbers."""
        del held
        return dict.fromkeys(self.discretize, "number")

    def fit(self, frame: pl.DataFrame, context: FitContext) -> Learnt:
        """Learn the edges between the bins of each column."""
        del context
        return Learnt([_fit(column, self.bins, self.by, frame) for column in self.discretize])


def _fit(column: str, bins: int, by: str, frame: pl.DataFrame) -> FittedBins:
    values = numbers_of(frame, column)
    values = np.sort(values[~np.isnan(values)])
    if not len(values):
        raise TrainingError("numbers to discretize", f"{column} missing in all training rows", "Impute it before")
    if by == "quantile":
        inner = np.quantile(values, np.linspace(0, 1, bins + 1), method="averaged_inverted_cdf")[1:-1]
    elif by == "width":
        inner = np.linspace(values[0], values[-1], bins + 1)[1:-1]
    else:
        inner = _between_means(values, bins)
    inner = np.unique(inner)
    return FittedBins(column, tuple(inner[inner > values[0]].tolist()))  # at the least value nothing lies below


def _between_means(values: Vector, bins: int) -> Vector:
    """Return the edges that lie between the k means of sorted values (Lloyd, 1982).

    They start from as many of the distinct values, equally many of these apart.
    """
    distinct = np.unique(values)
    count = min(bins, len(distinct))
    means = distinct[((np.arange(count) + 0.5) * len(distinct) / count).astype(np.int64)]
    for _ in range(_ITERATIONS):
        starts = np.concatenate([[0], np.searchsorted(values, (means[1:] + means[:-1]) / 2)])
        counts = np.diff(starts, append=len(values))
        taken = counts > 0
        found = np.add.reduceat(values, starts[taken]) / counts[taken]
        if np.array_equal(found, means):
            break
        means = found
    return (means[1:] + means[:-1]) / 2
