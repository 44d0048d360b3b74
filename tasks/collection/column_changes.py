"""How the columns of the raw table change by new rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import polars as pl

from expectations.data import EVENT_TIME
from expectations.errors import SourceError
from expectations.usecase import UseCase
from tasks.stores.lake_tables import TECHNICAL, UNREAD
from tasks.stores.table_columns import holds


def column_changes(
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
        If whole numbers became texts, which was not declared.
    """
    if rows.is_empty():
        return ()
    new = [column for column in rows.columns if column not in schema and column != UNREAD]
    gone = [column for column in before if column not in {*rows.columns, *TECHNICAL, EVENT_TIME, UNREAD}]
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
