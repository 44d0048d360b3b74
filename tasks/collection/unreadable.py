"""A few values that are no numbers, where numbers are needed: their rows are marked, and cleaning sets them apart."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping

import polars as pl

from expectations.column_types import ColumnType
from tasks.collection.numbers import whole_numbers
from tasks.stores.lake_tables import BETWEEN_UNREAD, UNREAD

MAX_SHARE = 0.01
"""Of a delivery's values: where more are no numbers, the column, or how it is written, is another one."""
_MAX_NAMED = 5
_PLACEHOLDERS = frozenset({"n/a", "n.a.", "na", "nan", "null", "none", "nil", "missing", "unknown", "undefined"})


def note_few(
    values: pl.Series, bad: pl.Series, noted: dict[str, pl.Series] | None, report: Callable[[str], None], remedy: str
) -> bool:
    """Note in which rows values are no numbers, where that is asked for and they are few; returns whether it did.

    Parameters
    ----------
    bad : Series of bool of shape (n_rows,)
        Which values are none.
    noted : dict of str to Series of bool, optional
        Column -> `bad`.
    """
    number = int(bad.sum())
    if noted is None or number > MAX_SHARE * len(bad):
        return False
    noted[values.name] = bad
    what, whose = ("is no number", "its row is") if number == 1 else ("are no numbers", "their rows are")
    where = f"{'' if number == 1 else 'first '}in row {int(bad.arg_max() or 0) + 1}"
    of = f"{number:,} of {len(bad):,} values"
    report(f"{values.name}: {of} {what}, {where}; {whose} set apart in quarantine. Correct the source, or {remedy}")
    return True


def without_few(
    values: pl.Series, kind: ColumnType, noted: dict[str, pl.Series] | None, say: Callable[[str], None]
) -> pl.Series:
    """Leave out texts that are no numbers, where they are few and may be noted."""
    if kind not in ("number", "integer") or values.dtype != pl.String or noted is None:
        return values
    texts = values.str.strip_chars()
    numbers = whole_numbers(texts) if kind == "integer" else texts.cast(pl.Float64, strict=False)
    bad = values.is_not_null() & numbers.is_null()
    if not bad.any() or not note_few(values, bad, noted, say, "leave the value out there"):
        return values
    return pl.select(pl.when(~bad).then(values).alias(values.name)).to_series()


def missing_remedy(bad: pl.Series, missing: Collection[str]) -> str:
    """Say how to name texts that stand for a missing value; shown where they are signs or known words."""
    texts = bad.unique(maintain_order=True).to_list()
    if len(texts) <= _MAX_NAMED and all(map(_is_placeholder, texts)):
        named = json.dumps([*missing, *texts], ensure_ascii=False)
        return f"declare `missing: {named}` at the source where they stand for a missing value"
    return "name such values under `missing`"


def _is_placeholder(text: str) -> bool:
    plain = text.strip().casefold()
    return plain in _PLACEHOLDERS or not any(map(str.isalnum, plain))


def mark(rows: pl.DataFrame, noted: Mapping[str, pl.Series], source: str) -> pl.DataFrame:
    """Add the names of the columns that each row of a source has no number in, where any has none."""
    if not noted:
        return rows
    marks = []
    for column, bad in noted.items():
        said = column.replace(BETWEEN_UNREAD, " ")  # one in a source may have it in its name
        marks.append(bad.replace_strict({True: said, False: None}, return_dtype=pl.String).alias(column))
    return rows.with_columns(pl.DataFrame(marks).select(_joined(list(noted), f"{UNREAD}:{source}")))


def without_marks(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the columns that a source has."""
    return rows.drop(_marks(rows))


def mark_together(rows: pl.DataFrame, kept: Collection[str]) -> pl.DataFrame:
    """Bring the marks of all sources into one column; there is none where the table has none, and no row is marked."""
    marks = _marks(rows)
    if not marks and UNREAD not in kept:
        return rows
    all_of_them = _joined(marks, UNREAD) if marks else pl.lit(None, pl.String).alias(UNREAD)
    return rows.with_columns(all_of_them).drop(marks)


def _marks(rows: pl.DataFrame) -> list[str]:
    return [column for column in rows.columns if column.startswith(f"{UNREAD}:")]


def _joined(marks: list[str], name: str) -> pl.Expr:
    together = pl.concat_str(pl.col(marks), separator=BETWEEN_UNREAD, ignore_nulls=True)
    return pl.when(together != "").then(together).alias(name)
