"""The recent past."""

from __future__ import annotations

from typing import ClassVar, Literal

from expectations.durations import Duration
from expectations.fields import PositiveSpan
from expectations.references import Chosen, PastRows, ReferenceChoice
from expectations.windows import Window


class Recent(ReferenceChoice):
    """The newest rows before each window."""

    examples: ClassVar = ({"of": "recent"}, {"of": "recent", "last": "56d"})
    of: Literal["recent"] = "recent"
    last: PositiveSpan = Duration.parse("28d")
    """How far back from the window's start."""

    def choose(self, window: Window, past: PastRows) -> Chosen:
        """Take the span that ends where the window begins."""
        del past
        return Chosen(self.of, ((self.last.after(window.start, -1), window.start),))
