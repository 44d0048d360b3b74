"""Bring what is new into the raw table: incremental, by key, twice adds nothing, and however late it comes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import polars as pl

from expectations.data import EVENT_TIME
from expectations.errors import LakeError, SourceError, TurnTakenError
from expectations.loading import LoadedUseCase
from expectations.usecase import UseCase
from tasks.collection.freshness import Stale, find_stale
from tasks.collection.joining import Held, Joined, join_sources
from tasks.collection.labels import keep_labels, relabelled
from tasks.collection.types import match_types
from tasks.stores.arrival_order import stamps
from tasks.stores.hashing import hash_frame
from tasks.stores.lake import BATCH, COLLECTED, TECHNICAL, Lake
from tasks.stores.table_columns import holds
from tasks.stores.tombstones import FORGOTTEN, KEPT_SINCE, without_forgotten

_APPLICATION = "collect"
_NO_TIMES = pl.Series([], dtype=pl.Datetime("us", "UTC"))
_FILES = "driftwheel.files"
"""Note of a commit: which files were read, how they were, and the newest event time in each."""
_COLUMNS = "driftwheel.columns"
"""Note of a commit: the columns that its rows were delivered with."""
_ERASED = (FORGOTTEN, KEPT_SINCE)
"""Notes of a commit: what is not to be collected again."""
_DEFINITION = "driftwheel.definition"
"""Note of a commit: what its rows were collected with."""


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


@dataclass(frozen=True)
class _News:
    """Rows that the raw table does not hold as they are, and what they are to it."""

    rows: pl.DataFrame
    corrected: int
    late: pl.Series
    """Event times of new rows from before the lookback."""


def collect_sources(
    usecase: LoadedUseCase, lake: Lake, as_of: datetime, secret: bytes, forgotten: str | None = None
) -> Collected:
    """Read the sources up to `as_of` and append what the raw table does not hold yet.

    New rows are taken however late they come; the newest event time in the table says how far back known rows are
    compared for corrections (`UseCase.compared_since`), or the oldest row of a batch that is held, so that a corrected
    delivery heals it whole. A row that has no label yet is compared however old it is. A row whose key is known but
    whose values differ is appended as its newer version; the earlier one stays.

    Without a clock all rows are compared, and each is stamped with when it was first collected (`stamps`).

    Of two at once on one machine the second waits; elsewhere it is told that the first one won.

    Parameters
    ----------
    forgotten : str or None
        Note of who was forgotten while there was no raw table, which keeps it from then on.

    Raises
    ------
    SourceError, JoinError
        If the sources are not what the use case says; nothing is written.
    TurnTakenError
        If another machine collected meanwhile; nothing is written.
    """
    with lake.alone("collection"):
        return _collect(usecase, lake, as_of, secret, forgotten)


def _collect(usecase: LoadedUseCase, lake: Lake, as_of: datetime, secret: bytes, forgotten: str | None) -> Collected:
    spec = usecase.spec
    version = lake.version("raw")  # all that follows is about this one
    raw = None if version is None else lake.scan("raw", version)
    if raw is not None:
        _refuse_changed(usecase, lake)
    compared = None if raw is None or spec.clock is None else _compared_since(raw, lake, spec, as_of)
    since, held = compared, None
    if raw is not None and compared is not None:
        with lake.reading("raw"):
            since = min(compared, _oldest_waiting(raw, lake, spec.time_column) or compared)
            held = _held(raw, spec, since)
    schema = {} if raw is None else dict(raw.collect_schema())
    noted = _noted_files(usecase, lake)
    joined = join_sources(
        usecase,
        since=since,
        until=as_of,
        secret=secret,
        held=held,
        schema=schema,
        known_files=None if noted is None else {} if since is None else _settled_files(noted, since),
    )
    if raw is None:
        erased = {} if forgotten is None else {FORGOTTEN: forgotten}
    else:
        erased = {name: note for name in _ERASED if (note := lake.note("raw", name)) is not None}
    joined = replace(joined, rows=_without_erased(joined.rows, spec, erased, secret))
    if held is not None and not joined.asked and next(iter(spec.sources.values())).incremental:
        news = _News(pl.DataFrame(schema={spec.time_column: pl.Datetime("us", "UTC")}), 0, _NO_TIMES)
    elif raw is None:
        _refuse_unusable(joined, spec, as_of)
        news = _News(_once(joined.rows, list(spec.keys)), 0, _NO_TIMES)
    else:
        _refuse_unusable(joined, spec, as_of)
        with lake.reading("raw"):
            if joined.truth is not None:
                joined = replace(joined, rows=keep_labels(joined.rows, raw, spec))
            news = _news(joined.rows, raw, spec, since, compared)
    changes = () if raw is None else _changes(news.rows, schema, spec, _delivered(lake) or schema)
    if raw is not None and joined.truth is not None:
        with lake.reading("raw"):
            news = _with_labels(news, joined, raw, usecase)
    if spec.clock is None and not usecase.walked and len(news.rows):
        with lake.reading("raw"):
            news = replace(news, rows=_stamped(news.rows, raw, spec, as_of))
    before = batch = lake.transaction("raw", _APPLICATION, version) if version is not None else 0
    if len(news.rows):
        batch += 1
        _write(usecase, lake, news.rows, joined, as_of, batch, before, erased)
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
        stale=find_stale(spec, _with_held(joined.newest, raw, lake, spec, as_of), as_of),
    )


def _with_labels(news: _News, joined: Joined, raw: pl.LazyFrame, usecase: LoadedUseCase) -> _News:
    """Add rows that are known, and whose label has come, or is another now, in the table of labels."""
    spec = usecase.spec
    if joined.truth is None:
        return news
    besides = joined.rows if joined.asked else pl.DataFrame(schema={key: pl.Null() for key in spec.keys})
    told = relabelled(raw, joined.truth, spec, besides)
    if spec.clock is None and not usecase.walked:  # when they came is said as of all others
        told = told.drop(spec.time_column)
    rows = told if news.rows.is_empty() else pl.concat([news.rows, told], how="diagonal_relaxed")
    return _News(rows, news.corrected + len(told), news.late)


def _with_held(
    newest: Mapping[str, datetime | None], raw: pl.LazyFrame | None, lake: Lake, spec: UseCase, as_of: datetime
) -> Mapping[str, datetime | None]:
    """Take what is held of the first source, of which perhaps only what changed was read, for read."""
    first = next(iter(spec.sources))
    if raw is None or first not in newest:
        return newest
    held = _newest_before(raw, lake, spec, as_of)
    return {**newest, first: max(filter(None, (held, newest[first])), default=None)}


def _without_erased(rows: pl.DataFrame, spec: UseCase, noted: Mapping[str, str], secret: bytes) -> pl.DataFrame:
    """Leave out what was erased, and what sources may hold still."""
    rows = without_forgotten(rows, noted.get(FORGOTTEN), secret)
    if spec.clock is None or KEPT_SINCE not in noted:
        return rows
    return rows.filter(pl.col(spec.time_column) >= datetime.fromisoformat(noted[KEPT_SINCE]))


def _delivered(lake: Lake) -> list[str]:
    """Return the columns of the newest rows that were collected; none where that was not noted."""
    return list(json.loads(lake.note("raw", _COLUMNS) or "[]"))


def _changes(
    rows: pl.DataFrame, schema: Mapping[str, pl.DataType], spec: UseCase, before: Iterable[str]
) -> tuple[str, ...]:
    """Say how the table's columns change by new rows.

    Parameters
    ----------
    before : iterable of str
        Columns of the rows that were collected last.

    Raises
    ------
    SourceError
        If whole numbers became texts, which nobody declared.
    """
    if rows.is_empty():
        return ()
    new = [column for column in rows.columns if column not in schema]
    gone = [column for column in before if column not in {*rows.columns, *TECHNICAL, EVENT_TIME}]
    said = [f"{', '.join(new)} new: missing in earlier rows"] * bool(new)
    said += [f"{', '.join(gone)} no longer delivered: missing in new rows"] * bool(gone)
    for column, dtype in rows.schema.items():
        kept = schema.get(column)
        if kept is None or not kept.is_integer() or holds(kept, rows[column]):
            continue
        if dtype == pl.String and column not in spec.columns and rows[column].null_count() < len(rows):
            numbers = rows[column].cast(pl.Int64, strict=False)
            odd = numbers.is_null() & rows[column].is_not_null()
            raise SourceError(
                f"whole numbers in the column {column}, as it has held since the first collection",
                f"{int(odd.sum()) or len(rows)} of {len(rows)} values that are none",
                f"Correct the source, name such values under `missing`, or declare `{column}: {{type: text}}` under "
                "`columns`: what was collected becomes text",
            )
        said.append(f"{column} held whole numbers, and from now on {'numbers' if dtype.is_float() else 'texts'}")
    return tuple(said)


def _stamped(rows: pl.DataFrame, raw: pl.LazyFrame | None, spec: UseCase, as_of: datetime) -> pl.DataFrame:
    """Say when rows were first collected: a correction keeps its time, unless it brings the first label.

    A row whose label comes later is new when that comes: else it would lie before the end of what a champion learnt,
    which had not learnt from it, and nobody would ever judge by it.
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


def _definition(spec: UseCase) -> dict[str, str]:
    """Return what all rows of a table must have been collected with: under another, they could not be compared."""
    label, clock = spec.label, spec.clock
    return {
        "task": spec.task,
        "label": f"{label.column} = {label.expression.text}" if label.expression else label.column,
        "words": ", ".join(f"{word} as {name}" for word, name in sorted(label.words.items())),
        "keys": ", ".join(sorted(spec.keys)),
        "clock": f"{clock.column} in {clock.timezone}" if clock else "",
        "personal": ", ".join(f"{column}: {how}" for column, how in sorted(spec.personal.items())),
    }


def collected_with(lake: Lake) -> dict[str, str]:
    """Return what the rows of a use case were collected with: its task, label, keys, clock and personal columns."""
    noted: dict[str, str] = json.loads(lake.note("raw", _DEFINITION) or "{}")
    return noted


def _refuse_changed(usecase: LoadedUseCase, lake: Lake) -> None:
    noted, now = collected_with(lake), _definition(usecase.spec)
    changed = [name for name in now if noted.get(name, now[name]) != now[name]]
    if changed:
        raise SourceError(
            f"what the rows of {usecase.name} were collected with: "
            + "; ".join(f"{name} {noted[name] or 'none'}" for name in changed),
            "; ".join(f"{name} {now[name] or 'none'}" for name in changed),
            "Set it back; or give the use case another `name`, under which all is collected anew",
        )


def _noted_files(usecase: LoadedUseCase, lake: Lake) -> dict[str, Any] | None:
    """Return the files of the source that were read, as the same use case noted them; None where all are always read.

    Where other sources are joined, a row of a file that stays may get another partner; a label finds its row anyway.
    """
    spec = usecase.spec
    if spec.clock is None or sum(name != spec.label.source for name in spec.sources) > 1:
        return None
    noted = json.loads((lake.note("raw", _FILES) if lake.version("raw") is not None else None) or "{}")
    return dict(noted["files"]) if noted.get("digest") == usecase.digest else {}


def _settled_files(noted: Mapping[str, Any], since: datetime) -> dict[str, str]:
    """Return those whose rows are all from before the time in which corrections are looked for."""
    return {name: mark for name, (mark, newest) in noted.items() if datetime.fromisoformat(newest) < since}


def _minute(moment: object) -> str:
    return f"{moment:%Y-%m-%d %H:%M}" if isinstance(moment, datetime) else ""


def _compared_since(raw: pl.LazyFrame, lake: Lake, spec: UseCase, as_of: datetime) -> datetime | None:
    """Say from when on known rows are compared: by the newest event time *seen*.

    Not by an instant somebody asked for: of a source that falls silent, and of a clock that jumps, nothing is lost.
    """
    newest = _newest_before(raw, lake, spec, as_of)
    return None if newest is None else spec.compared_since(newest)


def _newest_before(raw: pl.LazyFrame, lake: Lake, spec: UseCase, as_of: datetime) -> datetime | None:
    clock = pl.col(spec.time_column)
    newest: datetime | None = lake.collect("raw", raw.filter(clock < as_of).select(clock.max())).item()
    return newest


def _oldest_waiting(raw: pl.LazyFrame, lake: Lake, clock: str) -> datetime | None:
    """Event time of the oldest row that is not in the clean table yet."""
    waiting = raw.filter(pl.col(BATCH) > lake.transaction("clean", "clean"))
    oldest: datetime | None = waiting.select(pl.col(clock).min()).collect().item()
    return oldest


def _held(raw: pl.LazyFrame, spec: UseCase, since: datetime) -> Held:
    """Keys of rows from before `since`; of those that have their label nothing more is expected."""
    old = raw.filter(pl.col(spec.time_column) < since).select(*spec.keys, pl.col(spec.label.column)).collect()
    known = old[spec.label.column].is_not_null()
    if spec.label.source is not None:  # labels find their rows by themselves
        known |= True
    return Held(*(old.filter(which).select(spec.keys) for which in (known, ~known)))


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
        _DEFINITION: json.dumps(_definition(usecase.spec)),
        "driftwheel.read": json.dumps(joined.read),
        "driftwheel.coverage": json.dumps(joined.coverage),
        _COLUMNS: json.dumps(joined.rows.columns if joined.asked else _delivered(lake)),
    }
    if (noted := _noted_files(usecase, lake)) is not None:
        still = {name: how for name, how in noted.items() if name in joined.present}
        notes[_FILES] = json.dumps({"digest": usecase.digest, "files": {**still, **joined.files}})
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


def _once(rows: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """Leave out rows that stand twice to the letter; versions of one key stay, in their order."""
    return (
        rows.with_columns(rows.hash_rows().alias("_hash"))
        .unique([*keys, "_hash"], keep="last", maintain_order=True)
        .drop("_hash")
    )


def _news(
    rows: pl.DataFrame, raw: pl.LazyFrame, spec: UseCase, since: datetime | None, compared: datetime | None
) -> _News:
    keys, clock = list(spec.keys), spec.time_column
    latest = _latest(raw, rows, spec, since)
    ordered, beside = _alike(rows, latest)
    hashes = latest.select(keys).with_columns(beside.hash_rows().alias("_known"))
    versions = rows.with_columns(ordered.hash_rows().alias("_hash")).join(
        match_types(hashes, rows, keys), on=keys, how="left", maintain_order="left"
    )
    # of several versions in one batch the last decides whether anything is new
    last = versions.unique(keys, keep="last", maintain_order=True)
    changed = last.filter(pl.col("_known").is_null() | (pl.col("_known") != pl.col("_hash")))
    fresh = versions.join(changed.select(keys), on=keys, how="semi", maintain_order="left")
    unseen = changed.filter(pl.col("_known").is_null())
    late = _NO_TIMES if compared is None else unseen.filter(pl.col(clock) < compared)[clock]
    return _News(_once(fresh.drop("_hash", "_known"), keys), len(changed) - len(unseen), late)


def _alike(rows: pl.DataFrame, latest: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Bring new rows and known ones to the same columns and types, in which both say all they say."""
    new, known = [], []
    for column, dtype in rows.schema.items():
        kept = latest.schema.get(column)
        common = dtype if kept is None or kept == pl.Null else kept
        if kept is not None and kept != dtype and ((dtype.is_float() and kept.is_integer()) or dtype == pl.String):
            common = dtype
        new.append(rows[column].cast(common, strict=False))
        known.append(
            pl.Series(column, [None], dtype=common).new_from_index(0, len(latest))
            if kept is None
            else latest[column].cast(common, strict=False)
        )
    return pl.DataFrame(new), pl.DataFrame(known)


def _latest(raw: pl.LazyFrame, rows: pl.DataFrame, spec: UseCase, since: datetime | None) -> pl.DataFrame:
    """Read the newest versions of the rows that new ones may be versions of."""
    keys, clock = list(spec.keys), pl.col(spec.time_column)
    if since is not None and spec.time_column in keys:  # else a correction may move a row in time, from anywhere
        known = clock >= since
        if len(rows.filter(clock < since)):
            known |= pl.col(spec.label.column).is_null()
        raw = raw.filter(known)
    return raw.collect().sort(BATCH, maintain_order=True).unique(keys, keep="last", maintain_order=True)
