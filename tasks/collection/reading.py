"""Read declared sources into frames with declared types."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from datetime import datetime
from pathlib import Path

import polars as pl

from expectations.column_types import ColumnType
from expectations.data import Clock, ColumnSpec, FilesRead, Join, Source, SourceContext
from expectations.errors import JoinError, SourceError
from expectations.loading import LoadedUseCase
from expectations.wording import nearest
from tasks.collection.column_names import without_patterns
from tasks.collection.expected_types import NOTHING_EXPECTED, ExpectedTypes
from tasks.collection.pictures import read_pictures
from tasks.collection.types import cast_column, holds, misfit, plain
from tasks.collection.unreadable import mark, without_few

_MAX_NAMED = 20


def silent(_: str) -> None:
    """Report nothing."""


def read_source_of(
    usecase: LoadedUseCase,
    name: str,
    since: datetime | None = None,
    until: datetime | None = None,
    expected: ExpectedTypes = NOTHING_EXPECTED,
    report: Callable[[str], None] = silent,
    files: FilesRead | None = None,
) -> pl.DataFrame:
    """Read a source of a use case, what changed `since` where it can filter by time; else, and without, all of it.

    Raises
    ------
    SourceError, SourceUnreachableError
        As `read_source` does.
    """
    spec = usecase.spec
    context = SourceContext(
        name,
        usecase.folder,
        set(),
        spec.clock,
        since,
        until,
        usecase.variables,
        code=usecase.code,
        files=files,
        sparse=name == spec.label.source,
        unreadable=None if name == spec.label.source else {},
    )
    source = spec.sources[name].model_copy(update={"join": spec.join_of(name)})
    return _read(source, context, spec.columns, expected, report)


def read_source(
    name: str,
    source: Source,
    folder: Path,
    columns: Mapping[str, ColumnSpec],
    clock: Clock | None,
    expected: ExpectedTypes = NOTHING_EXPECTED,
    report: Callable[[str], None] = silent,
) -> pl.DataFrame:
    """Read a source; its columns get their prefix and their declared types.

    Parameters
    ----------
    report : callable
        Takes a sentence about what was read in a way worth knowing.

    Raises
    ------
    SourceError
        If a file is absent, empty, truncated, not of its format, or a value is not of its column's type.
    SourceUnreachableError
        If an address does not answer.
    """
    return _read(source, SourceContext(name, folder, set(), clock), columns, expected, report)


def _read(
    source: Source,
    context: SourceContext,
    columns: Mapping[str, ColumnSpec],
    expected: ExpectedTypes,
    report: Callable[[str], None],
) -> pl.DataFrame:
    name, clock = context.name, context.clock

    def say(words: str) -> None:
        report(f"{name}: {words}")

    join, prefix = source.join, source.prefix
    joined = set(join.pairs.values()) if join else set()
    declared = {column.removeprefix(prefix) for column in columns if column.startswith(prefix)}
    known = dict(expected.types) | {column: spec.type for column, spec in columns.items()}
    types = _own(known, prefix, join)
    needed = set(_own(dict.fromkeys(expected.needed, "text"), prefix, join)) | joined
    exact, computed = (
        set(_own(dict.fromkeys(names, "text"), prefix, join)) for names in (expected.exact, expected.computed)
    )
    context = context._replace(
        declared=declared, types=types, needed=needed, exact=exact, computed=computed, report=say
    )
    pictures = {column.removeprefix(prefix): spec for column, spec in columns.items() if column.startswith(prefix)}
    found = read_pictures(without_patterns(source.read(context), context), pictures, context, source.files_in(context))
    whole = plain(found, clock)
    whole = whole.rename({column: prefix + column for column in whole.columns if column not in joined})
    held = {prefix + column for column, spec in pictures.items() if spec.type == "image"}
    whole = _holdable(whole, expected.needed | columns.keys() | joined, held, name, say)
    specs = {spec_name: spec for spec_name, spec in columns.items() if spec_name in whole.columns}
    if join:  # a join column has its left side's type
        specs |= {right: columns[left] for left, right in join.pairs.items() if left in columns}
    groups = _groups(whole, clock, join, expected.keys)
    noted = {column if column in joined else prefix + column: bad for column, bad in (context.unreadable or {}).items()}
    wanted = [(column, spec.type, spec.format) for column, spec in specs.items() if column in whole.columns]
    wanted += [(column, kind, None) for column, kind in _undeclared(whole, expected, join, specs)]
    firm = {*joined, *expected.keys}
    read = {}
    for column, kind, form in wanted:
        if column in noted and column in firm:
            raise misfit(whole[column], noted[column], kind, name)
        few = None if context.unreadable is None or column in firm else noted
        read[column] = cast_column(without_few(whole[column], kind, few, say), kind, name, clock, form, groups, say)
    whole = mark(whole.with_columns(read.values()), noted, name)
    return _finite(whole, expected.labels, say)


def absent_columns(columns: Sequence[str], present: Sequence[str], where: str) -> SourceError:
    """Return the error that columns are not where they should be, with the nearest names."""
    hints = []
    for column in columns:
        near = nearest(column, present)
        hints.append(f"{column} (there is {near})" if near else column)
    return SourceError(
        f"the columns {', '.join(columns)} in {where}",
        f"no {', '.join(hints)}; the columns there: {', '.join(present[:_MAX_NAMED])}"
        + (f" and {len(present) - _MAX_NAMED} more" if len(present) > _MAX_NAMED else ""),
        "Was a column renamed? Correct the source or the use case",
    )


def refuse_repeated(rows: pl.DataFrame, keys: list[str], source: str) -> None:
    """Refuse rows of a source that share their keys, none of which is missing, with another.

    Raises
    ------
    JoinError
    """
    repeated = rows.select(keys).is_duplicated()
    if repeated.any():
        raise JoinError(
            f"one row of the source {source!r} for each {', '.join(keys)}",
            f"{int(repeated.sum())} rows that share theirs with another (first: row {(repeated.arg_max() or 0) + 1})",
            "Joining would multiply rows: remove the duplicates in the source, or join on more columns",
        )


def _own(of_joined: Mapping[str, ColumnType], prefix: str, join: Join | None) -> dict[str, ColumnType]:
    """Return what is known of the joined rows' columns by a source's own names."""
    own = {column.removeprefix(prefix): each for column, each in of_joined.items() if column.startswith(prefix)}
    if join:
        own |= {right: of_joined[left] for left, right in join.pairs.items() if left in of_joined}
    return own


def _undeclared(
    rows: pl.DataFrame, expected: ExpectedTypes, join: Join | None, specs: Mapping[str, ColumnSpec]
) -> Iterator[tuple[str, ColumnType]]:
    """Yield the columns that are brought to a type that was not declared, as far as that can lose nothing."""
    types = expected.types
    known = dict(types) | ({right: types[left] for left, right in join.pairs.items() if left in types} if join else {})
    for column, kind in known.items():
        dtype = rows.schema.get(column)
        if column in specs or dtype is None or dtype == pl.Null:
            continue
        if (kind == "number" and (dtype.is_numeric() or dtype == pl.String)) or (
            kind == "instant" and (dtype == pl.String or isinstance(dtype, pl.Datetime))
        ):
            yield column, kind
    for column in expected.computed - known.keys() - specs.keys():
        if rows.schema.get(column) == pl.String:
            yield column, "number"


def _groups(rows: pl.DataFrame, clock: Clock | None, join: Join | None, keys: tuple[str, ...]) -> pl.Series | None:
    """Return a number for the values of the other keys, of which each time has one row; None where it may have more."""
    names = tuple(join.pairs.values()) if join else keys
    if clock is None or clock.column not in names or clock.column not in rows.columns:
        return None
    others = [key for key in names if key != clock.column and key in rows.columns]
    if not others:
        return pl.Series([0], dtype=pl.UInt64).new_from_index(0, len(rows))
    return rows.select(others).hash_rows()


def _holdable(
    rows: pl.DataFrame, needed: Set[str], pictures: Set[str], name: str, say: Callable[[str], None]
) -> pl.DataFrame:
    """Leave out columns that no table here holds, where nothing reads them."""
    odd = [column for column, dtype in rows.schema.items() if not holds(dtype) and column not in pictures]
    if read := [column for column in odd if column in needed]:
        raise SourceError(
            f"numbers, texts, booleans or instants in the source {name!r}",
            f"{rows.schema[read[0]]} in {read[0]}",
            "Write it as a number or a text, or take it out of the use case; or, where it holds pictures, declare them",
        )
    if odd:
        say(f"{', '.join(f'{column} ({rows.schema[column]})' for column in odd)} left out: no table here holds such")
    return rows.drop(odd)


def _finite(rows: pl.DataFrame, labels: Set[str], say: Callable[[str], None]) -> pl.DataFrame:
    """Take what is no finite number for missing."""
    floats = [column for column, dtype in rows.schema.items() if dtype.is_float() and column not in labels]
    counts = rows.select(pl.col(floats).is_infinite().sum()).row(0, named=True) if floats else {}
    for column, count in counts.items():
        if count:
            say(f"{count} infinite {'value' if count == 1 else 'values'} of {column} taken for missing")
    return rows.with_columns(pl.when(pl.col(floats).is_finite()).then(pl.col(floats))) if floats else rows
