"""Read declared sources into frames with declared types."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import polars as pl

from expectations.data import Clock, ColumnSpec, Source, SourceContext
from expectations.loading import LoadedUseCase
from tasks.collection.types import cast_column, plain


def read_source_of(
    usecase: LoadedUseCase, name: str, since: datetime | None = None, until: datetime | None = None
) -> pl.DataFrame:
    """Read a source of a use case, what changed `since` where it can tell; else, and without, all of it.

    Raises
    ------
    SourceError, SourceUnreachableError
        As `read_source` does.
    """
    spec = usecase.spec
    context = SourceContext(name, usecase.folder, set(), spec.clock, since, until, usecase.variables)
    return _read(spec.sources[name], context, spec.columns)


def read_source(
    name: str, source: Source, folder: Path, columns: Mapping[str, ColumnSpec], clock: Clock | None
) -> pl.DataFrame:
    """Read a source; its columns get their prefix and their declared types.

    Raises
    ------
    SourceError
        If a file is absent, empty, truncated, not of its format, or a value is not of its column's type.
    SourceUnreachableError
        If an address does not answer.
    """
    return _read(source, SourceContext(name, folder, set(), clock), columns)


def _read(source: Source, context: SourceContext, columns: Mapping[str, ColumnSpec]) -> pl.DataFrame:
    name, clock = context.name, context.clock
    joined = set(source.join.pairs.values()) if source.join else set()
    declared = {column.removeprefix(source.prefix) for column in columns if column.startswith(source.prefix)}
    whole = plain(source.read(context._replace(declared=declared)), clock)
    whole = whole.rename({column: source.prefix + column for column in whole.columns if column not in joined})
    types = {spec_name: spec for spec_name, spec in columns.items() if spec_name in whole.columns}
    if source.join:  # a join column has its left side's type
        types |= {right: columns[left] for left, right in source.join.pairs.items() if left in columns}
    return whole.with_columns(
        cast_column(whole[column], spec.type, name, clock) for column, spec in types.items() if column in whole.columns
    )
