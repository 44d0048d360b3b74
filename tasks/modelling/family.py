"""The protocol every model family keeps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from expectations.families import Candidate

Matrix = npt.NDArray[np.float64]
Vector = npt.NDArray[np.float64]
Task = Literal["binary_classification", "regression"]

#: Receives (step, metric -> value) while a model learns.
Report = Callable[[int, Mapping[str, float]], None]


@dataclass(frozen=True)
class Rows:
    """Rows a model learns from.

    Attributes
    ----------
    matrix : ndarray of shape (n_rows, n_features)
        Missing values as NaN.
    label : ndarray of shape (n_rows,)
        0 and 1 for a classifier, the value itself for a regression.
    features, categorical : tuple of str
        Names of the columns of `matrix`, and those that hold category codes.
    """

    matrix: Matrix
    label: Vector
    features: tuple[str, ...]
    categorical: tuple[str, ...]
    task: Task


class Predictor(Protocol):
    """Runs a released model."""

    def predict(self, matrix: Matrix) -> Vector:
        """Return one number for each row: the probability of the positive class, or the value."""
        ...


class Fitted(Predictor, Protocol):
    """A model that has learnt."""

    recipe: Candidate
    """The candidate as declared, its length set to the one found best: fitting it needs no validation rows."""

    def save(self, folder: Path) -> None:
        """Write the released files into a folder."""
        ...

    def importance(self) -> dict[str, float]:
        """Feature -> share of the model's work, summing to one."""
        ...


class Family(Protocol):
    """Learns and loads models of one kind."""

    def fit(
        self,
        train: Rows,
        valid: Rows | None,
        *,
        params: Candidate,
        seed: int,
        report: Report,
        start_from: Path | None = None,
    ) -> Fitted:
        """Learn; with `valid` stop early where the candidate says so; go on from the bundle in `start_from`."""
        ...

    def load(self, folder: Path) -> Predictor:
        """Return a predictor for the files `Fitted.save` wrote."""
        ...


def normalised(weights: Mapping[str, float]) -> dict[str, float]:
    """Scale weights to sum to one, largest first."""
    total = sum(weights.values()) or 1.0
    return {name: value / total for name, value in sorted(weights.items(), key=lambda item: -item[1])}
