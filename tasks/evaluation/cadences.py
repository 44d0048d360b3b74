"""How often streams are looked at, over what life, and at what odds an alarm rings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from expectations.errors import SeriesError

Counts = npt.NDArray[np.int64]
Every = Literal["hour", "day", "batch"]


@dataclass(frozen=True)
class Cadence:
    """What differs between streams by the hour, by the day and by the batch.

    Attributes
    ----------
    life : int
        Looks over which the level holds: a year. Then the stream begins anew.
    least : int
        Looks that a reference needs.
    block : int
        Looks that are summed to see what dependence is left over.
    seasons : tuple of int
        Looks in a season, of which the reference takes one: no season, a day, a week.
    slow, fast : tuple of float
        Sizes of change that are betted on, in deviations of a residual: by its deviation, by its rank.
    whitened : bool
        Whether season and dependence are taken off. By the day the rank of the value itself is taken: shares that are
        mostly zero have residuals that are not alike.
    """

    life: int
    least: int
    block: int
    seasons: tuple[int, ...]
    slow: tuple[float, ...]
    fast: tuple[float, ...]
    whitened: bool


CADENCES: Mapping[Every, Cadence] = {
    "hour": Cadence(8760, 168, 24, (1, 24, 168), (0.03, 0.06, 0.12), (0.25, 0.5, 1.0), whitened=True),
    "batch": Cadence(8760, 168, 24, (1,), (0.03, 0.06, 0.12), (0.25, 0.5, 1.0), whitened=True),
    "day": Cadence(365, 28, 7, (1,), (), (0.25, 0.5, 1.0, 2.0), whitened=False),
}


@dataclass(frozen=True)
class Rules:
    """How streams are judged.

    Attributes
    ----------
    every : {"hour", "day", "batch"}
    two_sided : bool
        Whether a fall rings too; a loss that falls is no alarm.
    level : float
        Share of unchanged streams (or of tables, where there are columns) that may ever ring in a life.
    columns : int
        Streams that are judged side by side: each rings at odds of `columns / level`.
    """

    every: Every = "hour"
    two_sided: bool = False
    level: float = 0.05
    columns: int = 1

    def __post_init__(self) -> None:
        if self.every not in CADENCES:
            raise SeriesError("every: hour, day or batch", repr(self.every), "Name one of these")
        if not 0 < self.level < 1 or self.columns < 1:
            raise SeriesError(
                "a level between 0 and 1, and at least one column",
                f"level {self.level}, {self.columns} columns",
                "Correct them",
            )

    @property
    def cadence(self) -> Cadence:
        """What the cadence brings with it."""
        return CADENCES[self.every]

    @property
    def needed(self) -> float:
        """The odds at which an alarm rings."""
        return self.columns / self.level


def every_for(measure: Literal["loss", "place", "spread", "missing"], shares: Sequence[float] = ()) -> Every:
    """Return how often a measure of a column is looked at.

    Rare values missing, and a spread whose own season is unknown, are not alike from hour to hour (in simulated years
    half of the streams rang where nothing had changed): they are looked at by the day.

    Parameters
    ----------
    measure : {"loss", "place", "spread", "missing"}
    shares : sequence of float
        Shares missing by the hour in the reference, where that is the measure.
    """
    if measure == "spread" or (measure == "missing" and not (shares and float(np.median(shares)) > 0)):
        return "day"
    return "hour"


def joined_looks(indices: Counts) -> int:
    """Return how many looks of a reference follow the one before, of which it needs `Cadence.least`."""
    return int((np.diff(indices) == 1).sum()) + 1 if len(indices) else 0
