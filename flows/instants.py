"""The instant a run is asked for: of the past, or of now."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from expectations.contradictions import REPLAY
from expectations.errors import InstantError

MARGIN = timedelta(days=1)
"""How far beyond now is not called the future: clocks differ, and people write local times without their zone."""


def refuse_future(as_of: datetime, usecase: str = "") -> None:
    """Let nothing run as of an instant that has not come yet.

    Its rows would be taken before their time and their labels called ripe, and the turn would end every cooldown later
    than it began. A replay has a name and tables of its own, and ends when the labels of its last window are due.

    Parameters
    ----------
    usecase : str, optional
        Name that the run's results are kept under.

    Raises
    ------
    InstantError
        If it lies beyond now and a margin of a day.
    """
    now = datetime.now(UTC)
    if as_of > now + MARGIN and not usecase.endswith(REPLAY):
        raise InstantError(
            f"an instant that has come (now it is {now:%Y-%m-%d %H:%M} UTC)",
            f"{as_of:%Y-%m-%d %H:%M} UTC",
            "Leave it out for now: rows with a later event time are taken once that has come",
        )


def plain_instant(given: datetime) -> datetime:
    """Return an instant as a `datetime` in UTC; one without a zone is in UTC.

    Prefect gives the start of a scheduled run in a class of its own, which neither JSON nor Polars take.
    """
    there = given.replace(tzinfo=UTC) if given.tzinfo is None else given.astimezone(UTC)
    return datetime(there.year, there.month, there.day, there.hour, there.minute, there.second, there.microsecond, UTC)
