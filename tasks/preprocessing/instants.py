"""Instants as requests and tables write them, brought into one form the same way everywhere."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl

INSTANT = pl.Datetime("us", "UTC")
FIRST_YEAR, LAST_YEAR = 1800, 2500
_LONGEST = 40
"""Longer texts are read, and not remembered."""
_REMEMBERED = 4096


_ZONED = re.compile(r"(?:[Zz]|[+-]\d\d:?\d\d)$")


def parse_instant(text: str, form: str | None = None) -> datetime:
    """Read an instant as it is written: with its zone where it carries one.

    Where a format is declared, ISO 8601 is read beside it only with a zone: nothing else is surely no other day.

    Raises
    ------
    ValueError
        If it is none.
    """
    if form is not None:
        try:
            return datetime.strptime(text.strip(), form)  # noqa: DTZ007 - the zone is the caller's
        except ValueError:
            if not _ZONED.search(text):
                raise
    return datetime.fromisoformat(text)


class Instants:
    """Reads ISO 8601, or a declared format, and hands on one form: UTC, to the microsecond.

    Requests of one moment carry the same few instants, so some thousands are remembered.

    Parameters
    ----------
    zone : ZoneInfo
        Of instants that carry none. Of the two hours of a clock change such a one means the first; one in the hour
        that is left out is read with the offset before.
    form : str, optional
        The declared format.
    """

    def __init__(self, zone: ZoneInfo, form: str | None = None) -> None:
        self.zone, self.form = zone, form
        self.needed = "an ISO 8601 instant" if form is None else f"an instant like {form}, or ISO 8601 with its zone"
        self.known: dict[str, str] = {}

    def check(self, value: Any) -> str | None:  # noqa: ANN401 - whatever a request holds
        """Read whatever a request holds.

        Raises
        ------
        TypeError
            With what is needed instead.
        """
        if value is None or value != value:
            return None
        if not isinstance(value, str):
            raise TypeError(self.needed)
        return self.known.get(value) or self.read(value)

    def read(self, text: str) -> str:
        """Read a text that is not remembered."""
        try:
            instant = parse_instant(text, self.form)
        except ValueError:
            raise TypeError(self.needed) from None
        if not FIRST_YEAR <= instant.year <= LAST_YEAR:
            raise TypeError(f"an instant between the years {FIRST_YEAR} and {LAST_YEAR}")
        written = self.in_utc(instant).isoformat(timespec="microseconds")[:-6] + "Z"
        if len(text) <= _LONGEST:
            if len(self.known) >= _REMEMBERED:
                self.known.clear()
            self.known[text] = written
        return written

    def in_utc(self, instant: datetime) -> datetime:
        """Bring an instant to UTC."""
        instant = instant.replace(tzinfo=self.zone) if instant.tzinfo is None else instant
        return instant.astimezone(UTC)

    def column(self, values: pl.Series) -> pl.Series:
        """Read a column of texts, dates or times.

        Raises
        ------
        TypeError
            If a text is none; or for a column of anything else.
        """
        if values.dtype == pl.Null:
            return values.cast(INSTANT)
        if values.dtype == pl.String:
            texts = values.unique().drop_nulls()
            written = [self.read(text) for text in texts]
            return values.replace_strict(texts, written, return_dtype=pl.String).str.to_datetime(
                "%Y-%m-%dT%H:%M:%S%.fZ", time_unit="us", time_zone="UTC"
            )
        if values.dtype == pl.Date:
            values = values.cast(pl.Datetime("us"))
        if not isinstance(values.dtype, pl.Datetime):
            raise TypeError(self.needed)
        values = values.dt.cast_time_unit("us")
        if not values.dt.year().drop_nulls().is_between(FIRST_YEAR, LAST_YEAR).all():
            raise TypeError(f"an instant between the years {FIRST_YEAR} and {LAST_YEAR}")
        if values.dtype.time_zone is not None:  # type: ignore[attr-defined]
            return values.dt.convert_time_zone("UTC")
        there = values.dt.replace_time_zone(self.zone.key, ambiguous="earliest", non_existent="null")
        there = there.dt.convert_time_zone("UTC")
        left_out = values.filter(there.is_null()).unique().drop_nulls()
        if not len(left_out):
            return there
        read = pl.Series([self.in_utc(instant) for instant in left_out], dtype=INSTANT)
        return pl.select(
            pl.coalesce(there, values.replace_strict(left_out, read, default=None, return_dtype=INSTANT))
        ).to_series()
