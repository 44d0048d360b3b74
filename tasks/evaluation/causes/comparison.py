"""Two periods whose difference in mean loss is taken apart."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from expectations.metrics import Array
from tasks.evaluation.causes.columns import Columns
from tasks.evaluation.causes.model import Cause, Kind
from tasks.evaluation.causes.resamples import PART_CONFIDENCE, Chance, Side
from tasks.evaluation.causes.rows import RowLoss


@dataclass
class PeriodComparison:
    """Two periods whose difference is taken apart."""

    old: Side
    new: Side
    loss: RowLoss
    chance: Chance
    total: Array
    seed: int
    timezone: str
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.columns = Columns(self.old.rows, self.new.rows, self.timezone)

    def cause(self, kind: Kind, what: str, drawn: Array, within: tuple[Cause, ...] = ()) -> list[Cause]:
        """Make a part of what was drawn of it; one that is nothing is none."""
        if not np.any(drawn):
            return []
        lower, upper = self.chance.interval(drawn, PART_CONFIDENCE)
        return [Cause(kind, what, float(drawn[0]), lower, upper, within=within)]
