"""Rows are kept as long as the use case says, and no longer: what is older goes from every version of its tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Literal

import polars as pl

from expectations.durations import Duration
from tasks.bundles.history_state import keep_history
from tasks.erasing.holding_off import hold_off
from tasks.erasing.training_sets import training_sets
from tasks.stores.lake import Lake
from tasks.stores.lake_tables import Table
from tasks.stores.ledger import RETENTION, Entry
from tasks.stores.places import Job
from tasks.stores.rewriting import is_unfinished, purge, require_folder, rewrite
from tasks.stores.tombstones import KEPT_SINCE

_TABLES: dict[Literal["raw", "predictions"], tuple[Table, ...]] = {
    "raw": ("quarantine", "clean", "raw"),
    "predictions": ("labels", "shadows", "predictions"),
}
"""What goes with which; the one that is asked for the age of its rows last, so that a killed run is finished."""
_PARTS = 24
"""Rows of so much of the span go together: each time tables are written anew."""


def keep_within(job: Job) -> None:
    """Erase rows that are older than the use case keeps them, and note it in the ledger.

    No row is kept for longer than the span, and none for less than 23 parts of 24 of it. What reads older versions,
    such as a training set, finds none any more: the ledger names those. What the service looks back into is written
    anew without them. While a turn is open nothing is erased.

    Raises
    ------
    LakeError
        If the lake lies at a store's address.
    """
    for kind, span in job.usecase.spec.retention.items():
        require_folder(job.lake)
        overdue = _overdue(job.lake, kind, _limit(job.as_of, span), job.usecase.spec.time_column)
        if not overdue and not any(is_unfinished(job.lake, table) for table in _TABLES[kind]):
            continue
        with hold_off(job, (job.name,)):
            if job.database.open_turn(job.name) is not None:  # its model learns from them: the next look erases
                return
            if overdue:
                _erase(job, kind, span)
            if kind == "raw":
                keep_history(job)  # it holds the newest rows of each entity, however old
            for table in _TABLES[kind]:
                purge(job.lake, table)


def _limit(as_of: datetime, span: Duration) -> datetime:
    return span.after(as_of, -1)


def _clock(table: Table, clock: str) -> str:
    named = {"predictions": "event_time", "shadows": "served_at", "labels": "received_at"}
    return named.get(table, clock)


def _overdue(lake: Lake, kind: Literal["raw", "predictions"], limit: datetime, clock: str) -> bool:
    if lake.version(kind) is None:
        return False
    oldest = lake.collect(kind, lake.scan(kind).select(pl.col(_clock(kind, clock)).min())).item()
    return oldest is not None and oldest < limit


def _erase(job: Job, kind: Literal["raw", "predictions"], span: Duration) -> None:
    since = _limit(job.as_of, span) + timedelta(seconds=span.approximate_seconds / _PARTS)
    tables, clock = _TABLES[kind], job.usecase.spec.time_column
    newer = {table: partial(_newer, column=_clock(table, clock), since=since) for table in tables}
    gone = {table: _count(job.lake, table) - _count(job.lake, table, newer[table]) for table in tables}
    for table in tables:
        if table == kind:  # once these are gone, nothing is overdue: who is killed now has said it
            _note(job, kind, span, since, gone)
        rewrite(job.lake, table, newer[table], {KEPT_SINCE: since.isoformat()} if table == "raw" else {})


def _count(lake: Lake, table: Table, kept: Callable[[pl.LazyFrame], pl.LazyFrame] = lambda rows: rows) -> int:
    if lake.version(table) is None:
        return 0
    return int(lake.collect(table, kept(lake.scan(table)).select(pl.len())).item())


def _note(job: Job, kind: str, span: Duration, since: datetime, gone: Mapping[Table, int]) -> None:
    sets = training_sets(job, job.name) if kind == "raw" else ()
    said = ", ".join(f"{number:,} rows of {table}" for table, number in gone.items() if number)
    unread = f"; training sets of version {', '.join(map(str, sets))} cannot be read again" if sets else ""
    summary = f"{kind} is kept for {span}: {said or 'no rows'} from before {since:%Y-%m-%d} erased{unread}"
    evidence = {"rows": dict(gone), "since": since.isoformat(), "training_sets": sets}
    with job.database.transaction() as connection:
        key = f"{job.name}/{RETENTION}/{kind}/{since.isoformat()}"
        job.database.write(
            connection, Entry(key, job.name, job.as_of, RETENTION, "erased", "schedule", summary, evidence)
        )


def _newer(rows: pl.LazyFrame, column: str, since: datetime) -> pl.LazyFrame:
    return rows.filter(pl.col(column) >= since)
