"""Bring what is new into the raw table: incremental, by key, twice adds nothing, and however late it comes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

import polars as pl

from expectations.errors import LakeError, SourceError, TurnTakenError
from expectations.loading import LoadedUseCase
from expectations.usecase import UseCase
from tasks.collection.column_changes import column_changes
from tasks.collection.commit_notes import (
    COLUMNS,
    DEFINITION,
    FILES,
    definition,
    delivered,
    noted_files,
    refuse_changed,
    settled_files,
)
from tasks.collection.freshness import Stale, find_stale
from tasks.collection.held_rows import compared_since, held_keys, oldest_waiting, with_held
from tasks.collection.joining import Joined, join_sources
from tasks.collection.labels import keep_labels, relabelled
from tasks.collection.news import NO_TIMES, News, find_news, once
from tasks.collection.types import match_types
from tasks.stores.arrival_order import stamps
from tasks.stores.hashing import hash_frame
from tasks.stores.lake import COLLECTION, Lake
from tasks.stores.lake_tables import BATCH, COLLECTED
from tasks.stores.personal_keys import Keyring
from tasks.stores.tombstones import FORGOTTEN, KEPT_SINCE, without_forgotten

_APPLICATION = "collect"
_ERASED = (FORGOTTEN, KEPT_SINCE)
"""Notes of a commit: what is not to be collected again."""


@dataclass(frozen=True)
class Collected:
    """What a collection brought.

    Attributes
    ----------
    batch : int
        Number of the newest batch in the raw table.
    new, corrected : int
        Rows with keys never seen, and rows that replace an earlier version.
    late : int
        New rows from before the time in which corrections are looked for. They are taken, and yet a finding: windows
        they belong to may have been measured without them.
    late_from, late_to : str
        Event times of the first and the last of those, to the minute; empty where there are none.
    lost : int
        Rows of the first source without an event time. They cannot be taken.
    lost_digest : str
        Hash of their keys, so that the same ones are reported once.
    ahead : int
        Rows that are known to later runs only: there is no clock, and a run as of a later instant came before this one.
    coverage : dict of str to float
        Share of the rows read that found a partner in each joined source.
    said : tuple of str
        What was read in a way worth knowing.
    changes : tuple of str
        How the table's columns changed.
    stale : tuple of Stale
        Sources that are expected to be fresher.
    newest : dict of str to datetime
        The newest event time of each source that has one: of the first what is held, of others what was read.
    """

    batch: int
    new: int
    corrected: int
    late: int
    late_from: str
    late_to: str
    lost: int
    lost_digest: str
    read: dict[str, int]
    coverage: dict[str, float]
    ahead: int = 0
    said: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    stale: tuple[Stale, ...] = ()
    newest: dict[str, datetime] = field(default_factory=dict)


def collect_sources(
    usecase: LoadedUseCase,
    lake: Lake,
    as_of: datetime,
    secret: bytes,
    forgotten: str | None = None,
    keyring: Keyring | None = None,
) -> Collected:
    """Read the sources up to `as_of` and append what the raw table does not hold yet.

    New rows are taken however late they come; the newest event time in the table says how far back known rows are
    compared for corrections (`UseCase.compared_since`), or the oldest row of a batch that is held, so that a corrected
    delivery heals it whole. A row that has no label yet is compared however old it is. A row whose key is known but
    whose values differ is appended as its newer version; the earlier one stays.

    Without a clock all rows are compared, and each is stamped with when it was first collected (`stamps`).

    Of two at once on one machine the second waits; elsewhere it gets an error that says the first one won.

    Parameters
    ----------
    forgotten : str or None
        Note of who was forgotten while there was no raw table, which keeps it from then on.
    keyring : Keyring, optional
        Keys of personal values that are encrypted. Where not given one that is thrown away, for a lake that is.

    Raises
    ------
    SourceError, JoinError
        If the sources are not what the use case says; nothing is written.
    StateError
        If an encrypted value that is held cannot be read; nothing is written.
    TurnTakenError
        If another machine collected meanwhile; nothing is written.
    """
    with lake.alone(COLLECTION):
        return _collect(usecase, lake, as_of, secret, forgotten, keyring or Keyring.fresh())


def _collect(
    usecase: LoadedUseCase, lake: Lake, as_of: datetime, secret: bytes, forgotten: str | None, keyring: Keyring
) -> Collected:
    spec = usecase.spec
    version = lake.version("raw")  # all that follows is about this one
    before = batch = 0 if version is None else lake.transaction("raw", _APPLICATION, version)
    raw = None if version is None else lake.scan("raw", version)
    if raw is not None:
        refuse_changed(usecase, lake)
    compared = None if raw is None or spec.clock is None else compared_since(raw, lake, spec, as_of)
    since, held = compared, None
    if raw is not None and compared is not None:
        with lake.reading("raw"):
            since = min(compared, oldest_waiting(raw, lake, spec.time_column) or compared)
            held = held_keys(raw, spec, since)
    schema = {} if raw is None else dict(raw.collect_schema())
    noted = noted_files(usecase, lake)
    joined = join_sources(
        usecase,
        since=since,
        until=as_of,
        secret=secret,
        keyring=keyring,
        held=held,
        schema=schema,
        known_files=None if noted is None else {} if since is None else settled_files(noted, since),
    )
    if raw is None:
        erased = {} if forgotten is None else {FORGOTTEN: forgotten}
    else:
        erased = {name: note for name in _ERASED if (note := lake.note("raw", name)) is not None}
    joined = replace(joined, rows=_without_erased(joined.rows, spec, erased, secret))
    if held is not None and not joined.asked and next(iter(spec.sources.values())).incremental:
        news = News(pl.DataFrame(schema={spec.time_column: pl.Datetime("us", "UTC")}), 0, NO_TIMES)
    elif raw is None:
        _refuse_unusable(joined, spec, as_of)
        rows, joined = [joined.rows], replace(joined, rows=joined.rows.clear())  # large: nothing else is to hold them
        news = News(once(rows.pop(), list(spec.keys)), 0, NO_TIMES)
    else:
        _refuse_unusable(joined, spec, as_of)
        with lake.reading("raw"):
            if joined.truth is not None:
                joined = replace(joined, rows=keep_labels(joined.rows, raw, spec))
            news = find_news(joined.rows, raw, spec, since, compared, keyring)
    changes = () if raw is None else column_changes(news.rows, schema, spec, delivered(lake) or schema)
    if raw is not None and joined.truth is not None:
        with lake.reading("raw"):
            news = _with_labels(news, joined, raw, usecase)
    if spec.clock is None and not usecase.walked and len(news.rows):
        with lake.reading("raw"):
            news = replace(news, rows=_stamped(news.rows, raw, spec, as_of))
    if len(news.rows):
        batch += 1
        _write(usecase, lake, news.rows, joined, as_of, batch, before, erased)
    newest = with_held(joined.newest, raw, lake, spec, as_of)
    return Collected(
        batch=batch,
        new=len(news.rows) - news.corrected,
        corrected=news.corrected,
        late=len(news.late),
        late_from=_minute(news.late.min()),
        late_to=_minute(news.late.max()),
        lost=len(joined.undated),
        lost_digest=hash_frame(joined.undated)[:16] if len(joined.undated) else "",
        read=joined.read,
        coverage=joined.coverage,
        ahead=news.rows.filter(pl.col(spec.time_column) >= as_of).height if len(news.rows) else 0,
        said=joined.said,
        changes=changes,
        stale=find_stale(spec, newest, as_of),
        newest={name: moment for name, moment in newest.items() if moment is not None},
    )


def _with_labels(news: News, joined: Joined, raw: pl.LazyFrame, usecase: LoadedUseCase) -> News:
    """Add rows that are known, and whose label has come, or is another now, in the table of labels."""
    spec = usecase.spec
    if joined.truth is None:
        return news
    besides = joined.rows if joined.asked else pl.DataFrame(schema={key: pl.Null() for key in spec.keys})
    relabelled_rows = relabelled(raw, joined.truth, spec, besides)
    if spec.clock is None and not usecase.walked:  # when they came is said as of all others
        relabelled_rows = relabelled_rows.drop(spec.time_column)
    rows = relabelled_rows if news.rows.is_empty() else pl.concat([news.rows, relabelled_rows], how="diagonal_relaxed")
    return News(rows, news.corrected + len(relabelled_rows), news.late)


def _without_erased(rows: pl.DataFrame, spec: UseCase, noted: Mapping[str, str], secret: bytes) -> pl.DataFrame:
    """Leave out what was erased, and what sources may hold still."""
    rows = without_forgotten(rows, noted.get(FORGOTTEN), secret)
    if spec.clock is None or KEPT_SINCE not in noted:
        return rows
    return rows.filter(pl.col(spec.time_column) >= datetime.fromisoformat(noted[KEPT_SINCE]))


def _stamped(rows: pl.DataFrame, raw: pl.LazyFrame | None, spec: UseCase, as_of: datetime) -> pl.DataFrame:
    """Say when rows were first collected: a correction keeps its time, unless it brings the first label.

    A row whose label comes later is new when that comes: else it would lie before the end of what a champion learnt,
    which had not learnt from it, and it would never be judged by.
    """
    keys, column, known = list(spec.keys), spec.time_column, "_known"
    if raw is None:
        return rows.with_columns(stamps(len(rows), None, as_of).alias(column))
    labelled = pl.col(spec.label.column).is_not_null()
    held = raw.select(*keys, column, BATCH, labelled.alias(known)).collect()
    newest: datetime | None = held[column].max()  # type: ignore[assignment] # an instant column
    latest = held.sort(BATCH, column).unique(keys, keep="last", maintain_order=True).drop(BATCH)
    beside = rows.join(match_types(latest, rows, keys), on=keys, how="left", maintain_order="left")
    first = beside[column].is_null() | (~beside[known] & beside[spec.label.column].is_not_null())
    fresh = beside.filter(first)
    fresh = fresh.with_columns(stamps(len(fresh), newest, as_of).alias(column))
    return pl.concat([beside.filter(~first), fresh]).drop(known)


def _minute(moment: object) -> str:
    return f"{moment:%Y-%m-%d %H:%M}" if isinstance(moment, datetime) else ""


def _refuse_unusable(joined: Joined, spec: UseCase, as_of: datetime) -> None:
    if not joined.asked:
        raise SourceError(
            f"rows before {as_of:%Y-%m-%d %H:%M}" if spec.clock else "rows",
            "none in the first source",
            "Check `clock` and the instant this run was asked for" if spec.clock else "Check the source",
        )
    lacking = joined.rows.filter(pl.any_horizontal(pl.col(key).is_null() for key in spec.keys))
    if len(lacking):
        raise SourceError(
            f"a value in each of the keys {', '.join(spec.keys)}",
            f"{len(lacking)} rows without",
            "Correct the source, or choose other keys",
        )


def _write(
    usecase: LoadedUseCase,
    lake: Lake,
    rows: pl.DataFrame,
    joined: Joined,
    as_of: datetime,
    batch: int,
    before: int,
    kept: Mapping[str, str],
) -> None:
    stamped = rows.with_columns(
        pl.lit(batch, dtype=pl.Int64).alias(BATCH), pl.lit(as_of).dt.cast_time_unit("us").alias(COLLECTED)
    )
    notes = {
        **kept,
        "driftwheel.digest": usecase.digest,
        DEFINITION: json.dumps(definition(usecase.spec)),
        "driftwheel.read": json.dumps(joined.read),
        "driftwheel.coverage": json.dumps(joined.coverage),
        COLUMNS: json.dumps(joined.rows.columns if joined.asked else delivered(lake)),
    }
    if (noted := noted_files(usecase, lake)) is not None:
        still = {name: how for name, how in noted.items() if name in joined.present}
        notes[FILES] = json.dumps({"digest": usecase.digest, "files": {**still, **joined.files}})
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
