"""The compact state that rows look back into: of each entity its values in the order of their times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from expectations.errors import TrainingError
from tasks.preprocessing.history.aggregates import Floats, Places

_EPOCH, _TICK = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
BETWEEN = "\0"
"""Between the values of an entity: no text that is collected or asked has it."""
_CODE = "\0entity"
SECOND = 1_000_000
"""Ticks of a second: times are whole microseconds since 1970."""


def ticks_of(instant: datetime) -> int:
    """Return an aware instant as microseconds since 1970."""
    return (instant - _EPOCH) // _TICK


def entity_of(values: Sequence[object]) -> str | None:
    r"""Name an entity by the values of its columns, the same from a table and from a request; None where one lacks.

    Examples
    --------
    >>> entity_of([7]), entity_of([7.0]), entity_of(["a", True]), entity_of([None]), entity_of([])
    ('7', '7', 'a\x00true', None, '')
    """
    found = []
    for value in values:
        if value is None or value != value:
            return None
        if isinstance(value, bool):
            found.append("true" if value else "false")
        elif isinstance(value, float):
            found.append(str(int(value)) if value.is_integer() else repr(value))
        else:
            found.append(str(value))
    return BETWEEN.join(found)


@dataclass(frozen=True)
class EntitySeries:
    """Values of one column, by entity and in the order of their times.

    Attributes
    ----------
    entities : mapping of str to (int, int)
        Entity -> where its rows begin and where they end.
    times : ndarray of int of shape (n_rows,)
        Microseconds since 1970, ascending within an entity.
    values : ndarray of shape (n_rows,)
        Finite.
    since : int, optional
        The time from which on nothing is left out; before it are at most the newest few rows of each entity. None where
        all rows are there.
    until : int, optional
        The time from which on rows may be lacking, as they were not known when it was written; None where none are.
    """

    entities: Mapping[str, tuple[int, int]]
    times: Places
    values: Floats
    since: int | None = None
    until: int | None = None

    def kept(self, since: int, rows: int) -> EntitySeries:
        """Leave out what lies before a time, but of each entity the newest `rows` of it."""
        if self.since is not None and since <= self.since:
            return self
        entities, taken, at = {}, [], 0
        for entity, (first, after) in self.entities.items():
            begin = first + int(np.searchsorted(self.times[first:after], since))
            begin = max(first, begin - rows)
            if begin < after:
                entities[entity] = at, at + after - begin
                taken.append(np.arange(begin, after))
                at += after - begin
        places = np.concatenate(taken) if taken else np.zeros(0, np.int64)
        return EntitySeries(entities, self.times[places], self.values[places], since, self.until)


NO_ROWS = EntitySeries({}, np.zeros(0, np.int64), np.zeros(0))


def series_of(rows: pl.DataFrame, of: str, by: Sequence[str], clock: str) -> EntitySeries:
    """Lay a column of rows out by entity.

    Parameters
    ----------
    rows : polars.DataFrame
        In order of time, and then of keys: of rows of one entity at one time the last counts as the newest. Those
        without a value, a time or an entity are left out.

    Raises
    ------
    TrainingError
        If the column holds no numbers, or an entity cannot be identified by these columns.
    """
    dtype = rows.schema[of]
    if not (dtype.is_numeric() or dtype in (pl.Boolean, pl.Null)):
        raise TrainingError(
            f"numbers in {of}, which `history` looks back at",
            f"{dtype}",
            "Name a column of numbers, or declare its type under `columns`",
        )
    values = rows[of].cast(pl.Float64)
    usable = values.is_finite().fill_null(value=False) & rows[clock].is_not_null()
    codes, names = entity_codes(rows, by)
    usable &= pl.Series(codes >= 0)
    kept = usable.to_numpy()
    codes = codes[kept]
    times = rows[clock].dt.epoch("us").to_numpy()[kept]
    order = np.lexsort((times, codes))  # stable
    bounds = np.searchsorted(codes[order], np.arange(len(names) + 1)).tolist()
    entities = {name: (bounds[at], bounds[at + 1]) for at, name in enumerate(names) if bounds[at] < bounds[at + 1]}
    # a zero has no sign here, so that the least and the greatest of several are the same in any order
    return EntitySeries(entities, times[order].astype(np.int64), values.to_numpy()[kept][order] + 0.0)


def entity_codes(rows: pl.DataFrame, by: Sequence[str]) -> tuple[Places, list[str]]:
    """Return the entities of rows, as numbers.

    Returns
    -------
    codes : ndarray of int of shape (n_rows,)
        Place among the names; -1 where a column that identifies the entity is missing.
    names : list of str
        As `entity_of` makes them.
    """
    if not by:
        return np.zeros(len(rows), np.int64), [""]
    odd = [name for name in by if not _identifies(rows.schema[name])]
    if odd:
        raise TrainingError(
            "texts, numbers or booleans in the columns that `history` identifies entities by",
            f"{', '.join(f'{name} {rows.schema[name]}' for name in odd)}",
            "Name others under `by`",
        )
    entities = rows.select(pl.col(name).fill_nan(None) if rows.schema[name].is_float() else name for name in by)
    different = entities.unique(maintain_order=True)
    numbers: dict[str, int] = {}
    numbered = [
        -1 if name is None else numbers.setdefault(name, len(numbers)) for name in map(entity_of, different.iter_rows())
    ]
    different = different.with_columns(pl.Series(_CODE, numbered, dtype=pl.Int64))
    found = entities.join(different, on=list(by), how="left", maintain_order="left", nulls_equal=True)
    return found[_CODE].to_numpy(), list(numbers)


def _identifies(dtype: pl.DataType) -> bool:
    return dtype.is_numeric() or dtype in (pl.String, pl.Boolean, pl.Null)
