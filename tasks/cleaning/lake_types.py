"""What the lake's types mean to Great Expectations, which judges pandas' columns.

Two of them differ: whole numbers of which some are missing would be floats to pandas, and be judged as such (``1.0``
for 1, 9007199254740993 rounded); and instants are in UTC, with which no bound without an offset can be compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import polars as pl

from expectations.usecase import UseCase

_BOUNDS = ("min_value", "max_value", "value_set")
_OF_NO_GAPS = frozenset({
    "expect_column_kl_divergence_to_be_less_than",
    "expect_column_values_to_be_of_type",
    "expect_column_values_to_be_in_type_list",
})  # fmt: skip
"""Of one column, and not able to judge integers with gaps as such, or asking what pandas holds them as."""


def to_pandas(rows: pl.DataFrame, *, exactly: bool) -> pd.DataFrame:
    """Return rows as pandas has them.

    Parameters
    ----------
    exactly : bool
        Whether integers stay such where some are missing, for expectations that `judges_exactly` is true of.
    """
    frame = rows.to_pandas(use_pyarrow_extension_array=False)
    if not exactly:
        return frame
    whole = {
        name: pd.arrays.IntegerArray(
            rows[name].cast(pl.Int64).fill_null(0).to_numpy(writable=True), rows[name].is_null().to_numpy(writable=True)
        )
        for name, dtype in rows.schema.items()
        if dtype.is_integer() and rows[name].null_count()
    }
    return frame.assign(**whole)


def judges_exactly(expectation: str, arguments: Mapping[str, Any]) -> bool:
    """Whether an expectation leaves missing integers out by itself: one of a single column, of all rows.

    Under a condition rows whose value is missing would count as not meeting it, whatever it says.
    """
    return "column" in arguments and not arguments.get("row_condition") and expectation not in _OF_NO_GAPS


def in_utc(arguments: Mapping[str, Any], schema: Mapping[str, pl.DataType], spec: UseCase) -> dict[str, Any]:
    """Return the arguments of an expectation with bounds of instants in UTC.

    A bound without an offset is read as values of its column are: in the clock's zone, or else in UTC.

    Raises
    ------
    ValueError
        If a bound of a column of instants is a text that is none.
    """
    column = arguments.get("column")
    if not isinstance(column, str) or not isinstance(schema.get(column), pl.Datetime):
        return dict(arguments)
    zone = ZoneInfo(spec.clock_zone if column == spec.time_column else "UTC")
    return {
        name: _instants(value, zone, name) if name in _BOUNDS and value is not None else value
        for name, value in arguments.items()
    }


def _instants(value: object, zone: ZoneInfo, name: str) -> object:
    if isinstance(value, list):
        return [_instant(each, zone, name) for each in value]
    return _instant(value, zone, name)


def _instant(value: object, zone: ZoneInfo, name: str) -> object:
    if value is None or isinstance(value, int | float):
        return value
    try:
        read = datetime.fromisoformat(str(value))
        return (read if read.tzinfo is not None else read.replace(tzinfo=zone)).astimezone(ZoneInfo("UTC"))
    except (ValueError, OverflowError):  # also one whose moment is beyond the years that there are
        raise ValueError(
            f"{name} of a column of instants must be an instant in ISO 8601, such as 2024-01-31T12:00:00Z"
        ) from None
