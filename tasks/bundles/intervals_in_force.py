"""Which intervals of a bundle answered when: its own, and those that learnt since it was released."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
import polars as pl

from expectations.metrics import Scored
from tasks.bundles.bundle import Bundle
from tasks.modelling.intervals import Intervals
from tasks.stores.database import Database
from tasks.stores.ledger import INTERVALS, Entry

RELEASED, KEPT = "released", "kept"
"""What came of an attempt to learn intervals: others answer, or those of before stay."""


@dataclass(frozen=True)
class IntervalsInForce:
    """Which intervals answered since when: those in the bundle until the first that learnt since."""

    since: tuple[datetime, ...] = ()
    learnt: tuple[Intervals, ...] = ()

    def declared(self, bundle: Bundle) -> float:
        """Return how often the newest of them are to hold the truth; 0 where there are none."""
        newest = self.learnt[-1] if self.learnt else bundle.intervals
        return newest.coverage if newest is not None else 0.0

    def hold(self, bundle: Bundle, scored: Scored, times: pl.Series) -> npt.NDArray[np.float64] | None:
        """Return 1.0 for each row whose truth lay inside, else 0.0; None where a row was answered with none.

        Parameters
        ----------
        times : polars.Series of shape (n_rows,)
            Event times: intervals that were released before one answer for it.
        """
        moments: list[datetime] = times.to_list()
        places = np.array([bisect_right(self.since, each) for each in moments], dtype=np.int64)
        found = np.zeros(len(moments))
        for place in np.unique(places):
            used, mine = bundle.intervals if place == 0 else self.learnt[place - 1], places == place
            if used is None:
                return None
            found[mine] = used.holds(scored.label[mine], scored.prediction[mine])
        return found


def intervals_in_force(database: Database, usecase: str, bundle: str) -> IntervalsInForce:
    """Return which intervals of a bundle answered since when, as the ledger has it."""
    return in_force(attempts_at_intervals(database, usecase, bundle))


def in_force(attempts: Sequence[Entry]) -> IntervalsInForce:
    """Return which intervals of a bundle answered since when, of what `attempts_at_intervals` returns."""
    found = [each for each in attempts if each.action == RELEASED]
    learnt = (Intervals.model_validate(each.evidence["intervals"]) for each in found)
    return IntervalsInForce(tuple(each.as_of for each in found), tuple(learnt))


def learnt_intervals(database: Database, usecase: str, bundle: str) -> Intervals | None:
    """Return what a bundle answers with where it answers: what it was given last; None for those in the bundle."""
    found = intervals_in_force(database, usecase, bundle).learnt
    return found[-1] if found else None


def attempts_at_intervals(database: Database, usecase: str, bundle: str) -> Sequence[Entry]:
    """Return when a bundle's intervals were to learn, oldest first, also where they were kept as they were."""
    found = (each for each in database.entries(usecase, kind=INTERVALS) if each.evidence["bundle"] == bundle)
    return sorted(found, key=lambda each: each.as_of)
