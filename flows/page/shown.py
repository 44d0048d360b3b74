"""A column's two distributions as they are shown."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Bar:
    """A span of values, or a category, and the share of the rows that have one of it."""

    name: str
    before: float
    now: float


@dataclass(frozen=True)
class Distributions:
    """How a column was distributed, and how it is.

    Attributes
    ----------
    why : str
        Why it cannot be shown; empty where it can.
    """

    bars: tuple[Bar, ...] = ()
    rows: tuple[int, int] = (0, 0)
    why: str = ""
