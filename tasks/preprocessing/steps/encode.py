"""Categories as numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import polars as pl
from pydantic import Field

from expectations.fields import Columns
from expectations.parts import FeatureStep, FitContext, FittedStep, Kind, Learnt, RowWriter
from tasks.preprocessing.reading import frequent_categories, to_text


@dataclass(frozen=True)
class FittedOrdinal(FittedStep):
    """Categories of `column` become their position in `categories`; others and missing ones -1."""

    step: ClassVar[str] = "encode"

    column: str
    categories: tuple[str, ...]

    @property
    def touches(self) -> tuple[str, ...]:
        """The column."""
        return (self.column,)

    def frame(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Give the categories of a column their numbers."""
        codes = to_text(pl.col(self.column), frame.schema[self.column]).replace_strict(
            list(self.categories), list(range(len(self.categories))), default=-1.0, return_dtype=pl.Float64
        )
        return frame.with_columns(codes.fill_null(-1.0).alias(self.column))

    def row(self, out: RowWriter) -> None:
        """Give one category its number."""
        codes = out.bind({text: float(code) for code, text in enumerate(self.categories)})
        out.line(f"{out.variable(self.column)} = {codes}.get({out.text(self.column)}, -1.0)")
        out.note(self.column, holds_text=False, never_missing=True)


class Encode(FeatureStep):
    """Give each category of the training rows a number in alphabetical order; others are -1."""

    learns_each_value: ClassVar[bool] = True
    examples: ClassVar = ({"encode": ["t"]}, {"encode": ["t", "n"], "max_categories": 2})
    fitted: ClassVar = FittedOrdinal
    makes_categories: ClassVar = True

    encode: Columns
    max_categories: Annotated[int, Field(ge=2)] = 1000
    """Only the most frequent ones get a number."""

    def reads(self, held: Mapping[str, Kind]) -> dict[str, Kind]:
        """Return its columns, as texts."""
        del held
        return dict.fromkeys(self.encode, "text")

    def fit(self, frame: pl.DataFrame, context: FitContext) -> Learnt:
        """Learn the categories of each column."""
        del context
        found = {column: frequent_categories(frame, column, self.max_categories) for column in self.encode}
        return Learnt([FittedOrdinal(column, tuple(categories)) for column, categories in found.items()])
