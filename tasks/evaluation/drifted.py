"""What is found of a column in a window: whether it differs from the reference by more than chance can do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import msgspec

Status = Literal["drifted", "same", "undetermined"]
_RANKS: dict[Status, int] = {"drifted": 0, "undetermined": 1, "same": 2}


class Drifted(msgspec.Struct, frozen=True, gc=False):  # of words and numbers alone; pages read 20,000
    """What is said of a column in a window.

    Attributes
    ----------
    status : {"drifted", "same", "undetermined"}
    p : float or None
        Chance of so large a difference where nothing changed, over all scores of the column (not over all columns).
    odds : float or None
        At most so many to one speak for a change (Sellke's bound on `p`).
    what : str
        What differs most: place, spread, shape, missing, empty, constant, out of range, new category, share of a
        category.
    effect : float or None
        How much: for place and spread in standard deviations of the reference, else in points of share.
    score : float or None
        Distance of the distributions, for reading, by the declared score (`expectations.drift_scores`). None where it
        is not finite, or there are no values to compare.
    reason : str
        Why that is not known.
    by : str
        The score that `score` is by (`DriftScore.named`); empty of records from before it was kept.
    unscored : str
        Why there is no `score` though there are values: the score failed, or is of no such column.
    """

    column: str
    status: Status
    p: float | None = None
    odds: float | None = None
    what: str = ""
    effect: float | None = None
    score: float | None = None
    missing_share: float = 0.0
    missing_reference: float = 0.0
    reason: str = ""
    by: str = ""
    unscored: str = ""

    @property
    def drifted(self) -> bool:
        """Whether it differs by more than chance can do."""
        return self.status == "drifted"

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can carry; of the score's name and its failure only what there is."""
        found = {**msgspec.structs.asdict(self), "drifted": self.drifted}
        return {name: value for name, value in found.items() if value != "" or name not in ("by", "unscored")}


def undetermined(column: str, reason: str) -> Drifted:
    """Say that it is not known whether a column drifted, and why."""
    return Drifted(column, "undetermined", reason=reason)


def most_certain_first(found: Iterable[Drifted]) -> list[Drifted]:
    """Put columns in order: what drifted, what is undetermined, what stayed; each by chance, then by distance."""
    return sorted(found, key=lambda each: (_RANKS[each.status], 1.0 if each.p is None else each.p, -(each.score or 0)))
