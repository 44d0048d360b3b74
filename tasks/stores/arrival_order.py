"""The order of rows that have no time of their own, as instants that no two of them share."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from expectations.windows import TICK

_ROOM = timedelta(seconds=1)
_BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)


def stamps(count: int, newest: datetime | None, as_of: datetime) -> pl.Series:
    """Return when rows count as having come: in their order, just before `as_of`, and after all that came before.

    One instant a row makes their order whole: what compares times need not know of places beside them. What a run
    before this one, as of the same instant, brought is followed; where one as of a later instant brought some, these
    come after that, and are not known yet as of this one: nothing that comes later lies between rows that were there.
    """
    first = as_of - max(_ROOM, 2 * count * TICK)
    if newest is not None and newest >= first:
        first = newest + TICK
    return _instants(first, np.arange(count))


def places(count: int) -> pl.Series:
    """Return when rows count as having come where a past is walked through: in their order, a minute each."""
    return _instants(_BEGINNING, np.arange(count) * 60_000_000)


def in_turn(instants: pl.Series) -> pl.Series:
    """Move instants that are in order just as far that no two are the same."""
    place = pl.Series(np.arange(len(instants)), dtype=pl.Int64)
    moved = (instants.dt.epoch("us") - place).cum_max() + place
    return moved.cast(pl.Datetime("us")).dt.replace_time_zone("UTC").alias(instants.name)


def _instants(first: datetime, microseconds: np.ndarray) -> pl.Series:
    begin = pl.Series([first], dtype=pl.Datetime("us", "UTC")).dt.epoch("us")[0]
    return pl.Series(microseconds + begin, dtype=pl.Int64).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
