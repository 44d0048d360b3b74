"""Missing values filled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
import polars as pl
from pydantic import Field, field_validator

from expectations.errors import TrainingError
from expectations.fields import Columns, Strict
from expectations.parts import FeatureStep, FitContext, FittedStep, Kind, Learnt, RowWriter
from tasks.preprocessing.reading import number_as_text

_OF_OTHER_ROWS = ("interpolation", "interpolate", "linear", "last", "last_value", "ffill", "next", "bfill")


@dataclass(frozen=True)
class FittedFill(FittedStep):
    """Missing values of `column` become `value`."""

    step: ClassVar[str] = "impute"

    column: str
    value: float | str

    @property
    def touches(self) -> tuple[str, ...]:
        """The column."""
        return (self.column,)

    def frame(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Fill a column."""
        return frame.with_columns(pl.col(self.column).fill_null(pl.lit(self.value)))

    def row(self, out: RowWriter) -> None:
        """Fill one value."""
        name = out.variable(self.column)
        out.line(f"if {name} is None: {name} = {self.value!r}")
        out.note(self.column, holds_text=None if isinstance(self.value, str) else False, never_missing=True)


class FixedText(Strict):
    """A text to put into columns of texts."""

    text: str


class Imputation(Strict):
    """What to put where a value is missing."""

    columns: Columns
    strategy: Annotated[Literal["median", "mean", "most_frequent"] | float | FixedText, Field(alias="with")] = "median"

    @field_validator("strategy", mode="before")
    @classmethod
    def _of_one_row(cls, value: object) -> object:
        if value in _OF_OTHER_ROWS:
            raise ValueError(
                f"{value} is made of the rows around, and a request carries one alone, so the service could not do the "
                "same. Fill it in where the source is made, or with median, mean, most_frequent, a number or a text"
            )
        return value


class Impute(FeatureStep):
    """Fill missing values with a statistic of the training rows, a fixed number or a fixed text."""

    examples: ClassVar = (
        {"impute": {"columns": ["x", "y"]}},
        {"impute": {"columns": ["x", "y"], "with": "mean"}},
        {"impute": {"columns": ["x"], "with": "most_frequent"}},
        {"impute": {"columns": ["y"], "with": 3.5}},
        {"impute": {"columns": ["t"], "with": "most_frequent"}},
        {"impute": {"columns": ["t"], "with": {"text": "unknown"}}},
    )
    fitted: ClassVar = FittedFill

    impute: Imputation

    def reads(self, held: Mapping[str, Kind]) -> dict[str, Kind]:
        """Return its columns, as what they hold; as texts where it fills in one."""
        if isinstance(self.impute.strategy, FixedText):
            return dict.fromkeys(self.impute.columns, "text")
        return {column: held.get(column, "number") for column in self.impute.columns}

    def fit(self, frame: pl.DataFrame, context: FitContext) -> Learnt:
        """Take the statistic of each column."""
        del context
        return Learnt([_fit(column, self.impute.strategy, frame) for column in self.impute.columns])


def _fit(column: str, strategy: str | float | FixedText, frame: pl.DataFrame) -> FittedFill:
    from sklearn.impute import SimpleImputer

    text = frame.schema[column] == pl.String
    if isinstance(strategy, FixedText):
        if not text:
            raise TrainingError(
                f"texts in {column}", f"{frame.schema[column]} that a step before made", "Put this step before that one"
            )
        return FittedFill(column, strategy.text)
    if not isinstance(strategy, str):
        return FittedFill(column, number_as_text(float(strategy)) if text else float(strategy))
    if text and strategy != "most_frequent":
        raise TrainingError(
            f"numbers to take the {strategy} of", f"texts in {column}", "Impute texts with most_frequent"
        )
    known = frame[column].drop_nulls()
    values = known.to_numpy().astype(object if text else np.float64).reshape(-1, 1)
    value = SimpleImputer(strategy=strategy, missing_values=None if text else np.nan).fit(values).statistics_[0]
    return FittedFill(column, str(value) if text else float(value))
