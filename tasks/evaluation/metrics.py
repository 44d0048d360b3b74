"""Metrics as functions of sums over blocks of rows, so that a resampled metric costs no pass over the rows.

Every metric here is a function of per-block sums (errors, counts); the area under ROC needs the sums for each pair
of blocks. Weighting the blocks gives the metric of a resample.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from expectations.families import Vector

Array = npt.NDArray[np.float64]
Blocks = npt.NDArray[np.int64]

_CLIP = 1e-15


@dataclass(frozen=True)
class Scored:
    """Rows with their truth and their prediction."""

    label: Vector
    prediction: Vector
    threshold: float = 0.5

    def __post_init__(self) -> None:
        if self.label.shape != self.prediction.shape:
            raise ValueError(f"{self.label.shape} labels against {self.prediction.shape} predictions")


#: From scored rows, their block number (0 … n_blocks - 1) and n_blocks, a function: block weights of shape
#: (n_resamples, n_blocks) -> metric of shape (n_resamples,); NaN where the metric is not defined.
Prepared = Callable[[Array], Array]
Metric = Callable[[Scored, Blocks, int], Prepared]


def _ratio(numerator: Array, denominator: Array) -> Array:
    out: Array = np.divide(numerator, denominator, out=np.full_like(numerator, np.nan), where=denominator != 0)
    return out


def _sums(values: Array, blocks: Blocks, n_blocks: int) -> Array:
    return np.bincount(blocks, weights=values, minlength=n_blocks).astype(np.float64)


def _mean_of(loss: Callable[[Scored], Array], after: Callable[[Array], Array] = lambda value: value) -> Metric:
    def metric(rows: Scored, blocks: Blocks, n_blocks: int) -> Prepared:
        total = _sums(loss(rows), blocks, n_blocks)
        count = _sums(np.ones(len(blocks)), blocks, n_blocks)
        return lambda weights: after(_ratio(weights @ total, weights @ count))

    return metric


def _log_loss(rows: Scored) -> Array:
    chance = np.clip(rows.prediction, _CLIP, 1 - _CLIP)
    return np.asarray(-(rows.label * np.log(chance) + (1 - rows.label) * np.log1p(-chance)))


def _confusion(ratio: Callable[[Array, Array, Array], tuple[Array, Array]]) -> Metric:
    def metric(rows: Scored, blocks: Blocks, n_blocks: int) -> Prepared:
        called, true = rows.prediction >= rows.threshold, rows.label == 1
        hits, false_alarms, misses = (
            _sums(part.astype(np.float64), blocks, n_blocks) for part in (called & true, called & ~true, ~called & true)
        )
        return lambda weights: _ratio(*ratio(weights @ hits, weights @ false_alarms, weights @ misses))

    return metric


def _roc_auc(rows: Scored, blocks: Blocks, n_blocks: int) -> Prepared:
    """Probability that a positive row is ranked above a negative one (Mann-Whitney), ties counting one half."""
    positive = rows.label == 1
    wins = np.zeros((n_blocks, n_blocks))
    ranked, owners = rows.prediction[positive], blocks[positive]
    for block in range(n_blocks):
        negatives = np.sort(rows.prediction[~positive & (blocks == block)])
        below = np.searchsorted(negatives, ranked, "left") + np.searchsorted(negatives, ranked, "right")
        wins[:, block] = _sums(below / 2.0, owners, n_blocks)
    positives = _sums(positive.astype(np.float64), blocks, n_blocks)
    negatives_count = _sums((~positive).astype(np.float64), blocks, n_blocks)
    return lambda weights: _ratio(
        np.einsum("rb,bc,rc->r", weights, wins, weights, optimize=True),
        (weights @ positives) * (weights @ negatives_count),
    )


def _average_precision(rows: Scored, blocks: Blocks, n_blocks: int) -> Prepared:
    """Mean precision over the recalled positives (the step-wise area, as scikit-learn defines it)."""
    del n_blocks
    order = np.argsort(-rows.prediction, kind="stable")
    label, block = rows.label[order], blocks[order]
    last = np.append(np.flatnonzero(np.diff(rows.prediction[order])), len(label) - 1)

    def resampled(weights: Array) -> Array:
        out = np.empty(len(weights))
        for index, weight in enumerate(weights):
            row_weight = weight[block]
            hits = np.cumsum(row_weight * label)[last]
            precision = _ratio(hits, np.cumsum(row_weight)[last])
            out[index] = np.nansum(np.diff(hits, prepend=0.0) * precision) / hits[-1] if hits[-1] else np.nan
        return out

    return resampled


def _r2(rows: Scored, blocks: Blocks, n_blocks: int) -> Prepared:
    count = _sums(np.ones(len(blocks)), blocks, n_blocks)
    centre = rows.label.mean() if len(rows.label) else 0.0  # shifting the label changes nothing but the rounding
    label = rows.label - centre
    first, second = _sums(label, blocks, n_blocks), _sums(label**2, blocks, n_blocks)
    error = _sums((rows.label - rows.prediction) ** 2, blocks, n_blocks)

    def resampled(weights: Array) -> Array:
        total = weights @ second - _ratio((weights @ first) ** 2, weights @ count)
        return 1.0 - _ratio(weights @ error, total)

    return resampled


METRICS: dict[str, Metric] = {
    "roc_auc": _roc_auc,
    "average_precision": _average_precision,
    "log_loss": _mean_of(_log_loss),
    "brier": _mean_of(lambda rows: np.asarray((rows.prediction - rows.label) ** 2)),
    "accuracy": _mean_of(lambda rows: ((rows.prediction >= rows.threshold) == (rows.label == 1)).astype(np.float64)),
    "precision": _confusion(lambda hits, false_alarms, misses: (hits, hits + false_alarms)),  # noqa: ARG005
    "recall": _confusion(lambda hits, false_alarms, misses: (hits, hits + misses)),  # noqa: ARG005
    "f1": _confusion(lambda hits, false_alarms, misses: (2 * hits, 2 * hits + false_alarms + misses)),
    "rmse": _mean_of(lambda rows: np.asarray((rows.prediction - rows.label) ** 2), np.sqrt),
    "mae": _mean_of(lambda rows: np.abs(rows.prediction - rows.label)),
    "r2": _r2,
}


def score(metric: str, rows: Scored) -> float:
    """Value of a metric over rows; not a finite number where it is not defined.

    That is without rows, with one class only, or where a label or prediction is none or too large to be squared.
    """
    return float(resampled(metric, rows, np.zeros(len(rows.label), dtype=np.int64), 1, np.ones((1, 1)))[0])


def resampled(metric: str, rows: Scored, blocks: Blocks, n_blocks: int, weights: Array) -> Array:
    """Value of a metric with the blocks weighted, for each row of weights, shape (n_resamples,)."""
    with np.errstate(over="ignore", invalid="ignore"):  # told by the value
        return METRICS[metric](rows, blocks, n_blocks)(weights)
