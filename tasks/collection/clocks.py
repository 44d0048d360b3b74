"""Texts and times of a source as instants: ISO 8601 or a declared format, in the zone of the clock."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from zoneinfo import ZoneInfo

import polars as pl

from tasks.preprocessing.instants import INSTANT, Instants, parse_instant

_NAIVE = pl.Datetime("us")
_DATE = r"^\d{4}-\d{2}-\d{2}"
_SHAPES = (
    (_DATE + r"[T ]\d{2}:\d{2}:[0-5]\d(?:\.\d{1,6})?", "%Y-%m-%d %H:%M:%S%.f"),
    (_DATE + r"[T ]\d{2}:\d{2}", "%Y-%m-%d %H:%M"),
    (_DATE, "%Y-%m-%d"),
)
"""What most texts look like; Polars reads these as Python does, only faster."""
_FORMATS = (
    *(f"{day}{mark}{month}{mark}%Y" for mark in "/.-" for day, month in (("%d", "%m"), ("%m", "%d"))),
    *(f"%Y{mark}%m{mark}%d" for mark in "/."),
)
_TIMES = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
_SAMPLE = 2000
_DIRECTIVES = {
    "%Y": "[1-9][0-9]{3}",
    "%m": "[0-9]{2}",
    "%d": "[0-9]{2}",
    "%H": "[0-9]{2}",
    "%I": "(?:0[1-9]|1[0-2])",
    "%M": "[0-9]{2}",
    "%S": "[0-5][0-9]",
    "%p": "[AP]M",
}
"""How texts look that Polars reads by a directive as Python does; Python reads others by it, too."""
_ORDERS = frozenset(
    frozenset({"%Y", "%m", "%d", *time})
    for time in ((), ("%H", "%M"), ("%H", "%M", "%S"), ("%I", "%M", "%p"), ("%I", "%M", "%S", "%p"))
)
_PIECE = re.compile(r"\.%f|%.|[-/.:, T_]|.", re.DOTALL)


def read_texts(texts: pl.Series, form: str | None) -> tuple[pl.Series, pl.Series]:
    """Read texts as instants.

    Returns
    -------
    local : polars.Series of Datetime
        Times of those that carry no zone.
    absolute : polars.Series of Datetime in UTC
        Those that carry one.
    """
    text = pl.col(texts.name)
    local: pl.Expr = pl.lit(None, _NAIVE)
    absolute: pl.Expr = pl.lit(None, _NAIVE)
    if form is not None and (fast := _by_column(form)) is not None:
        shape, written = fast
        read = text.str.to_datetime(written, time_unit="us", strict=False)
        local = pl.when(text.str.contains(shape)).then(read)
    if form is None:
        spaced = text.str.replace("T", " ", literal=True)
        for shape, written in _SHAPES:
            read = spaced.str.strip_suffix("Z").str.to_datetime(written, time_unit="us", strict=False)
            local = pl.coalesce(local, pl.when(text.str.contains(f"{shape}$")).then(read))
            if written != "%Y-%m-%d":
                absolute = pl.coalesce(absolute, pl.when(text.str.contains(f"{shape}Z$")).then(read))
    frame = texts.to_frame().select(
        local.alias("local"), absolute.dt.replace_time_zone("UTC").alias("absolute"), text.alias("text")
    )
    left = frame.filter(pl.col("local").is_null() & pl.col("absolute").is_null())["text"].drop_nulls().unique()
    found = {value: moment for value in left if (moment := _moment(value, form)) is not None}
    if found:
        zoned = {value: moment for value, moment in found.items() if moment.tzinfo is not None}
        plain = {value: moment for value, moment in found.items() if moment.tzinfo is None}
        frame = frame.with_columns(
            pl.coalesce("local", _looked_up(plain, _NAIVE)), pl.coalesce("absolute", _looked_up(zoned, INSTANT))
        )
    return frame["local"].alias(texts.name), frame["absolute"].alias(texts.name)


def _by_column(form: str) -> tuple[str, str] | None:
    """Return how texts look that Polars reads by a format as Python does, and its own format; None of other formats."""
    pieces = _PIECE.findall(form)
    directives = [piece for piece in pieces if piece.startswith("%")]
    fraction = pieces.count(".%f")
    known = len(set(directives)) == len(directives) and frozenset(directives) in _ORDERS
    if not known or fraction > 1 or (fraction and pieces[-2:] != ["%S", ".%f"]):
        return None
    if any(len(piece) == 1 and piece not in "-/.:, T_" for piece in pieces):
        return None
    shapes = {**_DIRECTIVES, ".%f": r"\.[0-9]{1,6}"}
    shape = "".join(shapes.get(piece) or re.escape(piece) for piece in pieces)
    return f"^{shape}$", form.replace(".%f", "%.f")


def _looked_up(found: dict[str, datetime], dtype: pl.DataType) -> pl.Expr:
    values = pl.Series(list(found.values()), dtype=dtype) if found else pl.Series([], dtype=dtype)
    return pl.col("text").replace_strict(list(found), values, default=None, return_dtype=dtype)


def _moment(text: str, form: str | None) -> datetime | None:
    try:
        return parse_instant(text, form)
    except ValueError:
        return None


def fitting_formats(texts: pl.Series) -> list[str]:
    """Return the usual formats that all texts (of a sample) are written in: several where the day is ambiguous."""
    real = texts.drop_nulls().unique()
    some = [text.strip() for text in real.gather_every(-(-len(real) // _SAMPLE) or 1)]
    formats = [date + time for date in _FORMATS for time in _TIMES]
    return [each for each in formats if some and all(_fits(text, each) for text in some)]


def _fits(text: str, form: str) -> bool:
    try:
        datetime.strptime(text, form)  # noqa: DTZ007 - only whether it is one
    except ValueError:
        return False
    return True


def in_zone(
    local: pl.Series, zone: str, groups: pl.Series | None = None, report: Callable[[str], None] | None = None
) -> pl.Series:
    """Bring local times to UTC.

    The hour that is left out where a clock is set forward is read with the offset before it. Of the hour that comes
    twice a time means the first, unless the rows of its group come in order of time and one before it has the same time
    or a later one: then it is in the second. Where rows come in no order, of those with the same time in that hour none
    can be placed: they are missing.

    Parameters
    ----------
    groups : polars.Series, optional
        What has one row for each time: a number for the other keys of a row. Without it the hour is the first.
    report : callable, optional
        Takes a sentence where there are such hours.
    """
    first = local.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null").dt.convert_time_zone("UTC")
    skipped = local.is_not_null() & first.is_null()
    if skipped.any():
        instants = Instants(ZoneInfo(zone))
        times = local.filter(skipped).unique()
        read = pl.Series([instants.in_utc(moment) for moment in times], dtype=INSTANT)
        filled = local.replace_strict(times, read, default=None, return_dtype=INSTANT)
        first = pl.select(pl.coalesce(first, filled)).to_series()
        _say(
            report, f"{int(skipped.sum())} times lie in an hour that {zone} leaves out: read with the offset before it"
        )
    if groups is None:
        return first.alias(local.name)
    second = local.dt.replace_time_zone(zone, ambiguous="latest", non_existent="null").dt.convert_time_zone("UTC")
    doubled = (first != second).fill_null(value=False) & ~skipped
    if not doubled.any():
        return first.alias(local.name)
    frame = pl.DataFrame({"local": local, "group": groups, "doubled": doubled}).with_row_index("at")
    order = _order(frame.filter(~pl.col("doubled") & pl.col("local").is_not_null()))
    inside = frame.filter("doubled").sort("at", descending=order == "descending")
    same = ["group", pl.col("local").dt.date()]
    if order == "none":
        apart = inside.filter(pl.struct("group", "local").is_duplicated())["at"]
        later = apart.head(0)
    else:
        before = pl.col("local").cum_max().shift().over(same)
        later = inside.filter((before >= pl.col("local")).fill_null(value=False))["at"]
        apart = later.head(0)
    place = pl.Series(range(len(local)), dtype=apart.dtype)
    is_later, is_apart = place.is_in(later.implode()), place.is_in(apart.implode())
    words = f"{int(doubled.sum())} times lie in an hour that {zone} has twice: "
    words += f"{len(later)} of them are read as the second by the order of rows, the others as the first"
    words += f", but {len(apart)} that share theirs with another row, in no order, have no event time" * bool(
        len(apart)
    )
    _say(report, words)
    return (
        pl.select(pl.when(~is_apart).then(pl.when(is_later).then(second).otherwise(first)))
        .to_series()
        .alias(local.name)
    )


def _order(frame: pl.DataFrame) -> str:
    """Say in which order the rows of every group come."""
    steps = frame.select(pl.col("local").diff().over("group"))["local"].drop_nulls().dt.total_microseconds()
    if (steps >= 0).all():
        return "ascending"
    return "descending" if (steps <= 0).all() else "none"


def _say(report: Callable[[str], None] | None, words: str) -> None:
    if report is not None:
        report(words)
