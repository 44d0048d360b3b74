"""Read declared sources into frames with declared types."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from expectations.data import Clock, ColumnSpec, Source, SourceContext
from tasks.collection.types import cast_column, plain


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
    joined = set(source.join.pairs.values()) if source.join else set()
    declared = {column.removeprefix(source.prefix) for column in columns if column.startswith(source.prefix)}
    whole = plain(source.read(SourceContext(name, folder, declared, clock)), clock)
    whole = whole.rename({column: source.prefix + column for column in whole.columns if column not in joined})
    types = {spec_name: spec for spec_name, spec in columns.items() if spec_name in whole.columns}
    if source.join:  # a join column has its left side's type
        types |= {right: columns[left] for left, right in source.join.pairs.items() if left in columns}
    return whole.with_columns(
        cast_column(whole[column], spec.type, name, clock) for column, spec in types.items() if column in whole.columns
    )
