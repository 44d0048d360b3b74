"""Steps of the feature program: everything that is fitted."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    Field,
    Tag,
)

from expectations.fields import Columns, Formula, Strict, Zone, by_first_key

CalendarPart = Literal["minute", "hour", "day", "weekday", "month", "quarter", "week", "day_of_year", "year", "weekend"]


class NumericStep(Strict):
    """Take columns as numbers, as they are."""

    numeric: Columns


class ExpressionStep(Strict):
    """Compute a number from columns of the row (conditions count as 0 and 1)."""

    expression: Formula
    name: str


class CalendarStep(Strict):
    """Parts of an instant in a time zone; weekday counts from Monday = 0, the rest as people count."""

    calendar: str
    parts: Annotated[tuple[CalendarPart, ...], Field(min_length=1)]
    timezone: Zone = "UTC"


class Imputation(Strict):
    """What to put where a value is missing."""

    columns: Columns
    strategy: Annotated[Literal["median", "mean", "most_frequent"] | float, Field(alias="with")] = "median"


class ImputeStep(Strict):
    """Fill missing values with a statistic of the training rows, or a fixed number."""

    impute: Imputation


class EncodeStep(Strict):
    """Give each category of the training rows a number in alphabetical order; others are -1."""

    encode: Columns
    max_categories: Annotated[int, Field(ge=2)] = 1000
    """Only the most frequent ones get a number."""


class ScaleStep(Strict):
    """Bring numbers to mean 0 and deviation 1 (standard) or to the range 0 to 1 (minmax)."""

    scale: Columns
    to: Literal["standard", "minmax"] = "standard"


FeatureStep = Annotated[
    Annotated[NumericStep, Tag("numeric")]
    | Annotated[ExpressionStep, Tag("expression")]
    | Annotated[CalendarStep, Tag("calendar")]
    | Annotated[ImputeStep, Tag("impute")]
    | Annotated[EncodeStep, Tag("encode")]
    | Annotated[ScaleStep, Tag("scale")],
    by_first_key("numeric", "expression", "calendar", "impute", "encode", "scale"),
]


def columns_read(step: FeatureStep) -> tuple[str, ...]:
    """Columns a feature step reads, raw or made by a step before."""
    match step:
        case NumericStep():
            return step.numeric
        case ExpressionStep():
            return step.expression.columns
        case CalendarStep():
            return (step.calendar,)
        case ImputeStep():
            return step.impute.columns
        case EncodeStep():
            return step.encode
        case ScaleStep():
            return step.scale


def columns_made(step: FeatureStep) -> tuple[str, ...]:
    """Feature columns a step makes or replaces."""
    match step:
        case ExpressionStep():
            return (step.name,)
        case CalendarStep():
            return tuple(f"{step.calendar}_{part}" for part in step.parts)
        case _:
            return columns_read(step)
