"""Rows of Python values, a batch at a time, to a frame: exact, and of one type a column."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterable, Mapping, Sequence, Set
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Literal

import numpy as np
import polars as pl

from expectations.column_types import TYPES_BY_NAME
from expectations.errors import SourceError
from tasks.collection.numbers import EXACT

_Kind = Literal["boolean", "integer", "number", "decimal", "text", "instant", "instant without a zone", "date", "image"]
_MEGABYTE = 10**6
"""Up to here a float holds each whole number."""
_INT64 = 2**63
_TYPES: dict[_Kind, pl.DataType] = {
    **{name: each.table for name, each in TYPES_BY_NAME.items()},
    "decimal": pl.String(),
    "instant without a zone": pl.Datetime("us"),
    "date": pl.Date(),
}
_AT_ONCE: dict[type, _Kind] = {str: "text", float: "number", bool: "boolean"}
_NUMBERS: frozenset[_Kind] = frozenset({"integer", "number", "decimal"})
_DAYS: frozenset[_Kind] = frozenset({"date", "instant without a zone"})
_AS_TEXT: frozenset[_Kind] = _NUMBERS | {"text", "boolean"}


class Batches:
    """Columns that grow by batches. What is no number (NaN) is missing.

    Parameters
    ----------
    source : str
        Name of the source, for errors.
    declared : set of str
        Columns that are brought to a declared type afterwards: decimals, and values of several types, stay texts until
        then, so that nothing is rounded on the way.
    max_megabytes : int
        Most that is held.
    """

    def __init__(self, source: str, declared: Set[str], max_megabytes: int) -> None:
        self._source, self._declared, self._max = source, declared, max_megabytes
        self._parts: dict[str, list[pl.Series]] = {}
        self._kinds: dict[str, set[_Kind]] = {}
        self._large: set[str] = set()
        self._rows = self._bytes = 0

    def add(self, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Take rows of shape (n_rows, n_columns).

        Raises
        ------
        SourceError
            If a value is of a type that no column has, or there is more than may be held.
        """
        for column in columns:
            if column not in self._parts:
                self._parts[column] = [pl.Series([None] * self._rows, dtype=pl.Null)]
                self._kinds[column] = set()
        for column, values in zip(columns, zip(*rows, strict=True), strict=True) if rows else ():
            self._parts[column].append(self._series(column, values))
        self._rows += len(rows)
        for column in self._parts.keys() - set(columns):
            self._parts[column].append(pl.Series([None] * len(rows), dtype=pl.Null))
        self._bytes += sum(int(parts[-1].estimated_size()) for parts in self._parts.values())
        if self._bytes > self._max * _MEGABYTE:
            raise SourceError(
                f"at most {self._max:,} MB from the source {self._source!r}",
                f"more, after {self._rows:,} rows",
                "Ask for fewer rows or columns; if all are needed, raise `max_megabytes` of the source",
            )

    def frame(self, types: Mapping[str, pl.DataType] | None = None) -> pl.DataFrame:
        """Return all rows.

        Parameters
        ----------
        types : mapping of str to polars.DataType, optional
            Of columns without a single value, where they are known.

        Raises
        ------
        SourceError
            If a column holds values of several types.
        """
        columns = []
        for name, parts in self._parts.items():
            dtype = self._dtype(name) or (types or {}).get(name, pl.Null())
            columns.append(pl.concat([part.cast(dtype) for part in parts]).alias(name))
        return pl.DataFrame(columns)

    def _series(self, column: str, values: Sequence[object]) -> pl.Series:
        types = set(map(type, values)) - {type(None)}
        if len(types) == 1 and (kind := _AT_ONCE.get(next(iter(types)))) is not None:
            if kind == "number":
                numbers = pl.Series(values, dtype=pl.Float64).fill_nan(None)
                self._kinds[column] |= {"number"} if numbers.null_count() < len(values) else set()
                return numbers
            self._kinds[column].add(kind)
            return pl.Series(values, dtype=_TYPES[kind])
        if types == {int} and all(value is None or -EXACT <= value <= EXACT for value in values):  # type: ignore[operator]
            self._kinds[column].add("integer")
            return pl.Series(values, dtype=pl.Int64)
        plain = [self._plain(column, value) for value in values]
        kinds = {kind for kind, _ in plain if kind is not None}
        self._kinds[column] |= kinds
        if len(kinds) == 1:
            (kind,) = kinds
            if kind == "decimal":
                return pl.Series([None if value is None else _text(value) for _, value in plain], dtype=pl.String)
            return pl.Series([value for _, value in plain], dtype=_TYPES[kind])
        if not kinds:
            return pl.Series([None] * len(values), dtype=pl.Null)
        if kinds == _DAYS:
            midnights = [
                datetime.combine(value, time()) if isinstance(value, date) and kind == "date" else value
                for kind, value in plain
            ]
            return pl.Series(midnights, dtype=_TYPES["instant without a zone"])
        self._dtype(column)  # refuses what can be no column
        return pl.Series([None if value is None else _text(value) for _, value in plain], dtype=pl.String)

    def _plain(self, column: str, value: object) -> tuple[_Kind | None, object]:
        """Return what kind a value is of, and it as Polars takes it."""
        if isinstance(value, np.generic):
            value = value.item()
        if value is None or isinstance(value, int | float | Decimal):  # a boolean is an integer, too
            return self._number(column, value)
        match value:
            case str() | uuid.UUID():
                return "text", str(value)
            case datetime():
                if value.tzinfo is None:
                    return "instant without a zone", value
                return "instant", value.astimezone(UTC)
            case date():
                return "date", value
            case bytes() if column in self._declared:  # a picture, then
                return "image", value
            case time():
                return "text", value.isoformat()
        raise SourceError(
            f"numbers, texts, booleans, dates and instants in the column {column!r} of the source {self._source!r}",
            f"a value of the type {type(value).__name__}",
            "Turn it into one of these where it is asked for, or leave the column out",
        )

    def _number(self, column: str, value: float | Decimal | None) -> tuple[_Kind | None, object]:
        if isinstance(value, bool):
            return "boolean", value
        if value is None or math.isnan(value):
            return None, None
        if isinstance(value, int):
            if abs(value) > EXACT:
                self._large.add(column)
            return ("integer" if -_INT64 <= value < _INT64 else "decimal"), value
        if isinstance(value, float) or value.is_infinite():
            return "number", float(value)
        if abs(value) > EXACT and value == value.to_integral_value():
            self._large.add(column)
            return "decimal", int(value)
        return "decimal", value

    def _dtype(self, column: str) -> pl.DataType | None:
        """Return the type of a column by all that came so far; None where nothing did."""
        kinds = self._kinds[column]
        if not kinds:
            return None
        if column in self._declared and kinds <= _AS_TEXT and (len(kinds) > 1 or kinds == {"decimal"}):
            return pl.String()
        if kinds <= _NUMBERS and kinds != {"integer"}:
            if column in self._large:
                raise SourceError(
                    f"numbers that a float holds in the column {column!r} of the source {self._source!r}",
                    "whole numbers beyond 2^53, which it would round",
                    f"Declare {column} as integer or text under `columns`",
                )
            return pl.Float64()
        if len(kinds) == 1:
            return _TYPES[next(iter(kinds))]
        if kinds == _DAYS:
            return _TYPES["instant without a zone"]
        raise SourceError(
            f"values of one type in the column {column!r} of the source {self._source!r}",
            ", ".join(sorted(kinds)),
            f"Bring them to one type where they are asked for, or declare {column} under `columns`",
        )


def _text(value: object) -> str:
    if isinstance(value, Decimal):
        return f"{value:f}"
    return str(value).lower() if isinstance(value, bool) else repr(value) if isinstance(value, float) else str(value)


def records(rows: Iterable[Mapping[str, object]]) -> tuple[list[str], list[list[object]]]:
    """Return the columns of rows that are mappings, in the order they come up in, and their values."""
    found = list(rows)
    columns = list(dict.fromkeys(name for row in found for name in row))
    return columns, [[row.get(name) for name in columns] for row in found]
