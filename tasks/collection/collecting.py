"""Bring what is new into the raw table: incremental, by key, twice adds nothing."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from expectations.errors import LakeError, SourceError, TurnTakenError
from expectations.loading import LoadedUseCase
from tasks.collection.joining import join_sources
from tasks.stores.database import Database
from tasks.stores.lake import BATCH, COLLECTED, Lake

WATERMARK = "collected_until"
_APPLICATION = "collect"


@dataclass(frozen=True)
class Collected:
    """What a collection brought.

    Attributes
    ----------
    batch : int
        Number of the newest batch in the raw table.
    new, corrected : int
        Rows with keys never seen, and rows that replace an earlier version.
    late_lost : int
        Rows that arrived later than the lookback reaches; counted, not taken.
    coverage : dict of str to float
        Share of the rows read that found a partner in each joined source.
    """

    batch: int
    new: int
    corrected: int
    late_lost: int
    read: dict[str, int]
    coverage: dict[str, float]


def collect_sources(
    usecase: LoadedUseCase, lake: Lake, database: Database, as_of: datetime, secret: bytes
) -> Collected:
    """Read the sources up to `as_of` and append what the raw table does not hold yet.

    Only rows with event time since the last collection less `collection.lookback` are read again, or since the oldest
    row of a batch that is held, so that a corrected delivery heals it whole. A row whose key is known but whose values
    differ is appended as its newer version; the earlier one stays.

    Of two at once on one machine the second waits; elsewhere it is told that the first one won.

    Raises
    ------
    SourceError, JoinError
        If the sources are not what the use case says; nothing is written.
    TurnTakenError
        If another machine collected meanwhile; nothing is written.
    """
    with lake.alone("collection"):
        return _collect(usecase, lake, database, as_of, secret)


def _collect(usecase: LoadedUseCase, lake: Lake, database: Database, as_of: datetime, secret: bytes) -> Collected:
    spec = usecase.spec
    clock = spec.clock.column
    watermark = database.marked(usecase.name, WATERMARK)
    version = lake.version("raw")  # all that follows is about this one
    exists = version is not None
    since = None
    if watermark and exists:
        since = spec.collection.lookback.after(datetime.fromisoformat(watermark), -1)
        since = min(since, _oldest_waiting(lake, clock, version) or since)
    joined = join_sources(usecase, since=since, until=as_of, secret=secret)
    if joined.base.is_empty():
        raise SourceError(
            f"rows before {as_of:%Y-%m-%d %H:%M}",
            "none in the first source",
            "Check `clock` and the instant this run was asked for",
        )
    keys = list(spec.keys)
    lacking = joined.rows.filter(pl.any_horizontal(pl.col(key).is_null() for key in keys))
    if len(lacking):
        raise SourceError(
            f"a value in each of the keys {', '.join(keys)}",
            f"{len(lacking)} rows without",
            "Mend the source, or choose other keys",
        )
    fresh, corrected = (
        _news(joined.rows, lake, version, keys, clock, since) if exists else (_once(joined.rows, keys), 0)
    )
    before = batch = lake.transaction("raw", _APPLICATION, version) if exists else 0
    if len(fresh):
        batch += 1
        stamped = fresh.with_columns(
            pl.lit(batch, dtype=pl.Int64).alias(BATCH), pl.lit(as_of).dt.cast_time_unit("us").alias(COLLECTED)
        )
        notes = {
            "driftwheel.digest": usecase.digest,
            "driftwheel.read": json.dumps(joined.read),
            "driftwheel.coverage": json.dumps(joined.coverage),
        }
        try:
            written = lake.append("raw", stamped, transactions={_APPLICATION: batch}, follows=before, notes=notes)
        except LakeError as error:
            raise SourceError(error.expected, error.found, error.remedy) from error
        if not written:
            raise TurnTakenError(
                f"to write batch {batch} of {usecase.name}",
                "another collection that wrote it",
                "Run again: what is still missing is brought in then",
            )
    lost = _lost(joined.base, lake, keys, clock, since)
    if watermark is None or datetime.fromisoformat(watermark) < as_of:
        database.mark(usecase.name, WATERMARK, as_of.isoformat())
    return Collected(batch, len(fresh) - corrected, corrected, lost, joined.read, joined.coverage)


def _oldest_waiting(lake: Lake, clock: str, version: int | None) -> datetime | None:
    """Event time of the oldest row that is not in the clean table yet."""
    waiting = lake.scan("raw", version).filter(pl.col(BATCH) > lake.transaction("clean", "clean"))
    oldest: datetime | None = lake.collect("raw", waiting.select(pl.col(clock).min())).item()
    return oldest


def _once(rows: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """Leave out rows that stand twice to the letter; versions of one key stay, in their order."""
    return (
        rows.with_columns(rows.hash_rows().alias("_hash"))
        .unique([*keys, "_hash"], keep="last", maintain_order=True)
        .drop("_hash")
    )


def _news(
    rows: pl.DataFrame, lake: Lake, version: int | None, keys: list[str], clock: str, since: datetime | None
) -> tuple[pl.DataFrame, int]:
    known = lake.scan("raw", version)
    if since is not None:
        known = known.filter(pl.col(clock) >= since)
    latest = lake.collect("raw", known).sort(BATCH, maintain_order=True).unique(keys, keep="last", maintain_order=True)
    columns = [column for column in latest.columns if column in rows.columns]
    if set(rows.columns) != set(columns):  # the append will say which
        return rows, 0
    ordered = rows.select(pl.col(column).cast(latest.schema[column], strict=False) for column in columns)
    hashes = latest.select(*keys, latest.select(columns).hash_rows().alias("_known"))
    compared = rows.with_columns(ordered.hash_rows().alias("_hash")).join(
        hashes, on=keys, how="left", maintain_order="left"
    )
    # of several versions in one batch the last decides whether anything is new
    last = compared.unique(keys, keep="last", maintain_order=True)
    changed = last.filter(pl.col("_known").is_null() | (pl.col("_known") != pl.col("_hash")))
    fresh = compared.join(changed.select(keys), on=keys, how="semi", maintain_order="left")
    corrected = len(changed.filter(pl.col("_known").is_not_null()))
    return _once(fresh.drop("_hash", "_known"), keys), corrected


def _lost(base: pl.DataFrame, lake: Lake, keys: list[str], clock: str, since: datetime | None) -> int:
    if since is None:
        return 0
    old = base.filter(pl.col(clock) < since)
    known = lake.collect("raw", lake.scan("raw").filter(pl.col(clock) < since).select(keys))
    return len(old.join(known, on=keys, how="anti").unique(keys))
