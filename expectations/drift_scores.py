"""What a drift score is: how far a column of a window lies from the reference, as a number for reading."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from expectations.parts import Part
from expectations.slots import DRIFT_SCORES

Array = npt.NDArray[np.float64]
ColumnKind = Literal["number", "category"]
DEFAULT_SCORES: Mapping[ColumnKind, str] = {"number": "wasserstein", "category": "jensen_shannon"}
"""Of each kind of column the score that it has where none is declared."""


@dataclass(frozen=True)
class Binned:
    """The values of a column in the reference and in a window, counted into the same bins; neither is empty.

    Attributes
    ----------
    before, now : ndarray of shape (n_bins,)
        Counts of reference and window.
    before_centres, now_centres : ndarray of shape (n_bins,)
        Of numbers the mean of each bin, which grow; of categories, which have no order, none.
    spread : float
        Standard deviation of the reference's numbers; NaN of categories, 0 where the reference is constant.
    """

    before: Array
    now: Array
    before_centres: Array
    now_centres: Array
    spread: float

    @property
    def shares(self) -> tuple[Array, Array]:
        """The share of each bin in reference and window."""
        return self.before / self.before.sum(), self.now / self.now.sum()


class DriftScore(Part):
    """A drift score, as declared under `monitoring.drift.scores`.

    Whether a column drifted is decided by a test of its own; `min_effect` is in units of this score.

    Attributes
    ----------
    kinds : tuple of {"number", "category"}
        The columns it is of.
    """

    kinds: ClassVar[tuple[ColumnKind, ...]] = ("number", "category")
    score: str

    @abstractmethod
    def of(self, binned: Binned) -> float:
        """Score a column: 0 for two equal distributions, more for such that lie further apart, however many rows."""


def scores_by_kind(declared: Sequence[DriftScore] = ()) -> dict[ColumnKind, DriftScore]:
    """Return the score of each kind of column: the one declared, or that of `DEFAULT_SCORES`.

    Raises
    ------
    ValueError
        If two are of one kind.
    """
    found: dict[ColumnKind, DriftScore] = {}
    for each in declared:
        for kind in each.kinds:
            if kind in found:
                raise ValueError(
                    f"columns of one kind have one score; {found[kind].score} and {each.score} are of {kind}"
                )
            found[kind] = each
    return {
        kind: found.get(kind) or DRIFT_SCORES.released(name).model_validate({"score": name})
        for kind, name in DEFAULT_SCORES.items()
    }
