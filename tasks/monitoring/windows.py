"""Windows of event time: half-open, and the same whenever somebody looks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from expectations.durations import Duration


@dataclass(frozen=True, order=True)
class Window:
    """[start, end) in event time."""

    start: datetime
    end: datetime

    def ripe(self, available_after: Duration, as_of: datetime) -> bool:
        """Whether every label of the window may be known at `as_of`."""
        return available_after.after(self.end) <= as_of

    def __str__(self) -> str:
        return f"{self.start:%Y-%m-%d %H:%M} to {self.end:%Y-%m-%d %H:%M}"


def window_of(every: Duration, moment: datetime) -> Window:
    """Return the window a moment falls into."""
    start = every.floor(moment)
    return Window(start, every.after(start))
