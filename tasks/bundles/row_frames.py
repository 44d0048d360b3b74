"""Rows of requests as a frame, and rows of a frame as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from expectations.column_types import TYPES_BY_NAME
from tasks.bundles.manifest import BundleColumn
from tasks.preprocessing.unreadable import UNREADABLE


def rows_to_frame(rows: Sequence[Mapping[str, Any]], columns: Sequence[BundleColumn]) -> pl.DataFrame:
    """Turn checked rows into a frame of the bundle's columns; absent ones are missing."""
    return pl.DataFrame(
        {column.name: [row.get(column.name) for row in rows] for column in columns},
        schema={column.name: TYPES_BY_NAME[column.type].request for column in columns},
        strict=False,
    )


def jsonable(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """Turn rows into what JSON can carry: instants as ISO 8601 in UTC, pictures in base64, what is not finite as null.

    A picture that could not be read is null, too.
    """
    return frame.with_columns(
        pl.col(name).dt.convert_time_zone("UTC").dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")
        if isinstance(dtype, pl.Datetime)
        else pl.when(pl.col(name).is_finite()).then(pl.col(name))
        if dtype.is_float()
        else pl.when(~pl.col(name).bin.starts_with(UNREADABLE)).then(pl.col(name).bin.encode("base64"))
        if dtype == pl.Binary
        else pl.col(name)
        for name, dtype in frame.schema.items()
    ).to_dicts()
