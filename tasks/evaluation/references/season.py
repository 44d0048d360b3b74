"""The same season of years before."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from expectations.durations import Duration
from expectations.fields import PositiveSpan
from expectations.references import Chosen, PastRows, ReferenceChoice
from expectations.windows import Window

_YEAR = Duration.parse("1y")
_HALF_YEAR = 182 * 86400


class Season(ReferenceChoice):
    """The same days of earlier years, with some before and after them."""

    examples: ClassVar = ({"of": "season"}, {"of": "season", "margin": "14d", "years": 3})
    of: Literal["season"] = "season"
    margin: PositiveSpan = Duration.parse("10d")
    """How many days before and after the window's own."""
    years: Annotated[int, Field(ge=2, le=20)] = 5
    """Most years back. Two at least must be there: one does not say how much years differ."""

    def choose(self, window: Window, past: PastRows) -> Chosen:
        """Take the whole spans of earlier years that lie in what was collected."""
        first = past.first()
        long = (window.end - window.start).total_seconds() + 2 * self.margin.approximate_seconds
        if long > _HALF_YEAR:
            return Chosen(self.of, why="window and margin are longer than half a year: no season lies in that")
        spans = [
            (self.margin.after(_YEAR.after(window.start, -back), -1), self.margin.after(_YEAR.after(window.end, -back)))
            for back in range(self.years, 0, -1)
        ]
        there = tuple(each for each in spans if first is not None and each[0] >= first)
        if len(there) < 2:
            why = f"the same season of two years before is needed, and {len(there)} of them was collected"
            return Chosen(self.of, why=why)
        return Chosen(self.of, there)
