"""Instants as people write them: a date, or a date and a time, with a zone or in UTC."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema

from expectations.masking import mask

WRITTEN = "write for example 2013-05-01 or 2013-05-01T06:00Z"


def read_instant(text: str) -> datetime:
    """Read an ISO 8601 instant; a date is its midnight, and where no zone is said it is UTC.

    Raises
    ------
    ValueError
        If it is none.

    Examples
    --------
    >>> read_instant("2013-05-01").isoformat(), read_instant("2013-05-01T08:00+02:00").isoformat()
    ('2013-05-01T00:00:00+00:00', '2013-05-01T06:00:00+00:00')
    """
    try:
        return _in_utc(datetime.fromisoformat(text))
    except (ValueError, OverflowError):  # the latter of the first and the last day there is, in another zone
        raise ValueError(f"{mask(text)[:40]!r} is no instant; {WRITTEN}") from None


def _in_utc(instant: datetime) -> datetime:
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)


def _read(value: object) -> object:
    if isinstance(value, str):
        return read_instant(value)
    if isinstance(value, datetime):
        return _in_utc(value)
    raise ValueError(f"expected an instant, as a text; {WRITTEN}")


Instant = Annotated[
    datetime,
    BeforeValidator(_read),
    WithJsonSchema({"type": "string", "anyOf": [{"format": "date"}, {"format": "date-time"}]}),
]
"""In a field of a use case."""
