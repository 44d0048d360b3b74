"""Calibrate scores by rows that their model did not learn from, and judge candidates as they would be released."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from expectations.calibration import Calibrator
from expectations.errors import TrainingError
from expectations.families import Scores, Vector
from expectations.slots import CALIBRATIONS
from expectations.usecase import UseCase
from tasks.stores.progress import step

FOLDS = 5
"""Parts that rows are cut into, each calibrated by the others."""


def fit_calibrator(
    spec: UseCase, scores: Scores, label: Vector, classes: tuple[str, ...], name: str | None = None
) -> Calibrator | None:
    """Learn a calibration, the declared one or that of a name, from rows that the model did not learn from.

    None where there is none.
    """
    by = name or spec.model.calibration
    if not by:
        return None
    with step("calibrating"):
        return CALIBRATIONS.released(by).model_validate({}).fit(scores, label, classes)


def calibrate_out_of_fold(
    spec: UseCase, scores: Scores, label: Vector, classes: tuple[str, ...]
) -> tuple[Scores, npt.NDArray[np.bool_]]:
    """Calibrate each row by a calibration that has not seen it, so that none is flattered by what it learnt from.

    A curve that follows a few rows closely (isotonic regression does) looks better on these than it is. Rows of each
    class are cut into five parts in their order, and each part is calibrated by the others, as scikit-learn's
    `CalibratedClassifierCV` and `StratifiedKFold` do. Scores that are no numbers, and all where nothing is declared,
    stay as they are.

    Parameters
    ----------
    scores : ndarray of shape (n_rows,) or (n_rows, n_classes)
    label : ndarray of shape (n_rows,)
        Codes in the order of `classes`; rows of a class beyond these calibrate nothing.

    Returns
    -------
    scores : ndarray as given
        As they would be released.
    judges : ndarray of shape (n_rows,)
        Whether a row was calibrated by others: the only row of its class was not, since these would lack it.

    Raises
    ------
    TrainingError
        If a class has no row, or each row is the only one of its class: none judges.
    """
    judges = np.ones(len(label), dtype=np.bool_)
    if spec.model.calibration is None or not np.isfinite(scores).all():
        return scores, judges
    known = label < len(classes)
    parts = np.empty(len(label), dtype=np.int64)
    for code in np.unique(label):
        rows = np.flatnonzero(label == code)
        parts[rows] = np.arange(len(rows)) * FOLDS // len(rows)
        judges[rows] = len(rows) > 1 or code >= len(classes)
    if not judges.any():
        raise TrainingError(
            "two rows of one class at least among the newest, to judge calibrated scores by",
            f"{len(label)} rows, each the only one of its class",
            "Raise `model.validation`, or leave `model.calibration` out until more rows are known",
        )
    found = scores.copy()
    for number in range(FOLDS):
        held = judges & (parts == number)
        if held.any():
            calibrator = fit_calibrator(spec, scores[known & ~held], label[known & ~held], classes)
            if calibrator is not None:
                found[held] = calibrator.many(scores[held])
    return found, judges
