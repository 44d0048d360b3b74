"""Bring the service's journal into the lake, exactly once."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import polars as pl

from tasks.stores.journal import Line, clear, closed_segments, read_lines, set_aside
from tasks.stores.lake import Lake, Table

_INSTANT = pl.Datetime("us", "UTC")
_MOST_SEGMENTS = 16
"""Brought in by one commit: a long time without a harvest must fit into memory too."""


class _Prediction(Line, gc=False):
    id: str
    served_at: str
    version: str
    bundle: str
    prediction: float
    row: msgspec.Raw
    event_time: str | None = None


class _Shadow(Line, gc=False):
    id: str
    served_at: str
    version: str
    bundle: str
    prediction: float


class _Feedback(Line, gc=False):
    id: str
    label: float
    received_at: str


_KINDS: tuple[tuple[str, Table, type[Line]], ...] = (
    ("predictions", "predictions", _Prediction),
    ("feedback", "labels", _Feedback),
    ("shadows", "shadows", _Shadow),
)
_TYPES = {"prediction": pl.Float64(), "label": pl.Float64()}
_ORDER = ("id", "event_time", "served_at", "version", "bundle", "prediction", "row", "label", "received_at")


@dataclass(frozen=True)
class Harvested:
    """Lines brought in by this run, and segments they came from."""

    predictions: int
    labels: int
    segments: int


def harvest(journal: Path, usecase: str, lake: Lake) -> Harvested:
    """Commit every closed segment to `predictions`, `labels` or `shadows` and remove it.

    A segment is one Delta application transaction: killed between the commit and the removal, the next run sees that
    it is committed and only removes it. Lines nobody can read are set aside, and told by `harvest_journal`.
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
    for kind, table, line in _KINDS:
        waiting = closed_segments(journal, usecase, kind)
        segments += len(waiting)
        counts[table] = 0
        for at in range(0, len(waiting), _MOST_SEGMENTS):
            some = waiting[at : at + _MOST_SEGMENTS]
            fresh = [segment for segment in some if not lake.transaction(table, segment.transaction)]
            lines: list[Line] = []
            for segment in fresh:
                found, odd = read_lines(segment, line)
                lines += found
                if odd:
                    set_aside(segment, odd)
            if lines:
                lake.append(table, _frame(lines, line), transactions={segment.transaction: 1 for segment in fresh})
            clear(some)
            counts[table] += len(lines)
    return Harvested(counts["predictions"], counts["labels"], segments)


def _frame(lines: list[Line], kind: type[Line]) -> pl.DataFrame:
    """Lay lines out as columns; the row stays the very text the service wrote."""
    names = [name for name in _ORDER if name in kind.__struct_fields__]
    values = {name: [getattr(line, name) for line in lines] for name in names}
    if "row" in values:
        values["row"] = [bytes(raw).decode() for raw in values["row"]]
    return _typed(pl.DataFrame(values, schema={name: _TYPES.get(name, pl.String()) for name in names}))


def _typed(rows: pl.DataFrame) -> pl.DataFrame:
    instants = [name for name in ("served_at", "received_at", "event_time") if name in rows.columns]
    rows = rows.with_columns(
        pl.col(name).str.to_datetime(time_unit="us", time_zone="UTC", strict=False).cast(_INSTANT) for name in instants
    )
    if "event_time" in rows.columns:  # a request without its clock is counted when it was served
        rows = rows.with_columns(pl.coalesce("event_time", "served_at").alias("event_time"))
    return rows
