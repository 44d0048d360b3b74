"""What a function returned, to a frame: a table of Polars, pandas or Arrow, or an iterator of such, or of dicts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from itertools import chain, islice

import polars as pl

from expectations.errors import SourceError
from tasks.collection.batches import Batches, records
from tasks.collection.numbers import EXACT

_BATCH = 10_000
_MEGABYTE = 10**6


def to_frame(value: object, source: str, declared: Set[str], max_megabytes: int) -> pl.DataFrame:
    """Bring what was returned to the types a source may hold; NaN is missing.

    Raises
    ------
    SourceError
        If it is no table, larger than `max_megabytes`, or has a column that would be rounded or cannot be kept.
    """
    table = _table(value, source)
    if table is None:
        table = _of_rows(value, source, declared, max_megabytes)
    if table.estimated_size() > max_megabytes * _MEGABYTE:
        raise _too_much(source, max_megabytes)
    return table.with_columns(_exact(column, source, column.name in declared) for column in table.iter_columns())


def _table(value: object, source: str) -> pl.DataFrame | None:
    """Return a table as a frame; None where it is none."""
    try:
        if isinstance(value, pl.DataFrame):
            return value
        if isinstance(value, pl.LazyFrame):
            return value.collect()
        library = type(value).__module__.partition(".")[0]
        if library == "pandas" and type(value).__name__ == "DataFrame":
            return pl.from_pandas(value, nan_to_null=True)  # type: ignore[call-overload, no-any-return]
        if library == "pyarrow" or hasattr(value, "__arrow_c_stream__"):
            return pl.DataFrame(value)  # type: ignore[arg-type]
    except (pl.exceptions.PolarsError, ValueError, TypeError) as error:
        raise SourceError(
            f"a table for the source {source!r}, with columns of one type and with names of their own",
            f"one of {type(value).__module__} that cannot be read ({type(error).__name__})",
            "Return a table of Polars to see which column it is",
        ) from None
    return None


def _of_rows(value: object, source: str, declared: Set[str], max_megabytes: int) -> pl.DataFrame:
    if not isinstance(value, Iterable) or isinstance(value, str | bytes | Mapping):
        raise SourceError(
            f"a table (Polars, pandas, Arrow), or an iterator of tables or dicts, for the source {source!r}",
            f"a value of the type {type(value).__name__}",
            "Correct what the function returns",
        )
    parts: Iterator[object] = iter(value)
    try:
        first = next(parts)
    except StopIteration:
        return pl.DataFrame()
    whole = chain((first,), parts)
    if isinstance(first, Mapping):
        return _of_dicts(whole, source, declared, max_megabytes)
    return _of_tables(whole, source, max_megabytes)


def _of_dicts(rows: Iterator[object], source: str, declared: Set[str], max_megabytes: int) -> pl.DataFrame:
    batches = Batches(source, declared, max_megabytes)
    while some := list(islice(rows, _BATCH)):
        dicts = [row for row in some if isinstance(row, Mapping)]
        if len(dicts) < len(some):
            raise _mixed(source, next(row for row in some if not isinstance(row, Mapping)))
        batches.add(*records(dicts))
    return batches.frame()


def _of_tables(parts: Iterator[object], source: str, max_megabytes: int) -> pl.DataFrame:
    tables: list[pl.DataFrame] = []
    size = 0
    for part in parts:
        table = _table(part, source)
        if table is None:
            raise _mixed(source, part)
        if tables and set(table.columns) != set(tables[0].columns):
            odd = ", ".join(sorted(set(table.columns) ^ set(tables[0].columns)))
            raise SourceError(
                f"the same columns in every table of the source {source!r}", f"{odd} not in all", "Correct the function"
            )
        size += int(table.estimated_size())
        if size > max_megabytes * _MEGABYTE:
            raise _too_much(source, max_megabytes)
        tables.append(table)
    if wrong := [name for name in tables[0].columns if not _alike([table[name] for table in tables])]:
        raise SourceError(
            f"columns of one type in all tables of the source {source!r}", ", ".join(wrong), "Correct the function"
        )
    return pl.concat([table.select(tables[0].columns) for table in tables], how="vertical_relaxed")


def _alike(parts: list[pl.Series]) -> bool:
    """Whether parts of a column are of one type, or of several that one holds without rounding."""
    types = {part.dtype for part in parts} - {pl.Null()}
    if len(types) <= 1:
        return True
    if all(isinstance(dtype, pl.Datetime) for dtype in types):
        return len({dtype.time_zone for dtype in types if isinstance(dtype, pl.Datetime)}) == 1
    whole = [part for part in parts if part.dtype.is_integer()]
    if all(dtype.is_integer() or dtype.is_float() for dtype in types):
        if len(whole) == len(parts) and pl.UInt64 not in types:
            return True
        return not any((part.cast(pl.Float64).abs() >= EXACT).any() for part in whole)
    return False


def _exact(values: pl.Series, source: str, declared: bool) -> pl.Series:
    """Return a column as the lake may keep it; what would be rounded stays a text until its declared type is known."""
    dtype = values.dtype
    if dtype.is_float():
        return values.fill_nan(None)
    wide = dtype.is_decimal() or dtype in (pl.UInt64, pl.Int128)
    if wide and declared:
        return values.cast(pl.String)
    if wide and (values.cast(pl.Float64).abs() >= EXACT).any():
        raise SourceError(
            f"numbers that a float holds in the column {values.name!r} of the source {source!r}",
            "larger ones, which it would round",
            f"Declare {values.name} as integer or text under `columns`",
        )
    if wide or dtype.is_integer() or dtype in (pl.Boolean, pl.String, pl.Date, pl.Null):
        return values
    if isinstance(dtype, pl.Datetime | pl.Categorical | pl.Enum):
        return values
    if declared and (dtype == pl.Binary or dtype.is_nested()):  # pictures; of any other type it is refused later
        return values
    raise SourceError(
        f"numbers, texts, booleans, dates and instants in the column {values.name!r} of the source {source!r}",
        f"{dtype}",
        "Turn it into one of these in the function, or leave the column out",
    )


def _mixed(source: str, part: object) -> SourceError:
    return SourceError(
        f"tables, or dicts, from the function of the source {source!r}",
        f"a value of the type {type(part).__name__}",
        "Correct the function",
    )


def _too_much(source: str, max_megabytes: int) -> SourceError:
    return SourceError(
        f"at most {max_megabytes:,} MB from the source {source!r}",
        "more",
        "Return what changed since `since`; if all of it is needed, raise `max_megabytes` of the source",
    )
