"""Bring the service's journal into the lake, exactly once."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from tasks.stores.journal import clear, closed_segments, read_segments
from tasks.stores.lake import Lake, Table

_INSTANT = pl.Datetime("us", "UTC")
_PREDICTIONS = {
    "id": pl.String(),
    "event_time": pl.String(),
    "served_at": pl.String(),
    "version": pl.String(),
    "bundle": pl.String(),
    "prediction": pl.Float64(),
    "row": pl.String(),
}
_SHADOWS = {
    "id": pl.String(),
    "served_at": pl.String(),
    "version": pl.String(),
    "bundle": pl.String(),
    "prediction": pl.Float64(),
}
_FEEDBACK = {"id": pl.String(), "label": pl.Float64(), "received_at": pl.String()}


_KINDS: tuple[tuple[str, Table, dict[str, pl.DataType]], ...] = (
    ("predictions", "predictions", _PREDICTIONS),
    ("feedback", "labels", _FEEDBACK),
    ("shadows", "shadows", _SHADOWS),
)


@dataclass(frozen=True)
class Harvested:
    """Lines brought in by this run, and segments they came from."""

    predictions: int
    labels: int
    segments: int


def harvest(journal: Path, usecase: str, lake: Lake) -> Harvested:
    """Commit every closed segment to `predictions`, `labels` or `shadows` and remove it.

    A segment is one Delta application transaction: killed between the commit and the removal, the next run sees that
    it is committed and only removes it.
    """
    with _alone(journal / usecase):
        return _harvest(journal, usecase, lake)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait for another harvest of this use case: a release and the monitor may look at the same time."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".harvest").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _harvest(journal: Path, usecase: str, lake: Lake) -> Harvested:
    counts: dict[str, int] = {}
    segments = 0
    for kind, table, schema in _KINDS:
        waiting = closed_segments(journal, usecase, kind)
        fresh = [segment for segment in waiting if not lake.transaction(table, segment.transaction)]
        rows = read_segments(fresh, schema)
        if len(rows):
            lake.append(table, _typed(rows), transactions={segment.transaction: 1 for segment in fresh})
        clear(waiting)
        counts[table] = len(rows)
        segments += len(waiting)
    return Harvested(counts["predictions"], counts["labels"], segments)


def _typed(rows: pl.DataFrame) -> pl.DataFrame:
    instants = [name for name in ("served_at", "received_at", "event_time") if name in rows.columns]
    rows = rows.with_columns(
        pl.col(name).str.to_datetime(time_unit="us", time_zone="UTC", strict=False).cast(_INSTANT) for name in instants
    )
    if "event_time" in rows.columns:  # a request without its clock is counted when it was served
        rows = rows.with_columns(pl.coalesce("event_time", "served_at").alias("event_time"))
    return rows
