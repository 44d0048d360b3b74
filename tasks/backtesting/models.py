"""Models that were never packed, and what came of them in a walk through the past."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from expectations.families import Family, Scores
from tasks.evaluation.error_budget import BudgetTest
from tasks.training.learning import Trained

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class UnpackedModel:
    """A model that was never packed: the incumbent of a walk.

    Attributes
    ----------
    number : int
        It takes charge when window `number` begins, or as soon after as the labels of the one before are ripe.
    metrics : dict of str to float
        Of its recipe on the holdout; empty for one that was not judged.
    parent : UnpackedModel, optional
        The champion that it was judged against.
    """

    number: int
    trained: Trained
    cutoff: datetime
    learnt_rows: int
    metrics: dict[str, float] = field(default_factory=dict)
    parent: UnpackedModel | None = None

    @property
    def learnt_until(self) -> datetime:
        """Rows up to this event time taught its model: in a walk none is recalibrated."""
        return self.cutoff

    @property
    def recipe(self) -> Family:
        """The recipe at its settled length."""
        return self.trained.recipe

    @property
    def inputs(self) -> tuple[str, ...]:
        """Columns it needs."""
        return tuple(column.name for column in self.trained.program.inputs)

    @property
    def classes(self) -> tuple[str, ...]:
        """Classes in the order of its scores; none of a regression."""
        return self.trained.classes

    def predict(self, frame: pl.DataFrame, *, repaired: bool) -> Scores:
        """Predict rows, raw or of the clean table."""
        return self.trained.predict(frame, repaired=repaired)


class DatedModel(NamedTuple):
    """A model that answers from an instant on."""

    at: datetime
    model: UnpackedModel


class TurnResult(NamedTuple):
    """What came of a turn.

    Attributes
    ----------
    model : UnpackedModel or None
        The champion to be; None where there is none.
    failed : bool
        Whether nothing could be learnt at all: such a turn counts neither as a release nor as a refusal.
    test : BudgetTest or None
        Which comparison with the champion it was, where an error budget bounds all of them.
    """

    model: UnpackedModel | None
    why: str
    failed: bool = False
    test: BudgetTest | None = None


@dataclass(frozen=True)
class AnsweredWindow:
    """What was answered in a window.

    Attributes
    ----------
    prediction : ndarray of shape (n_labelled,) or (n_labelled, n_classes)
        Of the rows whose label is known, in order of time.
    owner : UnpackedModel or None
        Who answered most of all rows, labelled or not; None without any.
    mine : ndarray of bool of shape (n_labelled,)
        Where the owner answered.
    rows : int
        All rows of the window, labelled or not.
    coverage : float
        Share of the owner's rows whose label is known.
    """

    prediction: Scores
    owner: UnpackedModel | None
    mine: Mask
    rows: int
    coverage: float
