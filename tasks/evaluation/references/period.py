"""A period that stays the same."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import ClassVar, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import model_validator

from expectations.references import Chosen, PastRows, ReferenceChoice
from expectations.windows import Window


class Period(ReferenceChoice):
    """A fixed period: from the first of two days up to, and without, the second (of `monitoring.timezone`)."""

    examples: ClassVar = ({"of": "period", "since": "2024-01-01", "until": "2024-04-01"},)
    of: Literal["period"] = "period"
    since: date
    until: date

    @model_validator(mode="after")
    def _holds_a_day(self) -> Self:
        if self.since >= self.until:
            raise ValueError(f"since: {self.since} is not before until: {self.until}, so it holds no day")
        return self

    def choose(self, window: Window, past: PastRows) -> Chosen:
        """Take the period, as far as it lies before the window."""
        zone = ZoneInfo(past.timezone)
        since, until = (datetime.combine(day, time(), zone).astimezone(UTC) for day in (self.since, self.until))
        until = min(until, window.start)
        if since >= until:
            return Chosen(self.of, why=f"the period begins at {self.since}, and the window before it")
        return Chosen(self.of, ((since, until),))
