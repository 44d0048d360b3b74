"""Small trees: of the loss, and of the odds of two periods by column."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from expectations.metrics import Array, Blocks

_FIT_ROWS = 30_000


def fit_trees(
    params: dict[str, Any], rounds: int, matrix: Array, target: Array, weight: Array, categories: list[int], seed: int
) -> Any:  # noqa: ANN401 - lightgbm ships no types
    """Fit a LightGBM booster on at most as many rows as suffice."""
    import lightgbm

    if len(matrix) > _FIT_ROWS:
        rows = np.random.default_rng(seed).choice(len(matrix), _FIT_ROWS, replace=False)
        matrix, target, weight = matrix[rows], target[rows], weight[rows]
    options = {"verbosity": -1, "num_threads": 1, "deterministic": True, "force_row_wise": True, "seed": seed}
    data = lightgbm.Dataset(
        matrix, target, weight=weight, categorical_feature=categories, params={"max_bin": 63, "verbosity": -1}
    )
    return lightgbm.train({**options, "max_bin": 63, **params}, data, rounds)


def cross_fit(
    old: Array, new: Array, weight: Array, folds: tuple[Blocks, Blocks], categories: list[int], seed: int
) -> tuple[Array, Array]:
    """Return log-odds of the second period by column, each row's from a fit without its block."""
    params = {"objective": "binary", "num_leaves": 2, "min_data_in_leaf": 30, "learning_rate": 0.15, "lambda_l2": 1.0}
    odds = np.zeros_like(old), np.zeros_like(new)
    for fold in (0, 1):
        one, other = folds[0] != fold, folds[1] != fold
        if not (one.any() and other.any()):
            continue
        matrix = np.concatenate([old[one], new[other]])
        target = np.repeat([0.0, 1.0], [int(one.sum()), int(other.sum())])
        balance = len(matrix) / 2
        weights = np.concatenate(
            [weight[one] * balance / max(weight[one].sum(), 1e-12), np.full(int(other.sum()), balance / other.sum())]
        )
        booster = fit_trees(params, 80, matrix, target, weights, categories, seed)
        for side, rows, found in ((old, ~one, odds[0]), (new, ~other, odds[1])):
            if rows.any():
                found[rows] = booster.predict(side[rows], pred_contrib=True)[:, :-1]
    return odds


def areas_of(old: Array, new: Array, weight: Array) -> Array:
    """Return the area of each column."""
    return np.array([_area(old[:, each], new[:, each], weight) for each in range(old.shape[1])])


def _area(old: Array, new: Array, weight: Array) -> float:
    """Return the area under the curve of scores that separate two periods; the rows of the first are weighted."""
    order = np.argsort(old, kind="stable")
    below = np.concatenate([[0.0], np.cumsum(weight[order])])
    ranks = below[np.searchsorted(old[order], new, "left")] + below[np.searchsorted(old[order], new, "right")]
    return float(ranks.mean() / (2 * below[-1])) if below[-1] > 0 else 0.5


def thin(rows: npt.NDArray[np.intp], most: int, random: np.random.Generator) -> npt.NDArray[np.intp]:
    """Return at most so many of the rows."""
    return rows if len(rows) <= most else np.sort(random.choice(rows, most, replace=False))


def effective_rows(weights: Array) -> float:
    """Return how many evenly weighted rows are as good (Kish 1965)."""
    squares = float((weights**2).sum())
    return float(weights.sum()) ** 2 / squares if squares > 0 else 0.0
