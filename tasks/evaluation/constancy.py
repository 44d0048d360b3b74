"""Columns that hold one value over a whole window: stuck sensors, defaults, a source that sends one category alone.

Whether neighbouring rows are alike does not matter to this: it is judged by how long a value ever stayed in the
reference.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import polars as pl

_LONGER = 2
"""A value must stay so many times as long as any ever did."""


@dataclass(frozen=True)
class Repeats:
    """How values of a reference follow each other, missing ones left out.

    Attributes
    ----------
    pairs, equal : int
        Neighbours, and how many of them are the same value.
    longest : int
        Most rows in a row with the same value.
    """

    pairs: int
    equal: int
    longest: int

    @classmethod
    def of(cls, values: pl.Series) -> Repeats:
        """Count those of a column in the order of its rows."""
        known = _known(values)
        if known.is_empty():
            return cls(0, 0, 0)
        runs = known.rle().struct.field("len")
        return cls(len(known) - 1, len(known) - len(runs), int(runs.max()))  # type: ignore[arg-type] # of lengths

    def chance_of_constant(self, window: pl.Series) -> float | None:
        """Return how likely a window has one value alone, if a row repeats the one before as often as it ever did.

        Returns
        -------
        float or None
            None where the window holds several values, none, or one that stays no longer than twice as long as a value
            did before.
        """
        known = _known(window)
        if self.pairs < 1 or len(known) < _LONGER * max(self.longest, 1) or known.n_unique() != 1:
            return None
        return math.exp((len(known) - 1) * math.log((self.equal + 1) / (self.pairs + 2)))


def _known(values: pl.Series) -> pl.Series:
    known = values.drop_nulls()
    return known.filter(known.is_finite()) if known.dtype.is_float() else known
