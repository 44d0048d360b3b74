"""Categories as a column of zeros and ones each."""

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
class FittedOneHot(FittedStep):
    """For each of `categories` a column that is 1 where `column` holds it; all are 0 for others and missing ones."""

    step: ClassVar[str] = "one_hot"

    column: str
    categories: tuple[str, ...]

    @property
    def makes(self) -> tuple[str, ...]:
        """A name for each category."""
        return tuple(f"{self.column}={category}" for category in self.categories)

    @property
    def touches(self) -> tuple[str, ...]:
        """The column, and those it makes."""
        return (self.column, *self.makes)

    def frame(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Compare a column with each category."""
        texts = frame.select(to_text(pl.col(self.column), frame.schema[self.column]).alias("text"))["text"]
        return frame.with_columns(
            (texts == category).fill_null(value=False).cast(pl.Float64).alias(name)
            for category, name in zip(self.categories, self.makes, strict=True)
        )

    def row(self, out: RowWriter) -> None:
        """Look one category up."""
        none = (0.0,) * len(self.categories)
        found = {text: (*none[:place], 1.0, *none[place + 1 :]) for place, text in enumerate(self.categories)}
        made = "".join(f"{out.variable(name)}, " for name in self.makes)
        out.line(f"{made}= {out.bind(found)}.get({out.text(self.column)}, {out.bind(none)})")
        for name in self.makes:
            out.note(name, holds_text=False, never_missing=True)


class OneHot(FeatureStep):
    """Make a column of zeros and ones for each of the most frequent categories of the training rows."""

    learns_each_value: ClassVar[bool] = True
    examples: ClassVar = ({"one_hot": ["t"]}, {"one_hot": ["t", "n"], "max_categories": 1})
    fitted: ClassVar = FittedOneHot
    makes_categories: ClassVar = False

    one_hot: Columns
    max_categories: Annotated[int, Field(ge=1)] = 20
    """Only the most frequent ones get a column."""

    def reads(self, held: Mapping[str, Kind]) -> dict[str, Kind]:
        """Return its columns, as texts."""
        del held
        return dict.fromkeys(self.one_hot, "text")

    def makes(self) -> tuple[str, ...]:
        """Return nothing: the names depend on the rows."""
        return ()

    def fit(self, frame: pl.DataFrame, context: FitContext) -> Learnt:
        """Learn the categories of each column."""
        del context
        found = {column: frequent_categories(frame, column, self.max_categories) for column in self.one_hot}
        steps = [FittedOneHot(column, tuple(categories)) for column, categories in found.items()]
        return Learnt(steps, tuple(name for step in steps for name in step.makes), drops=self.one_hot)
