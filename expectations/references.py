"""What windows of production are held against: the rows that the champion learnt from, or others."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Literal, Protocol

import polars as pl

from expectations.parts import Part
from expectations.windows import Window

LEARNT: Literal["training"] = "training"
"""The choice of what the champion learnt from, which its bundle keeps."""


@dataclass(frozen=True)
class Chosen:
    """Which rows a window is held against.

    Attributes
    ----------
    of : str
        The choice whose rows these are.
    spans : tuple of (datetime, datetime)
        Half-open, in order of time; empty where it is what the champion learnt from.
    why : str
        Why nothing can be said of the inputs; empty where something can be.
    """

    of: str
    spans: tuple[tuple[datetime, datetime], ...] = ()
    why: str = ""


class PastRows(Protocol):
    """What a choice may know of the rows before a window.

    Attributes
    ----------
    timezone : str
        Whose midnights count.
    learnt_until : datetime
        Up to when the champion's model learnt.
    """

    timezone: str
    learnt_until: datetime

    def first(self) -> datetime | None:
        """Return the time of the first collected row; None where there is none."""

    def rows(self, since: datetime, until: datetime) -> pl.DataFrame:
        """Return the champion's inputs of collected rows, raw, with event time in [since, until) and before now."""

    def learnt(self) -> pl.DataFrame:
        """Return those of the rows that the champion learnt from."""


class ReferenceChoice(Part):
    """A choice of what windows are held against, as declared.

    Attributes
    ----------
    needs_clock : bool
        Whether it counts in event time.
    """

    needs_clock: ClassVar[bool] = True
    of: str

    @abstractmethod
    def choose(self, window: Window, past: PastRows) -> Chosen:
        """Choose the rows for a window, all of them before it."""
