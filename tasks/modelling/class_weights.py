"""Classes that count more where a model learns, and the probabilities brought back to the classes' own shares."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from expectations.calibration import Calibrator
from expectations.errors import TrainingError
from expectations.families import Family, Fitted, Matrix, Score, Scores, Vector
from tasks.modelling.calibrations.known import log_odds, log_odds_of, logarithm, logarithms
from tasks.modelling.links import sigmoid, softmax, softmax_rows

PRIOR = "prior.json"
_FURTHEST = 10.0
"""How far, in log-odds, a correction may differ from that of the weights: where no row of a class is ever likely."""


class FittedPrior(Calibrator):
    """Probabilities of a model that learnt from weighted classes, brought back to the classes' own shares.

    Weights w of the classes multiply their shares, so that a model learns p_w(k|x) proportional to w_k p(k|x); hence
    p(k|x) is proportional to p_w(k|x) / w_k: the prior correction of King & Zeng 2001 ("Logistic Regression in Rare
    Events Data", eq. 7), and of Saerens, Latinne & Decaestecker 2002 ("Adjusting the Outputs of a Classifier to New a
    Priori Probabilities", eq. 2.4) for several classes. Log-odds, or scores before softmax, are only moved.

    Attributes
    ----------
    offsets : tuple of float
        What is added to the logarithm of each class' probability: minus the logarithm of its weight, and what
        `levelled` found beside that.
    """

    calibration: Literal["prior"] = "prior"
    offsets: tuple[float, ...]

    @property
    def _moved(self) -> float:
        return self.offsets[1] - self.offsets[0]

    def levelled(self, scores: Scores, label: Vector, weight: Vector) -> FittedPrior:
        """Return offsets by which the mean of the corrected probabilities is the share of each class.

        The weights alone say how far a model moved that follows them wholly; one of a few rounds, or that is held
        small, does not. Offsets of the greatest likelihood make both equal: so say the score equations of a logistic
        regression's intercepts. Offsets that are right already stay.

        Parameters
        ----------
        scores : ndarray of shape (n_rows,) or (n_rows, n_classes)
            Of rows that the model did not learn from.
        label : ndarray of shape (n_rows,)
            Codes of the classes.
        weight : ndarray of shape (n_rows,)
            What each row counts beside its class.
        """
        from scipy.optimize import minimize

        raw = logarithms(scores if scores.ndim > 1 else np.column_stack([1 - scores, scores])) + np.array(self.offsets)
        met = np.eye(raw.shape[1])[label.astype(np.int64)]
        share = weight / weight.sum()

        def loss(moved: Vector) -> tuple[float, Vector]:
            log_odds = raw + np.concatenate([[0.0], moved])
            total = np.logaddexp.reduce(log_odds, axis=1)
            away = share @ (np.exp(log_odds - total[:, None]) - met)
            return float(share @ (total - (met * log_odds).sum(axis=1))), away[1:]

        start = np.zeros(raw.shape[1] - 1)
        found = minimize(
            loss,
            start,
            jac=True,
            method="L-BFGS-B",
            bounds=[(-_FURTHEST, _FURTHEST)] * len(start),
            options={"ftol": 0.0, "gtol": 1e-9},
        ).x
        return FittedPrior(offsets=(self.offsets[0], *(self.offsets[1:] + found).tolist()))

    def one(self, score: Score) -> Score:
        """Return the probability of the positive class, or of each class, at their own shares."""
        if isinstance(score, list):
            return softmax([logarithm(each) + offset for each, offset in zip(score, self.offsets, strict=True)])
        return sigmoid([log_odds(score) + self._moved])[0] if score == score else score

    def many(self, scores: Scores) -> Scores:
        """Return the probabilities of rows, in the scores' shape."""
        if scores.ndim > 1:
            return softmax_rows(logarithms(scores) + np.array(self.offsets))
        return np.array(sigmoid((log_odds_of(scores) + self._moved).tolist()), dtype=np.float64)

    @property
    def of_raw_scores(self) -> tuple[float, float | Sequence[float]]:
        """One, and what is added; of several classes to each."""
        return 1.0, self._moved if len(self.offsets) == 2 else self.offsets


@dataclass(frozen=True)
class Corrected:
    """A model that learnt from weighted classes, and says the probabilities at their own shares."""

    model: Fitted
    prior: FittedPrior

    @property
    def recipe(self) -> Family:
        """That of the model."""
        return self.model.recipe

    def predict(self, matrix: Matrix) -> Scores:
        """Predict rows of shape (n_rows, n_features)."""
        return self.prior.many(self.model.predict(matrix))

    def save(self, folder: Path) -> None:
        """Write the model's files, and the correction beside them."""
        self.model.save(folder)
        (folder / PRIOR).write_text(self.prior.model_dump_json(), encoding="utf-8")

    def importance(self) -> dict[str, float]:
        """Return that of the model."""
        return self.model.importance()


def weights_of(declared: Literal["balanced"] | Mapping[str, float], label: Vector, classes: Sequence[str]) -> Vector:
    """Return the weight of each class, shape (n_classes,).

    Balanced weights are n / (k n_c), of n rows, k classes and n_c rows of a class: all classes count alike.

    Raises
    ------
    TrainingError
        If a weight is declared for a class that no row has.
    """
    if declared == "balanced":
        counts = np.bincount(label.astype(np.int64), minlength=len(classes))[: len(classes)]
        return np.asarray(len(label) / (len(classes) * np.maximum(counts, 1)))
    if unknown := [name for name in declared if name not in classes]:
        raise TrainingError(
            f"classes of the label under `model.weights.classes`: {', '.join(classes)}",
            ", ".join(unknown),
            "Correct the names; classes that are not named count 1",
        )
    return np.array([declared.get(name, 1.0) for name in classes])


def correction(weights: Vector) -> FittedPrior:
    """Return what brings probabilities back, of weights of shape (n_classes,)."""
    return FittedPrior(offsets=tuple(-math.log(weight) for weight in weights.tolist()))
