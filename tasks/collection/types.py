"""Bring columns to the types that a use case declares."""

from __future__ import annotations

import polars as pl

from expectations.data import Clock
from expectations.errors import SourceError

_TYPES: dict[str, pl.DataType] = {
    "number": pl.Float64(),
    "integer": pl.Int64(),
    "text": pl.String(),
    "boolean": pl.Boolean(),
    "instant": pl.Datetime("us", "UTC"),
}
_TRUE, _FALSE = ("true", "t", "yes", "y", "1", "1.0"), ("false", "f", "no", "n", "0", "0.0")
TRUE_OR_FALSE = ("true", "false")
"""Texts that are read as booleans where nothing is declared."""


def plain(frame: pl.DataFrame, clock: Clock | None) -> pl.DataFrame:
    """Bring the types a source may hold to those the lake keeps."""
    columns = []
    for name, dtype in frame.schema.items():
        if isinstance(dtype, pl.Categorical | pl.Enum):
            columns.append(frame[name].cast(pl.String))
        elif isinstance(dtype, pl.Decimal) or dtype == pl.Float32:
            columns.append(frame[name].cast(pl.Float64))
        elif dtype.is_integer():
            columns.append(frame[name].cast(pl.Int64))
        elif dtype == pl.Date or isinstance(dtype, pl.Datetime):
            columns.append(instants(frame[name], clock))
        else:
            columns.append(frame[name])
    return pl.DataFrame(columns)


def cast_column(values: pl.Series, wanted: str, source: str, clock: Clock | None) -> pl.Series:
    """Bring a column to a declared type.

    Raises
    ------
    SourceError
        If a value cannot be read as that type; it names the column, how many, and the first row, never the value.
    """
    target = _TYPES[wanted]
    if values.dtype == target:
        return values
    if wanted in ("number", "integer") and values.dtype == pl.String:  # some writers fill numbers up with spaces
        values = values.str.strip_chars()
    if wanted == "instant":
        out = instants(values, clock)
    elif wanted == "boolean" and values.dtype == pl.String:
        lower = values.str.strip_chars().str.to_lowercase()
        out = pl.select(
            pl.when(lower.is_in(_TRUE)).then(statement=True).when(lower.is_in(_FALSE)).then(statement=False)
        ).to_series()
    elif wanted == "integer" and values.dtype in (pl.String, pl.Float64, pl.Float32):
        numbers = values.cast(pl.Float64, strict=False)
        out = pl.select(pl.when(numbers == numbers.floor()).then(numbers)).to_series().cast(pl.Int64, strict=False)
        if values.dtype == pl.String:  # a float rounds whole numbers of more than 15 digits: two orders would be one
            out = pl.select(pl.coalesce(values.cast(pl.Int64, strict=False), out)).to_series()
    else:
        out = values.cast(target, strict=False)
    bad = values.is_not_null() & out.is_null()
    if bad.any():
        raise SourceError(
            f"{wanted} in the column {values.name!r} of the source {source!r}",
            f"{int(bad.sum())} of {len(values)} values that are none, the first in row {int(bad.arg_max() or 0) + 1}",
            "Correct the source, name such values under `missing`, or declare another type",
        )
    return out.alias(values.name)


def instants(values: pl.Series, clock: Clock | None) -> pl.Series:
    """Read a column as instants; those of the clock in its zone where they carry none, what is none as missing."""
    zone = clock.timezone if clock is not None and values.name == clock.column else "UTC"
    if values.dtype == pl.String:
        sample = values.drop_nulls().head(1)
        offset = len(sample) and (sample[0].endswith("Z") or "+" in sample[0][10:] or "-" in sample[0][10:])
        try:
            if offset:
                return values.str.to_datetime(time_unit="us", time_zone="UTC", strict=False)
            naive = values.str.to_datetime(time_unit="us", strict=False)
        except pl.exceptions.ComputeError:  # no format fits the first values: all of them are wrong
            return pl.Series(values.name, [None] * len(values), dtype=pl.Datetime("us", "UTC"))
    elif isinstance(values.dtype, pl.Datetime) and values.dtype.time_zone is not None:
        return values.dt.convert_time_zone("UTC").dt.cast_time_unit("us")
    elif values.dtype in (pl.Date, pl.Datetime):
        naive = values.cast(pl.Datetime("us"))
    else:
        return pl.Series(values.name, [None] * len(values), dtype=pl.Datetime("us", "UTC"))
    return naive.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null").dt.convert_time_zone("UTC")
