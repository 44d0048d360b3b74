"""Learning, on rows that a model had not learnt from, how labels follow from its predictions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from expectations.families import Matrix, Scores, Task, Vector
from expectations.metrics import Array, Blocks
from tasks.evaluation.estimates.expectation import (
    Expectation,
    codes_after,
    features_of,
    label_model,
    ranges_of,
    share_beyond,
)
from tasks.evaluation.estimates.label_models import LabelModel
from tasks.evaluation.estimates.levels import MIN_SPREAD
from tasks.evaluation.estimates.scales import DRAWS, LossScale
from tasks.evaluation.interval import time_blocks
from tasks.evaluation.metrics import Scored, score

MIN_ROWS = 15
"""Rows with a label that there must be to learn from."""
_ROUNDS = (0, 3, 6, 12, 25, 50)
"""Numbers of trees that are tried."""
_FOLDS = 4
_BLOCKS = 10
"""Blocks of time that say how far expectation and truth lie apart where no window has come yet."""
_QUANTILES = 1000
"""Standardised residuals that are kept."""


def learn_expectation(
    task: Task,
    prediction: Scores,
    label: Vector,
    matrix: Matrix,
    seconds: Array,
    *,
    metrics: Sequence[str],
    threshold: float = 0.5,
    block: float = 86400.0,
    categorical: Sequence[int] = (),
    learnt: Matrix | None = None,
    seed: int = 0,
) -> Expectation | None:
    """Learn how labels follow from predictions and features, on rows that the model had not learnt from.

    Parameters
    ----------
    prediction : ndarray of shape (n_rows,) or (n_rows, n_classes)
    label : ndarray of shape (n_rows,)
        0 and 1, the place of a class among several, or the value.
    matrix : ndarray of shape (n_rows, n_features)
    seconds : ndarray of shape (n_rows,)
        Event times.
    block : float
        Seconds in which rows depend on each other.
    learnt : ndarray of shape (any, n_features), optional
        Rows that the model learnt from: they are within the range, too.

    Returns
    -------
    Expectation or None
        None where there are too few rows, or nothing of them varies.
    """
    classes = prediction.shape[1] if prediction.ndim > 1 else 0
    labels = label_model(task, classes)
    order = np.argsort(seconds, kind="stable")
    order = order[labels.usable(prediction[order], label[order])]
    order = order[:: max(1, math.ceil(len(order) / labels.max_learnt))]
    prediction, label, matrix, seconds = prediction[order], label[order], matrix[order], seconds[order]
    if len(label) < MIN_ROWS or not labels.learnable(prediction, label):
        return None
    codes = tuple(categorical)
    columns = features_of(prediction, matrix, codes)
    folds = np.arange(len(label)) % _FOLDS
    rounds, held = _choose_rounds(labels, prediction, label, columns, codes, folds, seed)
    line = labels.fit_line(prediction, label)
    trees = ""
    if rounds:
        start = labels.start(line.parameters, prediction)
        trees = str(_train(labels, start, prediction, label, columns, codes, rounds, seed).model_to_string())
    dependence = _dependence(labels.left(held, prediction, label), time_blocks(seconds, block))
    ranges = ranges_of(matrix if learnt is None else np.vstack([learnt, matrix]), codes)
    natural = 0.0 if learnt is None or not len(learnt) else share_beyond(matrix, ranges_of(learnt, codes))
    found = Expectation(
        task,
        len(label),
        line.parameters,
        tuple(float(each * dependence) for each in line.covariance),
        trees,
        codes,
        _residuals(labels.ratios(held, prediction, label)),
        {},
        dependence,
        ranges,
        natural,
        classes,
    )
    spread = {metric: _spread(metric, found, held, Scored(label, prediction, threshold), seed) for metric in metrics}
    return replace(found, spread=spread)


def _train(
    labels: LabelModel,
    start: Array,
    prediction: Scores,
    label: Vector,
    columns: Matrix,
    codes: Sequence[int],
    rounds: int,
    seed: int,
) -> Any:  # noqa: ANN401 - lightgbm ships no types
    import lightgbm

    target, start = labels.tree_rows(start, prediction, label)
    data = lightgbm.Dataset(
        columns,
        target,
        init_score=start,
        categorical_feature=codes_after(prediction, codes),
        feature_name=[f"f{at}" for at in range(columns.shape[1])],
    )
    settings = {
        **(labels.tree_settings() or {}),
        "learning_rate": 0.1,
        "num_leaves": 6,
        "min_data_in_leaf": max(20, len(label) // 50),
        "lambda_l2": 5.0,
        "feature_fraction": 0.7,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "verbosity": -1,
    }
    return lightgbm.train(settings, data, rounds)


def _choose_rounds(
    labels: LabelModel,
    prediction: Scores,
    label: Vector,
    columns: Matrix,
    codes: Sequence[int],
    folds: Blocks,
    seed: int,
) -> tuple[int, Array]:
    """Choose the number of trees by cross-validation; returns it and what each row was held to be by the others."""
    tried = _ROUNDS if labels.tree_settings() is not None else _ROUNDS[:1]
    held = np.zeros((len(tried), *prediction.shape))
    for fold in range(_FOLDS):
        test, rest = folds == fold, folds != fold
        start = labels.start(labels.fit_line(prediction[rest], label[rest]).parameters, prediction)
        held[:, test] = start[test]
        if rest.sum() < 3 * 20 or len(tried) == 1:
            continue
        booster = _train(labels, start[rest], prediction[rest], label[rest], columns[rest], codes, tried[-1], seed)
        for place, rounds in enumerate(tried[1:], 1):
            found = booster.predict(columns[test], raw_score=True, num_iteration=rounds)
            held[place, test] += labels.tree_scale * found
    deviance = np.stack([labels.deviance(each, prediction, label) for each in held])
    gain = deviance[0] - deviance
    best = int(np.argmax(gain.mean(axis=1)))
    noise = float(gain[best].std()) / math.sqrt(len(label))
    if float(gain[best].mean()) <= noise:
        best = 0
    return tried[best], held[best]


def _residuals(ratios: Array) -> tuple[float, ...]:
    """Return the standardised residuals in order; of many, means of runs that have the same second moment."""
    ordered = np.sort(ratios)
    if len(ordered) > _QUANTILES:
        parts = np.array_split(ordered, _QUANTILES)
        means = np.array([each.mean() for each in parts])
        ordered = means * math.sqrt(float((ordered**2).mean()) / float((means**2).mean()))
    return tuple(map(float, ordered))


def _dependence(values: Array, blocks: Blocks) -> float:
    """Return by what factor sums over blocks of time vary more than those of independent rows."""
    centred = (values - values.mean(axis=0)).reshape(len(values), -1)
    total = float((centred**2).sum())
    if total == 0.0:
        return 1.0
    summed = sum(float((np.bincount(blocks, weights=each) ** 2).sum()) for each in centred.T)
    return float(np.clip(summed / total, 1.0, 20.0))


def _spread(metric: str, expected: Expectation, held: Array, rows: Scored, seed: int) -> float:
    """Return how far realised and expected loss lie apart over blocks, as logarithms, beyond what chance does."""
    scale = LossScale(metric, rows.label)
    random = np.random.default_rng(seed)
    apart, chance = [], []
    for part in np.array_split(np.arange(len(rows.label)), min(_BLOCKS, len(rows.label) // MIN_ROWS)):
        truth = scale.of(score(metric, Scored(rows.label[part], rows.prediction[part], rows.threshold)))
        drawn = expected.labels.draw(held[part], rows.prediction[part], expected.residuals, random, DRAWS // 4)
        values = np.array(
            [scale.of(score(metric, Scored(each, rows.prediction[part], rows.threshold))) for each in drawn]
        )
        values = values[np.isfinite(values)]
        if math.isfinite(truth) and len(values) > 1:
            apart.append(truth - math.log(max(float(np.exp(values).mean()), scale.least)))
            chance.append(float(values.var()))
    if len(apart) < 3:
        return 2 * MIN_SPREAD
    return math.sqrt(max(0.0, float(np.mean(np.square(apart))) - float(np.mean(chance))))
