"""Join the sources of a use case into one table, and compute its label."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

import polars as pl

from expectations.data import FilesRead
from expectations.errors import SourceError
from expectations.loading import LoadedUseCase
from expectations.parts import input_kinds
from expectations.usecase import UseCase
from tasks.collection.column_names import names_alike, refuse_names
from tasks.collection.expected_types import ExpectedTypes, expected_of, needed_columns
from tasks.collection.freshness import newest_known_of
from tasks.collection.held_rows import KnownKeys
from tasks.collection.labels import truth_of, with_label
from tasks.collection.left_joins import join_others
from tasks.collection.personal_columns import protect
from tasks.collection.reading import absent_columns, read_source_of
from tasks.collection.types import TYPES, cast_column, match_types
from tasks.collection.unreadable import mark_together
from tasks.stores.arrival_order import places
from tasks.stores.lake_tables import POSITION
from tasks.stores.personal_keys import Keyring


@dataclass(frozen=True)
class Joined:
    """The joined rows, how many rows each source gave, and which share of rows found a partner in each."""

    rows: pl.DataFrame
    read: dict[str, int]
    coverage: dict[str, float]
    asked: int
    """Rows of the first source before `until`, those left out among them."""
    undated: pl.DataFrame
    """Keys of the rows of the first source that have no event time: it is unknown when they may be read."""
    said: tuple[str, ...] = ()
    """What was read in a way worth knowing."""
    files: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Each file of the first source that was read: how it was, and the newest event time in it."""
    present: Set[str] = frozenset()
    """All files of the first source that are there."""
    newest: Mapping[str, datetime | None] = field(default_factory=dict)
    """The newest event time before `until` of each source, None where it has none."""
    truth: pl.DataFrame | None = None
    """What the table of labels says, personal columns replaced, under the names of the rows' columns; None where the
    label is in none of its own."""


def join_sources(
    usecase: LoadedUseCase,
    *,
    since: datetime | None,
    until: datetime,
    secret: bytes,
    keyring: Keyring | None = None,
    held: KnownKeys | None = None,
    schema: Mapping[str, pl.DataType] = MappingProxyType({}),
    known_files: Mapping[str, str] | None = None,
) -> Joined:
    """Read and join the sources for rows with event time before `until`; all of them where there is no clock.

    Where a past without a clock is walked through, rows count as having come one after the other.

    Parameters
    ----------
    since, held : datetime, KnownKeys, optional
        Rows from before `since` that are held with their label are left out; a source that can filter by time is asked
        only for what changed since.
    secret : bytes
        Key of the hashes that replace personal columns.
    keyring : Keyring, optional
        Keys of what is encrypted; where not given one that is thrown away, for rows that are kept nowhere.
    schema : mapping of str to polars.DataType
        Columns of the table that the rows are for; none before the first collection.
    known_files : mapping of str to str, optional
        Files of the first source that need not be read again, and how they were.

    Raises
    ------
    SourceError
        If a source cannot be read, or a column the use case needs is absent.
    JoinError
        If a join would multiply rows, or covers fewer rows than declared.
    """
    spec, keyring = usecase.spec, keyring or Keyring.fresh()
    said: list[str] = []
    expected = expected_of(spec, schema)
    files = None if known_files is None else FilesRead(known_files)
    frames = _read_all(usecase, since if held is not None else None, until, expected, said, files)
    present = frozenset(files.present) if files is not None else frozenset()
    read = {name: len(frame) for name, frame in frames.items()}
    fresh = {name: newest_known_of(name, frame, spec, until) for name, frame in frames.items()}
    truth = None
    if spec.label.source is not None:
        frames[spec.label.source], odd = truth_of(frames[spec.label.source], spec, until)
        said += [f"{spec.label.source}: {odd}"] * bool(odd)
        truth = _protected_truth(frames[spec.label.source], spec, secret, keyring)
    first = next(iter(frames))
    rows = frames.pop(first)  # held by its name alone, so that each step lets go of what it was given
    if rows.is_empty():
        return Joined(rows, read, {}, 0, rows, tuple(said), present=present, newest=fresh, truth=truth)
    clock = spec.time_column
    dated = _newest(rows, files, spec.time_column)
    rows, undated = _until(rows, usecase, first, until)
    asked = len(rows)
    first_has_keys = set(spec.keys) <= set(rows.columns)  # else another source brings some: all rows must be joined
    again = pl.Series([False]).new_from_index(0, len(rows))
    if first_has_keys and since is not None and held is not None:
        rows, again = _wanted(rows, protect(rows.select(_identity(spec)), spec, secret, keyring), spec, since, held)
    rows, coverage = join_others(rows, frames, spec, until, again)
    astray = [column for column in spec.personal if column not in rows.columns]
    if astray:  # a misspelt name would let a personal column through
        raise absent_columns(astray, rows.columns, "the joined sources (named under `personal`)")
    rows = _without_names_alike(rows, expected, said)
    refuse_names(
        [column for column in rows.columns if not (usecase.walked and column == clock)], clock=bool(spec.clock)
    )
    rows = protect(mark_together(rows, schema), spec, secret, keyring)
    missing = [column for column in needed_columns(spec) if column not in rows.columns]
    if missing:
        raise absent_columns(missing, rows.columns, "the joined sources")
    rows = _settled(rows, spec, expected, schema, said)
    if not first_has_keys and since is not None and held is not None:
        rows, _ = _wanted(rows, rows.select(_identity(spec)), spec, since, held)
    keys = protect(undated.select(column for column in spec.keys if column in undated.columns), spec, secret, keyring)
    return Joined(with_label(rows, spec), read, coverage, asked, keys, tuple(said), dated, present, fresh, truth)


def _read_all(
    usecase: LoadedUseCase,
    since: datetime | None,
    until: datetime,
    expected: ExpectedTypes,
    said: list[str],
    files: FilesRead | None,
) -> dict[str, pl.DataFrame]:
    """Read the sources; where the first one has nothing new, of the others the labels alone."""
    spec = usecase.spec
    first, *others = spec.sources
    rows = read_source_of(usecase, first, since, until, expected, said.append, files)
    if rows.is_empty():
        if since is None or not spec.sources[first].incremental:
            raise SourceError(f"rows in the source {first!r}", "none", "Check the source")
        others = [name for name in others if name == spec.label.source]
    return {first: rows} | {name: read_source_of(usecase, name, None, until, expected, said.append) for name in others}


def _protected_truth(truth: pl.DataFrame, spec: UseCase, secret: bytes, keyring: Keyring) -> pl.DataFrame:
    """Return labels by the columns of rows that were collected before."""
    pairs = spec.label.join.pairs if spec.label.join is not None else {}
    lefts = [truth[right].alias(left) for left, right in pairs.items()]
    return protect(truth.drop(set(pairs.values())).with_columns(lefts).drop_nulls(list(pairs)), spec, secret, keyring)


def _newest(rows: pl.DataFrame, files: FilesRead | None, clock: str) -> dict[str, tuple[str, str]]:
    """Return the newest event time of each file that was read, unless a row of it has none."""
    times, at, found = rows[clock] if clock in rows.columns else None, 0, {}
    for name, mark, count in files.found if files else ():
        part = None if times is None else times.slice(at, count)
        at += count
        newest = None if part is None or part.null_count() or not count else part.max()
        if mark and isinstance(newest, datetime):
            found[name] = (mark, newest.isoformat())
    return found if at == len(rows) else {}


def _without_names_alike(rows: pl.DataFrame, expected: ExpectedTypes, said: list[str]) -> pl.DataFrame:
    """Leave out a column whose name differs from another's in capitals alone, where nothing reads it."""
    for gone, words in names_alike(rows.columns, expected.needed):
        said.append(words)
        rows = rows.drop(gone)
    return rows


def _settled(
    rows: pl.DataFrame, spec: UseCase, expected: ExpectedTypes, schema: Mapping[str, pl.DataType], said: list[str]
) -> pl.DataFrame:
    """Give columns without any value the type that they are read as; what nothing reads waits for its first value."""
    kinds = {column: TYPES[kind] for column, kind in input_kinds(spec.features).items()}
    waiting = []
    for column in [name for name, dtype in rows.schema.items() if dtype == pl.Null]:
        read = column in expected.needed or column in spec.personal
        dtype = schema.get(column) or kinds.get(column) or (pl.Float64() if read else None)
        if dtype is None:
            waiting.append(column)
        else:
            rows = rows.with_columns(pl.col(column).cast(dtype))
    if waiting:
        said.append(f"{', '.join(waiting)} without any value yet: kept from the first value on")
    return rows.drop(waiting)


def _until(
    rows: pl.DataFrame, usecase: LoadedUseCase, first: str, until: datetime
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the rows of the first source from before an instant, and those that have no event time.

    Without a clock these are all rows, or, where a past is walked through, those that came by then.
    """
    clock, declared = usecase.spec.time_column, usecase.spec.clock
    if declared is None:
        refuse_names(rows.columns, clock=False)
        if not usecase.walked:
            return rows, rows.head(0)
        rows = rows.with_columns(places(len(rows)).alias(clock))
    if clock not in rows.columns:
        raise absent_columns([clock], rows.columns, f"the source {first!r}")
    if rows.schema[clock] != pl.Datetime("us", "UTC"):
        rows = rows.with_columns(cast_column(rows[clock], "instant", first, declared))  # a clock without any value
    early = (rows[clock] < until).fill_null(value=False)
    return rows if early.all() else rows.filter(early), rows.filter(pl.col(clock).is_null())


def _identity(spec: UseCase) -> list[str]:
    return list(dict.fromkeys((*spec.keys, spec.time_column)))


def _wanted(
    rows: pl.DataFrame, identity: pl.DataFrame, spec: UseCase, since: datetime, held: KnownKeys
) -> tuple[pl.DataFrame, pl.Series]:
    """Leave out the rows from before `since` that are complete; returns which of the others are known, too."""
    keys, clock = list(spec.keys), pl.col(spec.time_column)
    numbered = identity.with_row_index(POSITION)
    old = numbered.filter(clock < since)
    old = old.join(match_types(held.complete, old, keys), on=keys, how="anti")
    again = old.join(match_types(held.incomplete, old, keys), on=keys, how="semi")[POSITION]
    kept = pl.concat((old[POSITION], numbered.filter(clock >= since)[POSITION])).sort()
    return rows[kept], kept.is_in(again.implode())
