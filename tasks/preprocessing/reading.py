"""How raw columns are read: the same from a frame and from a row."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from expectations.parts import Kind
from tasks.preprocessing.formulas import finite
from tasks.preprocessing.pictures import read_picture

Row = Mapping[str, object]
REMEMBERED_INSTANTS = 4096
_MAX_INSTANT = 40
"""Longer texts are read, and not remembered."""
_TEXT_LIMIT = 2.0**63


@dataclass(frozen=True)
class Input:
    """A raw column the program reads, and what it reads it as."""

    name: str
    kind: Kind


def read_input(column: Input, dtype: pl.DataType) -> pl.Expr:
    """Bring a raw column to the kind the program reads it as; what cannot be read raises in Polars."""
    raw = pl.col(column.name)
    if column.kind == "number":
        return finite(raw.cast(pl.Float64, strict=True)).alias(column.name)
    if column.kind == "instant":
        if dtype == pl.String:
            raw = raw.str.to_datetime(time_unit="us", time_zone="UTC")
        elif isinstance(dtype, pl.Datetime) and dtype.time_zone is None:
            raw = raw.dt.replace_time_zone("UTC")
        elif dtype == pl.Null:
            raw = raw.cast(pl.Datetime("us", "UTC"))
        return raw.dt.convert_time_zone("UTC").dt.cast_time_unit("us").alias(column.name)
    if column.kind == "image":
        if dtype not in (pl.Binary, pl.String, pl.Null):
            raise pl.exceptions.InvalidOperationError(f"{dtype} in {column.name}, where pictures are needed")
        return raw.map_elements(read_picture, return_dtype=pl.Binary).alias(column.name)
    return to_text(raw, dtype).alias(column.name)


def to_text(values: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Write values as text; whole numbers without a decimal point, and those beyond 64 bits as missing."""
    if dtype.is_float():
        values = pl.when(values.abs() < _TEXT_LIMIT).then(values.cast(pl.Float64))
        whole = values.is_finite() & (values == values.floor())
        return (
            pl.when(whole)
            .then(pl.when(whole).then(values).cast(pl.Int64).cast(pl.String))
            .otherwise(pl.when(~whole).then(finite(values)).map_batches(_written, return_dtype=pl.String))
        )
    return values.cast(pl.String)


def numbers_of(frame: pl.DataFrame, column: str) -> npt.NDArray[np.float64]:
    """Return a column of numbers, missing ones as NaN; one of anything else raises in Polars."""
    values = frame[column]
    if not values.dtype.is_numeric():
        raise pl.exceptions.InvalidOperationError(f"{values.dtype} in {column}, where numbers are needed")
    return values.cast(pl.Float64).to_numpy()


def frequent_categories(frame: pl.DataFrame, column: str, at_most: int) -> list[str]:
    """Return the most frequent values of a column as texts, in alphabetical order; of equally many the first ones."""
    texts = frame.select(to_text(pl.col(column), frame.schema[column]).alias("value"))["value"].drop_nulls()
    counts = texts.value_counts(name="count").sort(["count", "value"], descending=[True, False])
    return sorted(counts["value"].head(at_most))


def _written(values: pl.Series) -> pl.Series:
    """Write numbers as Python does; Polars writes small ones in another way."""
    numbers = values.unique().drop_nulls()
    return values.replace_strict(
        numbers, [number_as_text(number) for number in numbers], default=None, return_dtype=pl.String
    )


def read_number(value: Any) -> float | None:  # noqa: ANN401 - whatever a request holds
    """Read a number; what is not finite is missing, a text is an error."""
    if value is None:
        return None
    if isinstance(value, str):
        raise TypeError("a number is needed, not a text")
    number = float(value)
    return number if math.isfinite(number) else None


def read_text(value: Any) -> str | None:  # noqa: ANN401
    """Read a text; other values as `to_text` writes them."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return number_as_text(value) if abs(value) < _TEXT_LIMIT else None
    return str(value)


def number_as_text(value: float) -> str:
    """Write a number as text; a whole one without a decimal point."""
    return str(int(value)) if value.is_integer() else str(value)


def read_instant(value: Any) -> datetime | None:  # noqa: ANN401
    """Read an instant, in UTC where it says no zone."""
    if value is None:
        return None
    if isinstance(value, str):
        return _parse_instant(value) if len(value) <= _MAX_INSTANT else _parse_instant.__wrapped__(value)
    if not isinstance(value, datetime):
        raise TypeError("an instant is needed: an ISO 8601 text")
    return _in_utc(value)


@lru_cache(REMEMBERED_INSTANTS)
def _parse_instant(text: str) -> datetime:
    return _in_utc(datetime.fromisoformat(text))


def _in_utc(instant: datetime) -> datetime:
    """Return an instant in UTC: there the two hours of a clock change differ, and so do their hashes."""
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
