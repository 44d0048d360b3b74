"""How the values of a column are written: numbers, instants, texts, and what stands for a missing one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from tasks.collection.types import TRUE_OR_FALSE, instants
from tasks.profiling.reading import Table, collect
from tasks.stores.progress import doing

Kind = Literal["number", "integer", "boolean", "text", "instant", "empty"]
_WORDS = ("na", "n/a", "#n/a", "nan", "null", "#null!", "none", "nil", "-", "--", "?", ".", "*", "unknown", "missing")
SPELLINGS = frozenset({"NaN", *(spell(word) for word in _WORDS for spell in (str.lower, str.upper, str.title))})
"""Texts that stand for a missing value where all others of a column are numbers or instants."""
PLAIN_SPELLINGS = frozenset({"N/A", "n/a", "#N/A", "NaN", "nan", "NULL", "null"})
"""Those that stand for one among texts, too. `NA` does unless all else there are words of two capitals: Namibia."""
LEADING_ZEROS = "leading zeros: kept as text, so that nothing of them is lost"
COLUMNS_AT_ONCE = 20
_MIN_ROUNDED = 16
_PADDED, _ROUNDED = r"^[+-]?0[0-9]", r"^[+-]?[0-9]{16,}$"
_DATES = {
    "date": r"^\d{4}[-/]\d{2}[-/]\d{2}$",
    "instant": r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?$",
    "instant with an offset": r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}:?\d{2})$",
}
_DAY_OR_MONTH = r"^(\d{1,2})[/.-](\d{1,2})[/.-](\d{4})([T ]\d{1,2}:\d{2}(:\d{2})?)?$"
_DECIMAL_COMMA = r"^[+-]?\d{1,3}([.\x{a0} ]?\d{3})*,\d+$"
_THOUSANDS = r"^[+-]?\d{1,3}(,\d{3})+(\.\d+)?$"
_WITH_SIGN = r"^\s*[$€£¥]?\s*[+-]?[\d.,]+\s*[%$€£¥]?\s*$"


@dataclass(frozen=True)
class Written:
    """How the texts of a column are written: what all of them are, spellings of missing left out."""

    kind: Kind
    spelled: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def read_texts(table: Table) -> Iterator[tuple[str, Written]]:
    """Yield each column's name and how its values are written."""
    kinds: dict[Any, Kind] = {pl.Float64: "number", pl.Int64: "integer", pl.Boolean: "boolean", pl.String: "text"}
    texts = []
    for name, dtype in table.sample.schema.items():
        if dtype == pl.String:
            texts.append(name)
        else:
            yield name, Written("instant" if isinstance(dtype, pl.Datetime) else kinds[dtype.base_type()])
    for begin in range(0, len(texts), COLUMNS_AT_ONCE):
        doing(
            f"reading the values of columns {begin + 1} to {min(begin + COLUMNS_AT_ONCE, len(texts))} of {len(texts)}"
        )
        part = texts[begin : begin + COLUMNS_AT_ONCE]
        found = collect(table.scan.select(each for name in part for each in _counts(name, table))).row(0, named=True)
        for name in part:
            own = {key.rpartition("\0")[2]: value for key, value in found.items() if key.rpartition("\0")[0] == name}
            yield name, _decide(own, table)


def _counts(name: str, table: Table) -> Iterator[pl.Expr]:
    """Count how the texts of a column are written; what the sample excludes is not looked for in all rows."""
    column = pl.col(name)
    spelled = column.is_in(sorted(SPELLINGS))
    real = pl.when(~spelled).then(column)
    sampled = table.sample.select(real.alias("value"))["value"].drop_nulls()
    yield real.count().alias(f"{name}\0present")
    yield column.filter(spelled).unique().implode().alias(f"{name}\0spelled")
    bare = real.str.strip_chars()  # as the reader takes numbers
    numbers = sampled.str.strip_chars().cast(pl.Float64, strict=False)
    if table.texts and len(sampled) and 2 * numbers.count() >= len(numbers):
        yield bare.cast(pl.Float64, strict=False).count().alias(f"{name}\0floats")
        yield bare.cast(pl.Int64, strict=False).count().alias(f"{name}\0integers")
        yield bare.str.contains(_PADDED).any().alias(f"{name}\0padded")
        long = bare.filter(bare.str.len_bytes() >= _MIN_ROUNDED)
        yield long.str.contains(_ROUNDED).any().alias(f"{name}\0rounded")
    if len(sampled) and sampled.str.to_lowercase().is_in(TRUE_OR_FALSE).all():
        yield real.str.to_lowercase().is_in(TRUE_OR_FALSE).sum().alias(f"{name}\0booleans")
    for shape, pattern in _DATES.items():
        if len(sampled) and sampled.str.contains(pattern).all():
            yield real.str.contains(pattern).sum().alias(f"{name}\0{shape}")
            dates = real.map_batches(as_instants, return_dtype=pl.Datetime("us", "UTC"), is_elementwise=True)
            yield dates.count().alias(f"{name}\0read {shape}")
    if len(sampled) and sampled.str.contains(_DAY_OR_MONTH).all():
        groups = real.str.extract_groups(_DAY_OR_MONTH)
        yield real.str.contains(_DAY_OR_MONTH).sum().alias(f"{name}\0slashed")
        for field, place in (("1", "first"), ("2", "second")):
            yield groups.struct.field(field).cast(pl.Int64, strict=False).max().alias(f"{name}\0{place}")
    if table.texts:
        for said, pattern in (("comma", _DECIMAL_COMMA), ("thousands", _THOUSANDS), ("sign", _WITH_SIGN)):
            if len(sampled) and sampled.str.contains(pattern).all():
                yield real.str.contains(pattern).sum().alias(f"{name}\0{said}")


def as_instants(values: pl.Series) -> pl.Series:
    """Read instants as collection does."""
    return instants(values, None)


def _decide(found: Mapping[str, Any], table: Table) -> Written:
    present, spelled = found["present"], tuple(sorted(found["spelled"]))
    if not present:
        return Written("empty", spelled)
    floats = found.get("floats", 0)
    if floats == present and not found["padded"]:
        if found["integers"] == present:
            return Written("integer", spelled)
        if not found["rounded"]:
            return Written("number", spelled)
    if found.get("padded") and floats == present:
        return Written("text", (), (LEADING_ZEROS,))
    if found.get("booleans") == present:
        return Written("boolean", spelled if table.texts else ())
    for shape in _DATES:
        if found.get(shape) == present and found[f"read {shape}"] == present:
            return Written("instant", spelled)
    return Written("text", (), tuple(_oddities(found, present)))


def _oddities(found: Mapping[str, Any], present: int) -> Iterator[str]:
    """Say why texts that look like numbers or dates are none."""
    if found.get("slashed") == present:
        first, second = found["first"], found["second"]
        if first > 12 >= second:
            yield "dates with the day first: write them as 2024-01-31"
        elif second > 12 >= first:
            yield "dates with the month first: write them as 2024-01-31"
        else:
            yield "dates whose day and month cannot be told apart: write them as 2024-01-31"
    elif found.get("thousands") == present:
        yield "numbers with a separator of thousands: write them without"
    elif found.get("comma") == present:
        yield "numbers with a decimal comma: write them with a point"
    elif found.get("sign") == present and found.get("floats", 0) < present:
        yield "numbers with a sign such as % or $, or separators: write the number alone"
    elif present > found.get("floats", 0) >= 0.9 * present:
        odd = present - found["floats"]
        yield f"{odd:,} of {present:,} values are no numbers: correct them, or name them under `missing`"
    elif any(0.9 * present <= found.get(shape, 0) < present for shape in _DATES):
        yield "dates, but not all of them: correct the others, or name them under `missing`"


def missing_spellings(table: Table, written: Mapping[str, Written]) -> tuple[str, ...]:
    """Return the texts that stand for missing values in this table: an empty one, and those found."""
    spelled = {text for each in written.values() for text in each.spelled}
    missing, country = {"", *spelled}, False
    for name in (name for name, each in written.items() if each.kind == "text"):
        values = table.scan.select(pl.col(name).drop_nulls())
        found = set(collect(values.filter(pl.col(name).is_in([*PLAIN_SPELLINGS, "NA"])).unique())[name])
        missing |= found
        if "NA" in found:
            others = values.filter(pl.col(name) != "NA").select(pl.col(name).str.contains("^[A-Z]{2}$").all())
            country |= bool(collect(others).item())
    if country and "NA" not in spelled:
        missing.discard("NA")
    return tuple(sorted(missing))
