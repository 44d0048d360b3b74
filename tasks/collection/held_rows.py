"""What the raw table holds already of the rows that sources are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from expectations.usecase import UseCase
from tasks.stores.lake import Lake
from tasks.stores.lake_tables import BATCH


@dataclass(frozen=True)
class KnownKeys:
    """Keys of the rows from before an instant that are known, those with their label and those without."""

    complete: pl.DataFrame
    incomplete: pl.DataFrame


def compared_since(raw: pl.LazyFrame, lake: Lake, spec: UseCase, as_of: datetime) -> datetime | None:
    """Say from when on known rows are compared: by the newest event time *seen*.

    Not by an instant that was asked for: of a source that falls silent, and of a clock that jumps, nothing is lost.
    """
    newest = _newest_before(raw, lake, spec, as_of)
    return None if newest is None else spec.compared_since(newest)


def oldest_waiting(raw: pl.LazyFrame, lake: Lake, clock: str) -> datetime | None:
    """Event time of the oldest row that is not in the clean table yet."""
    waiting = raw.filter(pl.col(BATCH) > lake.transaction("clean", "clean"))
    oldest: datetime | None = waiting.select(pl.col(clock).min()).collect().item()
    return oldest


def held_keys(raw: pl.LazyFrame, spec: UseCase, since: datetime) -> KnownKeys:
    """Keys of rows from before `since`; of those that have their label nothing more is expected."""
    old = raw.filter(pl.col(spec.time_column) < since).select(*spec.keys, pl.col(spec.label.column)).collect()
    known = old[spec.label.column].is_not_null()
    if spec.label.source is not None:  # labels find their rows by themselves
        known |= True
    return KnownKeys(*(old.filter(which).select(spec.keys) for which in (known, ~known)))


def with_held(
    newest: Mapping[str, datetime | None], raw: pl.LazyFrame | None, lake: Lake, spec: UseCase, as_of: datetime
) -> Mapping[str, datetime | None]:
    """Take what is held of the first source, of which perhaps only what changed was read, for read."""
    first = next(iter(spec.sources))
    if raw is None or spec.clock is None or first not in newest:
        return newest
    held = _newest_before(raw, lake, spec, as_of)
    return {**newest, first: max(filter(None, (held, newest[first])), default=None)}


def _newest_before(raw: pl.LazyFrame, lake: Lake, spec: UseCase, as_of: datetime) -> datetime | None:
    clock = pl.col(spec.time_column)
    newest: datetime | None = lake.collect("raw", raw.filter(clock < as_of).select(clock.max())).item()
    return newest
