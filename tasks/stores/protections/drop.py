"""Nothing in the place of personal values."""

from __future__ import annotations

from typing import ClassVar, Literal

from expectations.protection import Protection


class Drop(Protection):
    """Keep nothing of the column."""

    examples: ClassVar = ({"drop": True},)
    keeps: ClassVar = False
    words: ClassVar = "dropped"

    drop: Literal[True] = True
