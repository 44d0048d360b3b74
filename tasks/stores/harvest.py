"""Bring the service's journal into the lake, exactly once."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from tasks.stores.arrival_order import in_turn, stamps
from tasks.stores.journal import (
    Feedback,
    JournalSegment,
    Predictions,
    Record,
    Shadows,
    clear,
    closed_segments,
    pack,
    read_records,
    set_aside,
)
from tasks.stores.lake import Lake
from tasks.stores.lake_tables import Table
from tasks.stores.locking import alone
from tasks.stores.places import Job
from tasks.stores.request_columns import apart, are_sent, to_columns
from tasks.stores.service import ServiceClient
from tasks.stores.table_settings import HARVEST

_INSTANT = pl.Datetime("us", "UTC")
_MAX_SEGMENTS = 4
"""Brought in by one commit: a long time without a harvest must fit into memory too."""


_NUMBER, _TEXT, _SCORES = "double", "string", "array"
"""Delta's types of predictions and labels."""
_SAID = {_NUMBER: "numbers", _TEXT: "texts", _SCORES: "scores"}
_CAME, _FOR = "-got-", "-for-"
"""In the names of folders of what a table cannot hold, as `labels-got-texts-for-numbers`."""
_TYPES = {"prediction": pl.Float64(), "label": pl.Float64()}
KINDS: tuple[tuple[str, Table], ...] = (("predictions", "predictions"), ("feedback", "labels"), ("shadows", "shadows"))
"""Kinds of segments, and the table that each is brought into."""


@dataclass(frozen=True)
class Harvested:
    """Predictions and labels brought in by this run, and segments they came from.

    Attributes
    ----------
    labels_since : datetime or None
        When the oldest of the labels was received.
    """

    predictions: int
    labels: int
    segments: int
    labels_since: datetime | None = None

    def __add__(self, other: Harvested) -> Harvested:
        since = min(filter(None, (self.labels_since, other.labels_since)), default=None)
        return Harvested(
            self.predictions + other.predictions, self.labels + other.labels, self.segments + other.segments, since
        )


def seal_and_harvest(job: Job, service: ServiceClient, patience: float = 0.0) -> Harvested:
    """Ask the service to close its segments, then bring them into the lake.

    Parameters
    ----------
    patience : float
        Seconds for which it is asked again, where it does not answer.

    Raises
    ------
    UnreachableError
        If the service does not answer: what it journaled may be incomplete.
    """
    service.ask("POST", "/journal/seal", patience, usecase=job.name)
    return harvest(job.places.journal, job.name, job.lake, job.as_of if job.usecase.walked else None)


def harvest(journal: Path, usecase: str, lake: Lake, walked_to: datetime | None = None) -> Harvested:
    """Commit every closed segment to `predictions`, `labels` or `shadows` and remove it.

    A segment is one Delta application transaction: killed between the commit and the removal, the next run sees that
    it is committed and only removes it. What cannot be read, and a record that the table cannot hold (as its labels
    are texts, and the table's are numbers), is set aside, and reported by `harvest_journal`.

    Parameters
    ----------
    walked_to : datetime, optional
        Where a past without a clock is walked through, when predictions count as answered.
    """
    # a release and the monitor may look at the same time
    with alone(journal / usecase / ".harvest", f"another harvest of {usecase}"):
        return _harvest(journal, usecase, lake, walked_to)


def _harvest(journal: Path, usecase: str, lake: Lake, walked_to: datetime | None) -> Harvested:
    counts: dict[str, int] = {}
    segments = 0
    since: datetime | None = None
    for kind, table in KINDS:
        waiting = closed_segments(journal, usecase, kind)
        segments += len(waiting)
        counts[table] = 0
        for at in range(0, len(waiting), _MAX_SEGMENTS):
            some = waiting[at : at + _MAX_SEGMENTS]
            fresh = [segment for segment in some if not lake.transaction(table, segment.transaction)]
            records = _taken(fresh, table, lake)
            if records:
                frame = _frame(records)
                if table == "predictions":
                    if all(_unclocked(record) for record in records):
                        frame = _in_order(frame, lake, walked_to)
                    # each harvest makes a version or more, and they come one after the other
                    kept = lake.open(table)
                    number = 1 if kept is None else kept.version() + 2
                    frame = apart(frame, () if kept is None else (field.name for field in kept.schema().fields))
                    frame = frame.with_columns(pl.lit(number, pl.Int64).alias(HARVEST))
                lake.append(table, frame, transactions={segment.transaction: 1 for segment in fresh})
                counts[table] += len(frame)
                if table == "labels":
                    oldest: datetime | None = frame["received_at"].min()  # type: ignore[assignment] # instants
                    since = min(filter(None, (since, oldest)), default=None)
            clear(some)
    return Harvested(counts["predictions"], counts["labels"], segments, since)


def _taken(segments: Sequence[JournalSegment], table: Table, lake: Lake) -> list[Record]:
    """Return the records of segments that a table takes; what else is in them is set aside.

    A table has values of one type. Where a use case's task was changed under its name, or a journal is older than the
    table, there may be records of another one: they are kept, and keep none of the rest out.
    """
    read: list[tuple[list[Record], list[bytes]]] = []
    for segment in segments:
        found, odd = read_records(segment)
        whole: list[Record] = []
        for record in found:
            if not is_whole(record):
                odd.append(pack(record))
            elif record.ids:
                whole.append(record)
        read.append((whole, odd))
    records = list(itertools.chain.from_iterable(whole for whole, _ in read))
    dtype = _values_of(table, lake, records) if records else ""
    for segment, (whole, odd) in zip(segments, read, strict=True):
        if odd:
            set_aside(segment, odd)
        for other in sorted({_delta_type(record) for record in whole} - {dtype}):
            misfits = [pack(record) for record in whole if _delta_type(record) == other]
            set_aside(segment, misfits, f"{table}{_CAME}{_SAID[other]}{_FOR}{_SAID[dtype]}")
    return [record for record in records if _delta_type(record) == dtype]


def misfit_words(folder: str) -> str:
    """Say why a table cannot hold what is in a folder of this name; empty where it is of no such folder.

    Examples
    --------
    >>> misfit_words("labels-got-texts-for-numbers")
    'the table `labels` holds numbers, and texts come'
    """
    table, got, rest = folder.partition(_CAME)
    came, instead, held = rest.partition(_FOR)
    return f"the table `{table}` holds {held}, and {came} come" if got and instead else ""


def _values_of(table: Table, lake: Lake, records: Sequence[Record]) -> str:
    """Return the type of a table's values; of one that is to be made that of the newest record."""
    kept = lake.open(table)
    if kept is None:
        return _delta_type(max(records, key=lambda record: record.at))
    values = "label" if table == "labels" else "prediction"
    found = next((field.type.type for field in kept.schema().fields if field.name == values), _NUMBER)
    return found if found in {_TEXT, _SCORES} else _NUMBER


def _delta_type(record: Record) -> str:
    """Return Delta's type of a record's values, of which there is one at least."""
    if not isinstance(record, Predictions | Shadows | Feedback):
        raise TypeError(f"no record of the journal: {type(record).__name__}")
    first = record.values[0]
    if isinstance(first, str):
        return _TEXT
    return _SCORES if isinstance(first, list | tuple) else _NUMBER


def is_whole(record: Record) -> bool:
    """Whether tables can hold a record: the service writes no other, and one that is odd must not keep the rest out."""
    number = len(record.ids)
    match record:
        case Predictions(values=values, origin=origin, rows=rows):
            width, clock = len(origin.columns), origin.clock
            if len(rows) != number or any(len(row) != width for row in rows) or not are_sent(rows):
                return False
            if clock is not None and not (
                0 <= clock < width and {type(row[clock]) for row in rows} <= {str, type(None)}
            ):
                return False
        case Shadows(values=values) | Feedback(values=values):
            pass
        case _:
            return False
    return len(values) == number and len(set(map(type, values))) <= 1


def _unclocked(record: Record) -> bool:
    return isinstance(record, Predictions) and record.origin.clock is None


def _in_order(frame: pl.DataFrame, lake: Lake, walked_to: datetime | None) -> pl.DataFrame:
    """Bring predictions about rows without a time into the order they were answered in, no two at one instant."""
    frame = frame.sort("served_at", maintain_order=True)
    if walked_to is None:
        return frame.with_columns(in_turn(frame["served_at"]).alias("event_time"))
    newest: datetime | None = None
    if lake.version("predictions") is not None:
        newest = lake.collect("predictions", lake.scan("predictions").select(pl.col("event_time").max())).item()
    return frame.with_columns(stamps(len(frame), newest, walked_to).alias("event_time"))


def _frame(records: Sequence[Record]) -> pl.DataFrame:
    """Lay records of one kind out as columns, a row for each id."""
    if not isinstance(records[0], Predictions):
        return _answers(records)
    alike: dict[tuple[str, ...], list[Predictions]] = {}
    for record in records:
        if isinstance(record, Predictions):
            alike.setdefault(record.origin.columns, []).append(record)
    asked = [
        to_columns(names, list(itertools.chain.from_iterable(each.rows for each in some)))
        for names, some in alike.items()
    ]
    answered = [_answers(some) for some in alike.values()]
    together = zip(answered, asked, strict=True)
    return pl.concat([pl.concat([one, other], how="horizontal") for one, other in together], how="diagonal")


def _answers(records: Sequence[Record]) -> pl.DataFrame:
    parts = [_columns(record) for record in records]
    values = {name: list(itertools.chain.from_iterable(part[name] for part in parts)) for name in parts[0]}
    return _typed(pl.DataFrame(values, schema={name: _type_of(name, values[name]) for name in values}))


def _type_of(name: str, values: Sequence[object]) -> pl.DataType:
    """Return the type of a column: of several classes a prediction is a list of scores, and a label a text."""
    first = next(iter(values), None)
    if name == "prediction" and isinstance(first, list | tuple):
        return pl.List(pl.Float64())
    if name == "label" and isinstance(first, str):
        return pl.String()
    return _TYPES.get(name, pl.String())


def _columns(record: Record) -> dict[str, Iterable[Any]]:
    number = len(record.ids)
    match record:
        case Predictions(at, ids, values, origin, rows):
            clock = origin.clock
            return {
                "id": ids,
                "event_time": [None if clock is None else row[clock] for row in rows],
                "served_at": [at] * number,
                "version": [origin.version] * number,
                "bundle": [origin.bundle] * number,
                "prediction": values,
            }
        case Shadows(at, ids, values, version, bundle):
            whose = {"version": [version] * number, "bundle": [bundle] * number}
            return {"id": ids, "served_at": [at] * number, **whose, "prediction": values}
        case Feedback(at, ids, values, sender):
            return {"id": ids, "label": values, "received_at": [at] * number, "sender": [sender] * number}
    raise TypeError(f"no record of the journal: {type(record).__name__}")


def _typed(rows: pl.DataFrame) -> pl.DataFrame:
    instants = [name for name in ("served_at", "received_at", "event_time") if name in rows.columns]
    rows = rows.with_columns(
        pl.col(name).str.to_datetime(time_unit="us", time_zone="UTC", strict=False).cast(_INSTANT) for name in instants
    )
    if "event_time" in rows.columns:  # a request without its clock is counted when it was served
        rows = rows.with_columns(pl.coalesce("event_time", "served_at").alias("event_time"))
    return rows
