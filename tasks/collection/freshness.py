"""How old the newest row of each source is, against how old it may be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from expectations.errors import SourceError
from expectations.usecase import UseCase
from tasks.collection.types import cast_column


@dataclass(frozen=True)
class Stale:
    """A source that has brought nothing for too long.

    Attributes
    ----------
    newest : str
        Its newest event time, to the minute; empty where it has none.
    every : str
        How old that may be.
    """

    source: str
    newest: str
    every: str


def newest_of(name: str, rows: pl.DataFrame, spec: UseCase, until: datetime) -> datetime | None:
    """Return the newest event time of a source before an instant; None where it has none.

    Raises
    ------
    SourceError
        If it has no column that says so.
    """
    clock, join, prefix = spec.clock, spec.join_of(name), spec.sources[name].prefix
    if clock is None:
        return None
    arrived = spec.label.arrived if name == spec.label.source else None
    column = arrived or (join.pairs.get(clock.column) if join else None) or clock.column
    column = column if column in rows.columns else prefix + column
    if column not in rows.columns:
        if rows.is_empty():  # nothing changed, and so no columns came
            return None
        raise SourceError(
            f"the column {clock.column} in the source {name!r}, to see by `expect_every` how fresh it is",
            f"{', '.join(rows.columns[:20])}",
            "Leave `expect_every` out there, or let the source say when each row was",
        )
    times = rows[column]
    if times.dtype != pl.Datetime("us", "UTC"):
        times = cast_column(times, "instant", name, clock)
    newest = times.filter(times < until).max()
    return newest if isinstance(newest, datetime) else None


def newest_known_of(name: str, rows: pl.DataFrame, spec: UseCase, until: datetime) -> datetime | None:
    """As `newest_of`, where a source need not be fresh: None also where nothing says when its rows were."""
    if spec.sources[name].expect_every is not None:
        return newest_of(name, rows, spec, until)
    try:
        return newest_of(name, rows, spec, until)
    except SourceError:  # nobody asked how fresh it is; instants that are needed are refused where they are
        return None


def find_stale(spec: UseCase, newest: Mapping[str, datetime | None], as_of: datetime) -> tuple[Stale, ...]:
    """Return the sources whose newest row is older than declared."""
    found = []
    for name, moment in newest.items():
        source = spec.sources[name]
        if source.is_stale(moment, as_of):
            found.append(Stale(name, f"{moment:%Y-%m-%d %H:%M}" if moment else "", str(source.expect_every)))
    return tuple(found)
