"""Categories as how often they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from expectations.fields import Columns
from expectations.parts import FeatureStep, FitContext, FittedStep, Kind, Learnt, RowWriter
from tasks.preprocessing.reading import to_text


@dataclass(frozen=True)
class FittedFrequency(FittedStep):
    """Categories of `column` become the share beside them in `shares`; others and missing ones 0."""

    step: ClassVar[str] = "frequency"

    column: str
    categories: tuple[str, ...]
    shares: tuple[float, ...]

    @property
    def touches(self) -> tuple[str, ...]:
        """The column."""
        return (self.column,)

    def frame(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Replace the categories of a column."""
        shares = to_text(pl.col(self.column), frame.schema[self.column]).replace_strict(
            list(self.categories), list(self.shares), default=0.0, return_dtype=pl.Float64
        )
        return frame.with_columns(shares.fill_null(0.0).alias(self.column))

    def row(self, out: RowWriter) -> None:
        """Look one category up."""
        shares = out.bind(dict(zip(self.categories, self.shares, strict=True)))
        out.line(f"{out.variable(self.column)} = {shares}.get({out.text(self.column)}, 0.0)")
        out.note(self.column, holds_text=False, never_missing=True)


class Frequency(FeatureStep):
    """Give each category its share of the training rows; others and missing ones are 0."""

    learns_each_value: ClassVar[bool] = True
    examples: ClassVar = ({"frequency": ["t"]}, {"frequency": ["t", "n"]})
    fitted: ClassVar = FittedFrequency
    makes_categories: ClassVar = False

    frequency: Columns

    def reads(self, held: Mapping[str, Kind]) -> dict[str, Kind]:
        """Return its columns, as texts."""
        del held
        return dict.fromkeys(self.frequency, "text")

    def fit(self, frame: pl.DataFrame, context: FitContext) -> Learnt:
        """Count the categories of each column."""
        del context
        return Learnt([_fit(column, frame) for column in self.frequency])


def _fit(column: str, frame: pl.DataFrame) -> FittedFrequency:
    texts = frame.select(to_text(pl.col(column), frame.schema[column]).alias("value"))["value"]
    counts = texts.drop_nulls().value_counts(name="count").sort("value")
    shares = counts["count"] / len(texts)
    return FittedFrequency(column, tuple(counts["value"]), tuple(shares))
