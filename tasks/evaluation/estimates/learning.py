"""Learning, on rows that a model had not learnt from, how labels follow from its predictions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from expectations.families import Matrix, Task, Vector
from expectations.metrics import Array, Blocks
from expectations.problems import problem_of
from tasks.evaluation.estimates.expectation import (
    Expectation,
    axis_of,
    features_of,
    logistic,
    ranges_of,
    share_beyond,
)
from tasks.evaluation.estimates.levels import LEAST_SPREAD
from tasks.evaluation.estimates.scales import DRAWS, Scale
from tasks.evaluation.interval import time_blocks
from tasks.evaluation.metrics import Scored, score

MIN_ROWS = 15
"""Rows with a label that there must be to learn from."""
MAX_LEARNT = 20_000
"""Rows that are learnt from; of more, as many evenly spread ones."""
_ROUNDS = (0, 3, 6, 12, 25, 50)
"""Numbers of trees that are tried."""
_FOLDS = 4
_BLOCKS = 10
"""Blocks of time that say how far expectation and truth lie apart where no window has come yet."""
_QUANTILES = 1000
"""Standardised residuals that are kept."""
_PRIOR = 8.0
"""Rows that the prior of the logistic line weighs as much as."""


def learn_expectation(
    task: Task,
    prediction: Vector,
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
    binary = problem_of(task).classifies
    order = np.argsort(seconds, kind="stable")
    order = order[np.isfinite(prediction[order]) & np.isfinite(label[order]) & (np.abs(label[order]) < 1e100)]
    order = order[:: max(1, math.ceil(len(order) / MAX_LEARNT))]
    prediction, label, matrix, seconds = prediction[order], label[order], matrix[order], seconds[order]
    if len(label) < MIN_ROWS or (not binary and not np.any(label != prediction)):
        return None
    codes = tuple(categorical)
    columns = features_of(prediction, matrix, codes)
    folds = np.arange(len(label)) % _FOLDS
    rounds, held = _choose_rounds(binary, prediction, label, columns, codes, folds, seed)
    line, covariance = _fit_line(binary, prediction, label)
    trees = _fit_trees(binary, line, prediction, label, columns, codes, rounds, seed) if rounds else ""
    size = np.exp(held)
    blocks = time_blocks(seconds, block)
    dependence = _dependence(label - logistic(held) if binary else np.abs(label - prediction) / size, blocks)
    ranges = ranges_of(matrix if learnt is None else np.vstack([learnt, matrix]), codes)
    natural = 0.0 if learnt is None or not len(learnt) else share_beyond(matrix, ranges_of(learnt, codes))
    first, both, second = (float(each * dependence) for each in covariance)
    found = Expectation(
        task,
        len(label),
        line,
        (first, both, second),
        trees,
        codes,
        () if binary else _residuals((label - prediction) / size),
        {},
        dependence,
        ranges,
        natural,
    )
    spread = {metric: _spread(metric, found, held, Scored(label, prediction, threshold), seed) for metric in metrics}
    return replace(found, spread=spread)


def _root_mean_square(errors: Array) -> float:
    return max(float(np.sqrt(np.square(errors).mean())), 1e-100)


def _fit_line(
    binary: bool, prediction: Vector, label: Vector
) -> tuple[tuple[float, float], tuple[float, float, float]]:
    """Fit intercept and slope by Newton's method, with a prior towards 0 and 1; returns them and their covariance."""
    if not binary:
        scale = _root_mean_square(label - prediction)
        variance = float(np.square((label - prediction) / scale).var()) / (4 * len(label))  # of its logarithm
        return (math.log(scale), 0.0), (variance, 0.0, 0.0)
    rows = np.column_stack([np.ones(len(label)), axis_of(binary, prediction)])
    target, precision = np.array([0.0, 1.0]), np.eye(2) * _PRIOR / 4
    line = target.copy()
    for _ in range(50):
        chance = logistic(rows @ line)
        hessian = rows.T @ (rows * (chance * (1 - chance))[:, None]) + precision
        step = np.linalg.solve(hessian, rows.T @ (label - chance) - precision @ (line - target))
        line = line + np.clip(step, -2.0, 2.0)
        if float(np.abs(step).max()) < 1e-10:
            break
    covariance = np.linalg.inv(hessian)
    return (float(line[0]), float(line[1])), (covariance[0, 0], covariance[0, 1], covariance[1, 1])


def _settings(binary: bool, rows: int, seed: int) -> dict[str, Any]:
    return {
        "objective": "binary" if binary else "gamma",
        "learning_rate": 0.1,
        "num_leaves": 6,
        "min_data_in_leaf": max(20, rows // 50),
        "lambda_l2": 5.0,
        "feature_fraction": 0.7,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "verbosity": -1,
    }


def _train(
    binary: bool,
    start: Array,
    prediction: Vector,
    label: Vector,
    columns: Matrix,
    codes: Sequence[int],
    rounds: int,
    seed: int,
) -> Any:  # noqa: ANN401 - lightgbm ships no types
    import lightgbm

    target = label
    if not binary:  # squares, scaled so that floats suffice: gamma's gradients are of a ratio
        scale = _root_mean_square(label - prediction)
        target = np.maximum(np.square((label - prediction) / scale), 1e-12)
        start = 2 * (start - math.log(scale))
    data = lightgbm.Dataset(
        columns,
        target,
        init_score=start,
        categorical_feature=[code + 1 for code in codes],
        feature_name=[f"f{at}" for at in range(columns.shape[1])],
    )
    return lightgbm.train(_settings(binary, len(label), seed), data, rounds)


def _fit_trees(
    binary: bool,
    line: tuple[float, float],
    prediction: Vector,
    label: Vector,
    columns: Matrix,
    codes: Sequence[int],
    rounds: int,
    seed: int,
) -> str:
    start = line[0] + line[1] * axis_of(binary, prediction)
    return str(_train(binary, start, prediction, label, columns, codes, rounds, seed).model_to_string())


def _choose_rounds(
    binary: bool,
    prediction: Vector,
    label: Vector,
    columns: Matrix,
    codes: Sequence[int],
    folds: Blocks,
    seed: int,
) -> tuple[int, Array]:
    """Choose the number of trees by cross-validation; returns it and what each row was held to be by the others."""
    held = np.zeros((len(_ROUNDS), len(label)))
    for fold in range(_FOLDS):
        test, rest = folds == fold, folds != fold
        line, _ = _fit_line(binary, prediction[rest], label[rest])
        start = line[0] + line[1] * axis_of(binary, prediction)
        held[:, test] = start[test]
        if rest.sum() < 3 * 20:
            continue
        booster = _train(binary, start[rest], prediction[rest], label[rest], columns[rest], codes, _ROUNDS[-1], seed)
        for place, rounds in enumerate(_ROUNDS[1:], 1):
            found = booster.predict(columns[test], raw_score=True, num_iteration=rounds)
            held[place, test] += found if binary else found / 2
    if binary:
        deviance = np.logaddexp(0.0, held) - label * held
    else:
        deviance = np.square((label - prediction) * np.exp(-held)) / 2 + held
    gain = (deviance[0] - deviance).reshape(len(_ROUNDS), -1)
    best = int(np.argmax(gain.mean(axis=1)))
    noise = float(gain[best].std()) / math.sqrt(len(label))
    if float(gain[best].mean()) <= noise:
        best = 0
    return _ROUNDS[best], held[best]


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
    centred = values - values.mean()
    total = float((centred**2).sum())
    if total == 0.0:
        return 1.0
    return float(np.clip(float((np.bincount(blocks, weights=centred) ** 2).sum()) / total, 1.0, 20.0))


def _spread(metric: str, expected: Expectation, held: Array, rows: Scored, seed: int) -> float:
    """Return how far realised and expected loss lie apart over blocks, as logarithms, beyond what chance does."""
    scale = Scale(metric, rows.label)
    random = np.random.default_rng(seed)
    apart, chance = [], []
    for part in np.array_split(np.arange(len(rows.label)), min(_BLOCKS, len(rows.label) // MIN_ROWS)):
        truth = scale.of(score(metric, Scored(rows.label[part], rows.prediction[part], rows.threshold)))
        shape = (DRAWS // 4, len(part))
        if expected.binary:
            drawn = (random.random(shape) < logistic(held[part])).astype(np.float64)
        else:
            drawn = rows.prediction[part] + random.choice(np.array(expected.residuals), shape) * np.exp(held[part])
        values = np.array(
            [scale.of(score(metric, Scored(each, rows.prediction[part], rows.threshold))) for each in drawn]
        )
        values = values[np.isfinite(values)]
        if math.isfinite(truth) and len(values) > 1:
            apart.append(truth - math.log(max(float(np.exp(values).mean()), scale.least)))
            chance.append(float(values.var()))
    if len(apart) < 3:
        return 2 * LEAST_SPREAD
    return math.sqrt(max(0.0, float(np.mean(np.square(apart))) - float(np.mean(chance))))
