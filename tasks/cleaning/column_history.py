"""What columns held so far, and the expectations that follow from it."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from expectations.loading import ExpectationSpec
from expectations.usecase import UseCase

MARGINS = (0.1, 0.5, 2.0)
"""Of the span of a column's values, added on either side: the first of which half was enough for what came later."""
RANGE = "expect_column_values_to_be_between"
_LESS = 0.1
"""Taken off the lowest share of values."""
_MANY, _FEW = 50, 5
"""So many texts, and so many whole numbers, are a set of categories at most."""
_MIN_ROWS = 100
"""Rows without a value that comes twice, before a column is taken for unique."""
_MOSTLY = 0.99
"""Share of a delivery's rows that must pass; beneath it the delivery is held as a whole."""
_COUNT_FACTOR = 2
_VARIED, _RARE = 2, 4
"""Different values from which on a column is not constant, and how many times as many make batches too unlike."""


@dataclass
class ColumnHistory:
    """What one column held, over all parts seen.

    Attributes
    ----------
    kind : {"number", "whole", "text", "truth", "other"}
    least, most : float
        Of numbers, the finite ones; of texts, their lengths in characters.
    values : set or None
        All that were there; None where they were too many to be categories.
    lowest_share : float
        The lowest share of a part's rows that had a value, 0 to 1.
    unique : bool
        Whether no value came twice in any part.
    fewest, widest : int or None
        The fewest and the most different values of a part that is as much as later ones; None before the first.
    """

    kind: str
    rows: int = 0
    present: int = 0
    least: float = math.inf
    most: float = -math.inf
    values: set[Any] | None = field(default_factory=set)
    lowest_share: float = 1.0
    unique: bool = True
    fewest: int | None = None
    widest: int | None = None


def learn(seen: dict[str, ColumnHistory], rows: pl.DataFrame, *, like_later: bool = True) -> None:
    """Add what a part of the history holds to what was seen; technical columns, which begin with `_`, are left out.

    Parameters
    ----------
    like_later : bool
        Whether it is as much as later parts are. The first batch is all of the past: how many different values it has
        tells nothing of those that follow.
    """
    for name, dtype in rows.schema.items():
        if name.startswith("_"):
            continue
        column = seen.setdefault(name, ColumnHistory(_kind(dtype)))
        if column.kind != _kind(dtype):  # without a value so far, or wider since
            column.kind = _kind(dtype) if not column.present else "other"
        values = (rows[name].fill_nan(None) if dtype.is_float() else rows[name]).drop_nulls()
        column.rows += rows.height
        column.present += len(values)
        column.lowest_share = min(column.lowest_share, len(values) / rows.height)
        distinct = values.unique()
        if like_later:
            column.fewest = len(distinct) if column.fewest is None else min(column.fewest, len(distinct))
            column.widest = max(column.widest or 0, len(distinct))
        if column.kind == "other" or values.is_empty():
            continue
        column.unique &= len(distinct) == len(values)
        measure = values.str.len_chars() if column.kind == "text" else values
        if column.kind != "truth":
            finite = measure.filter(measure.is_finite()) if measure.dtype.is_float() else measure
            if not finite.is_empty():
                column.least = min(column.least, finite.min())  # type: ignore[type-var,assignment] # numbers
                column.most = max(column.most, finite.max())  # type: ignore[type-var,assignment]
        if column.values is not None:
            column.values |= set(distinct.head(_MANY + 1))
            column.values = column.values if len(column.values) <= _MANY else None


def _kind(dtype: pl.DataType) -> str:
    if dtype.is_integer():
        return "whole"
    kinds = {pl.String: "text", pl.Boolean: "truth"}
    return "number" if dtype.is_float() else kinds.get(type(dtype), "other")


def candidates(
    spec: UseCase, seen: Mapping[str, ColumnHistory], late: Collection[str] = (), margin: float = MARGINS[0]
) -> Iterator[ExpectationSpec]:
    """Yield expectations of columns that what was seen keeps to, ranges with a margin.

    Of a protected column nothing is said that holds a value or its length, of one that is dropped nothing at all.
    Of columns in `late`, such as the label, it is not expected that they are there; nor that keys are unique, as rows
    that share one are versions of one row.
    """
    for name, column in seen.items():
        how = spec.personal.get(name)
        if (how is not None and not how.keeps) or not column.present:
            continue
        if name not in late:
            yield from _of_presence(name, column)
        if how is not None and how.encrypts:  # each ciphertext is another
            continue
        if column.unique and column.present >= _MIN_ROWS and name not in spec.keys and column.kind in ("whole", "text"):
            yield _of("expect_column_values_to_be_unique", column=name, mostly=_MOSTLY)
        elif how is None or not how.changes:
            yield from _of_values(name, column, margin)


def varied(spec: UseCase, seen: Mapping[str, ColumnHistory], late: Collection[str] = ()) -> Iterator[ExpectationSpec]:
    """Yield the expectations that a batch has half as many different values as others had, and two at least.

    A sensor that is stuck stays within every range. Of columns in `late` a new batch may have none; nothing is said of
    one that had four times as many in one batch as in another, such as rain, which may stay away.
    """
    for name, column in seen.items():
        how = spec.personal.get(name)
        kept = how is None or (how.keeps and not how.encrypts)
        if not kept or name in late or column.fewest is None or column.widest is None:
            continue
        if column.fewest >= _VARIED and column.widest < _RARE * column.fewest:
            least = max(_VARIED, column.fewest // 2)
            yield _of("expect_column_unique_value_count_to_be_between", column=name, min_value=least)


def counted(heights: Sequence[int]) -> ExpectationSpec:
    """Return the expectation that a batch has from half the fewest rows to twice the most that others had."""
    least, most = min(heights) // _COUNT_FACTOR, max(heights) * _COUNT_FACTOR
    return _of("expect_table_row_count_to_be_between", min_value=max(1, least), max_value=most)


def _of(kind: str, **kwargs: object) -> ExpectationSpec:
    return ExpectationSpec(kind, kwargs, {})


def _of_presence(name: str, column: ColumnHistory) -> Iterator[ExpectationSpec]:
    if column.present == column.rows:
        yield _of("expect_column_values_to_not_be_null", column=name, mostly=_MOSTLY)
    elif (share := math.floor((column.lowest_share - _LESS) * 100) / 100) > 0:
        # rows without a value are as they were: only the share of them is judged, none is set apart
        yield _of("expect_column_proportion_of_non_null_values_to_be_between", column=name, min_value=share)


def _of_values(name: str, column: ColumnHistory, margin: float) -> Iterator[ExpectationSpec]:
    if column.kind == "other":
        return
    few = _FEW if column.kind in ("whole", "number") else _MANY
    if column.values and len(column.values) <= few and column.kind != "number":
        yield _of("expect_column_values_to_be_in_set", column=name, value_set=sorted(column.values), mostly=_MOSTLY)
    elif column.least <= column.most and column.kind == "text":
        bounds = {"min_value": int(column.least), "max_value": int(column.most)}
        yield _of("expect_column_value_lengths_to_be_between", column=name, **bounds, mostly=_MOSTLY)
    elif column.least <= column.most and column.kind in ("whole", "number"):
        least, most = bounds_of(column.least, column.most, whole=column.kind == "whole", margin=margin)
        yield _of(RANGE, column=name, min_value=least, max_value=most, mostly=_MOSTLY)


def bounds_of(least: float, most: float, *, whole: bool, margin: float = MARGINS[0]) -> tuple[float, float]:
    """Return bounds a share of the span beyond what was seen, rounded outwards; none below zero where no value was.

    Examples
    --------
    >>> bounds_of(0, 100, whole=True), bounds_of(-3.14159, 6.0, whole=False)
    ((0, 110), (-4.06, 6.92))
    """
    beyond = (most - least) * margin or abs(most) * margin
    low, high = least - beyond, most + beyond
    low, high = (max(0, low) if least >= 0 else low), (min(0, high) if most <= 0 else high)
    if whole:
        return math.floor(low), math.ceil(high)
    digits = 1 - math.floor(math.log10(beyond)) if beyond else 0
    scale = 10.0**digits
    return round(math.floor(low * scale) / scale, max(0, digits)), round(
        math.ceil(high * scale) / scale, max(0, digits)
    )
