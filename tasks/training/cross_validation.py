"""How a settled recipe does on several stretches of the rows before the holdout."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from expectations.calibration import Calibrator
from expectations.errors import TrainingError
from expectations.families import Family, Report
from expectations.gates import CrossValidation
from expectations.usecase import UseCase
from tasks.compute.compute import current_compute
from tasks.evaluation.metrics import score
from tasks.evaluation.splits import fold_masks
from tasks.stores.progress import part
from tasks.training.labelled import score_rows
from tasks.training.learning import fit_model


def cross_validate(
    frame: pl.DataFrame, spec: UseCase, recipe: Family, asked: CrossValidation, calibrator: Calibrator | None = None
) -> dict[str, list[float]]:
    """Score a settled recipe by rolling origin: every fold is judged by a model of rows whose labels were known then.

    A fold's scores are calibrated as the judged model's are: early folds are too short to learn that from, too.

    Without a clock folds are drawn, and each is judged by a model of all others.

    Parameters
    ----------
    frame : polars.DataFrame of shape (n_rows, any)
        In time order, nothing of the holdout among them.
    calibrator : Calibrator or None
        Of the judged model.

    Returns
    -------
    dict of str to list of float
        Metric -> one value a fold, oldest first.

    Raises
    ------
    TrainingError
        If there is nothing to learn a fold's model from.
    """
    scores: dict[str, list[float]] = defaultdict(list)
    cuts = list(fold_masks(frame, spec, asked.folds, asked.gap))
    jobs = current_compute().jobs(_score_fold, _Validation(frame, spec, recipe, calibrator))
    found = jobs.map(enumerate(cuts, 1))
    for number in range(1, len(cuts) + 1):
        with part(f"fold {number} of {asked.folds}"):
            fold = next(found)
        for metric, value in fold.items():
            scores[metric].append(value)
    return dict(scores)


@dataclass(frozen=True)
class _Validation:
    """What folds share: the rows they are cut from, and what is learnt of each."""

    frame: pl.DataFrame
    spec: UseCase
    recipe: Family
    calibrator: Calibrator | None


def _score_fold(shared: _Validation, cut: tuple[int, tuple[pl.Series, pl.Series]], _: Report) -> dict[str, float]:
    spec, (number, masks) = shared.spec, cut
    train, fold = map(shared.frame.filter, masks)
    if train[spec.label.column].n_unique() < 2:
        raise TrainingError(
            f"rows of different labels to learn fold {number} of the cross-validation from",
            f"{len(train)} rows before it whose label was known" if spec.timed else f"{len(train)} rows beside it",
            "Ask for fewer folds or a shorter gap (`evaluation.cross_validation`), or wait for more rows",
        )
    trained = replace(fit_model(train, spec, shared.recipe), calibrator=shared.calibrator)
    rows = score_rows(fold, spec, trained.classes, trained.predict(fold, repaired=True))
    return {metric: score(metric, rows) for metric in spec.greater_is_better}


def fold_statistics(folds: Mapping[str, Sequence[float]], spec: UseCase) -> dict[str, float]:
    """Return the mean, the worst and the standard deviation over the folds, as `Gate.check` takes them."""
    found: dict[str, float] = {}
    for metric, values in folds.items():
        found[f"folds_mean_{metric}"] = float(np.mean(values))
        found[f"folds_worst_{metric}"] = float(np.min(values) if spec.greater_is_better[metric] else np.max(values))
        found[f"folds_spread_{metric}"] = float(np.std(values, ddof=1))
    return found
