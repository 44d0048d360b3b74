"""Columns of a table brought to what requests of their values are read as."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import polars as pl

from tasks.bundles.manifest import BundleColumn, Manifest
from tasks.preprocessing.instants import Instants
from tasks.preprocessing.pictures import Pictures


def as_requested(values: pl.Series, column: BundleColumn, manifest: Manifest) -> pl.Series:
    """Bring a column to what requests of its values would be read as.

    Raises
    ------
    TypeError
        If they would be refused.
    """
    try:
        match column.type:
            case "instant":
                zone = manifest.timezone if column.name == manifest.clock else "UTC"
                return Instants(ZoneInfo(zone), column.format).column(values)
            case "text":
                return values
            case "image":
                return _pictures(values, Pictures.of(column))
            case "boolean":
                return _boolean(values)
            case "integer":
                return _whole(values)
            case _:
                return _number(values)
    except TypeError as error:
        raise TypeError(f"the column {column.name} needs {error}") from None


def _pictures(values: pl.Series, pictures: Pictures) -> pl.Series:
    return pl.Series(values.name, [pictures.check(each) for each in values.to_list()], dtype=pl.Binary)


def _number(values: pl.Series) -> pl.Series:
    if not (values.dtype.is_numeric() or values.dtype in (pl.Boolean, pl.Null)):
        raise TypeError("a number")
    numbers = values.cast(pl.Float64)
    return pl.select(pl.when(numbers.is_finite()).then(numbers)).to_series()


def _is_infinite(values: pl.Series) -> bool:
    return values.dtype.is_float() and bool(values.is_infinite().any())


def _whole(values: pl.Series) -> pl.Series:
    if values.dtype.is_integer():
        return values.cast(pl.Int64)
    numbers = _number(values)
    if _is_infinite(values):
        raise TypeError("a whole number of 64 bits")
    if not (numbers == numbers.floor()).all():
        raise TypeError("a whole number of 64 bits")
    return numbers.cast(pl.Int64)


def _boolean(values: pl.Series) -> pl.Series:
    if values.dtype == pl.Boolean:
        return values
    numbers = _number(values)
    if _is_infinite(values) or not numbers.drop_nulls().is_in([0.0, 1.0]).all():
        raise TypeError("true or false")
    return numbers.cast(pl.Boolean)
