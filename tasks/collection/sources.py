"""Read declared sources into frames with declared types."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from expectations.data import Clock, ColumnSpec, Source
from expectations.errors import SourceError
from tasks.collection.addresses import file_name, locate, read_address

_TYPES: dict[str, pl.DataType] = {
    "number": pl.Float64(),
    "integer": pl.Int64(),
    "text": pl.String(),
    "boolean": pl.Boolean(),
    "instant": pl.Datetime("us", "UTC"),
}
_TRUE, _FALSE = ("true", "t", "yes", "y", "1", "1.0"), ("false", "f", "no", "n", "0", "0.0")


def read_source(
    name: str, source: Source, folder: Path, columns: Mapping[str, ColumnSpec], clock: Clock
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
    frames = []
    for address in locate(name, source, folder):
        frame = _read_file(name, source, address, set(columns), clock)
        if frame.is_empty():
            raise SourceError(
                f"rows in the source {name!r}",
                f"none in {file_name(address)}",
                "Correct the source, or take the file away",
            )
        frames.append(frame)
    whole = _stack(name, frames)
    whole = whole.rename({column: source.prefix + column for column in whole.columns if column not in joined})
    types = {spec_name: spec for spec_name, spec in columns.items() if spec_name in whole.columns}
    if source.join:  # a join column has its left side's type
        types |= {right: columns[left] for left, right in source.join.pairs.items() if left in columns}
    return whole.with_columns(
        cast_column(whole[column], spec.type, name, clock) for column, spec in types.items() if column in whole.columns
    )


def _stack(name: str, frames: list[pl.DataFrame]) -> pl.DataFrame:
    first = set(frames[0].columns)
    for frame in frames[1:]:
        if set(frame.columns) != first:
            odd = ", ".join(sorted(first ^ set(frame.columns)))
            raise SourceError(
                f"the same columns in every file of the source {name!r}",
                f"{odd} not in all of them",
                "Correct the files, or declare two sources",
            )
    return pl.concat([frame.select(frames[0].columns) for frame in frames], how="vertical_relaxed")


def _plain(frame: pl.DataFrame, clock: Clock) -> pl.DataFrame:
    """Bring the types a Parquet file may hold to those the lake keeps."""
    columns = []
    for name, dtype in frame.schema.items():
        if isinstance(dtype, pl.Categorical | pl.Enum):
            columns.append(frame[name].cast(pl.String))
        elif isinstance(dtype, pl.Decimal) or dtype == pl.Float32:
            columns.append(frame[name].cast(pl.Float64))
        elif dtype.is_integer():
            columns.append(frame[name].cast(pl.Int64))
        elif dtype == pl.Date or isinstance(dtype, pl.Datetime):
            columns.append(_instants(frame[name], clock))
        else:
            columns.append(frame[name])
    return pl.DataFrame(columns)


def _read_file(name: str, source: Source, address: str, declared: set[str], clock: Clock) -> pl.DataFrame:
    content = read_address(name, source, address)
    if not content.strip():
        raise SourceError(f"rows in the source {name!r}", f"{file_name(address)} is empty", "Fetch the file again")
    kind = source.format or ("parquet" if ".parquet" in file_name(address) else "csv")
    try:
        if kind == "parquet":
            return _plain(pl.read_parquet(io.BytesIO(content)), clock)
        texts = pl.read_csv(io.BytesIO(content), null_values=list(source.missing), infer_schema=False)
        return texts.with_columns(
            _guess(texts[column]) for column in texts.columns if source.prefix + column not in declared
        )
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        raise SourceError(
            f"{kind} in the source {name!r}",
            f"{file_name(address)}: {str(error).splitlines()[0]}",
            "Fetch the file again, or declare its format",
        ) from error


def _guess(texts: pl.Series) -> pl.Series:
    """Read an undeclared column as the narrowest of integer, number and text that holds all of it."""
    for dtype in (pl.Int64(), pl.Float64()):
        numbers = texts.cast(dtype, strict=False)
        if numbers.null_count() == texts.null_count():
            return numbers
    return texts


def cast_column(values: pl.Series, wanted: str, source: str, clock: Clock) -> pl.Series:
    """Bring a column to a declared type.

    Raises
    ------
    SourceError
        If a value cannot be read as that type; it names the column, how many, and the first row, never the value.
    """
    target = _TYPES[wanted]
    if values.dtype == target:
        return values
    if wanted == "instant":
        out = _instants(values, clock)
    elif wanted == "boolean" and values.dtype == pl.String:
        lower = values.str.strip_chars().str.to_lowercase()
        out = pl.select(
            pl.when(lower.is_in(_TRUE)).then(statement=True).when(lower.is_in(_FALSE)).then(statement=False)
        ).to_series()
    elif wanted == "integer" and values.dtype in (pl.String, pl.Float64, pl.Float32):
        numbers = values.cast(pl.Float64, strict=False)
        out = pl.select(pl.when(numbers == numbers.floor()).then(numbers)).to_series().cast(pl.Int64, strict=False)
    else:
        out = values.cast(target, strict=False)
    bad = values.is_not_null() & out.is_null()
    if bad.any():
        raise SourceError(
            f"{wanted} in the column {values.name!r} of the source {source!r}",
            f"{int(bad.sum())} of {len(values)} values that are none, the first in row {int(bad.arg_max() or 0) + 1}",
            "Correct the source, name such values under `missing`, or declare another type",
        )
    return out.alias(values.name)


def _instants(values: pl.Series, clock: Clock) -> pl.Series:
    zone = clock.timezone if values.name == clock.column else "UTC"
    if values.dtype == pl.String:
        sample = values.drop_nulls().head(1)
        offset = len(sample) and (sample[0].endswith("Z") or "+" in sample[0][10:] or "-" in sample[0][10:])
        try:
            if offset:
                return values.str.to_datetime(time_unit="us", time_zone="UTC", strict=False)
            naive = values.str.to_datetime(time_unit="us", strict=False)
        except pl.exceptions.ComputeError:  # no format fits the first values: all of them are wrong
            return pl.Series(values.name, [None] * len(values), dtype=pl.Datetime("us", "UTC"))
    elif isinstance(values.dtype, pl.Datetime) and values.dtype.time_zone is not None:
        return values.dt.convert_time_zone("UTC").dt.cast_time_unit("us")
    elif values.dtype in (pl.Date, pl.Datetime):
        naive = values.cast(pl.Datetime("us"))
    else:
        return pl.Series(values.name, [None] * len(values), dtype=pl.Datetime("us", "UTC"))
    return naive.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null").dt.convert_time_zone("UTC")
