"""What the champion learnt from."""

from __future__ import annotations

from typing import ClassVar, Literal

from expectations.references import LEARNT, Chosen, PastRows, ReferenceChoice
from expectations.windows import Window


class Training(ReferenceChoice):
    """The rows that the champion learnt from."""

    examples: ClassVar = ({"of": "training"},)
    needs_clock: ClassVar = False
    of: Literal["training"] = "training"

    def choose(self, window: Window, past: PastRows) -> Chosen:
        """Take the sketch in the champion's bundle."""
        del window, past
        return Chosen(LEARNT)
