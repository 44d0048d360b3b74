"""Linear models as a family: scikit-learn's logistic and ridge regression, released as plain numbers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np

from expectations.errors import TrainingError
from expectations.families import Family, Matrix, Report, Rows, Task, Vector
from expectations.fields import Positive
from tasks.modelling.additive import AdditivePredictor, Category, Link, NumberEffect, Terms
from tasks.modelling.importance import shares

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

MODEL = "linear.json"
LINKS: dict[Task, Link] = {
    "binary_classification": "sigmoid",
    "multiclass_classification": "softmax",
    "regression": "identity",
}
_MAX_ITERATIONS, _LOGISTIC_TOLERANCE, _RIDGE_TOLERANCE = 1000, 1e-8, 1e-10
_SAMPLE = 2000


class FittedLinear(AdditivePredictor):
    """A linear model that has learnt."""

    def __init__(self, terms: Terms, recipe: Linear, rows: Rows) -> None:
        super().__init__(terms)
        self.recipe, self._features = recipe, rows.features
        self._sample = rows.matrix[:: max(1, len(rows.matrix) // _SAMPLE)]

    def save(self, folder: Path) -> None:
        """Write weights and means as JSON."""
        (folder / MODEL).write_text(self.terms.to_json(), encoding="utf-8")

    def importance(self) -> dict[str, float]:
        """Deviation of what a feature adds to the raw score, over some 2,000 training rows; the mean of classes."""
        added = self.contributions(self._sample)
        spreads = added.reshape(len(added), -1, self.terms.width + 1)[:, :, :-1].std(axis=0).mean(axis=0)
        return shares(dict(zip(self._features, spreads.tolist(), strict=True)))


class Linear(Family):
    """Logistic regression (of two classes or several) and ridge regression of scikit-learn: the baseline of any model.

    It prepares the features itself, so that they may be those of trees: numbers are standardised, a missing one is the
    training mean and has a weight of its own, and each category of an `encode` step has one. `l2` is the strength of
    the penalty on squared weights: `alpha` of `Ridge`, one over `C` of `LogisticRegression`.
    """

    weighs: ClassVar = True
    examples: ClassVar = ({"family": "linear"}, {"family": "linear", "l2": 0.1})
    family: Literal["linear"]
    l2: Positive = 1.0

    def misfits(self, task: Task) -> dict[str, str]:
        """Return its name where it has no link for a task."""
        return {} if task in LINKS else {"family": f"linear has no link for {task}"}

    def fit(
        self, train: Rows, valid: Rows | None, *, seed: int, report: Report, start_from: Path | None = None
    ) -> FittedLinear:
        """Learn the best weights, which are the same wherever the search for them starts."""
        del valid, seed, report, start_from
        design = _design(train)
        weights, intercept = _solve(self.l2, design.matrix, train)
        return FittedLinear(_terms(design, weights, intercept, train), self, train)

    @classmethod
    def load(cls, folder: Path) -> AdditivePredictor:
        """Return a predictor of the weights in `folder`."""
        return AdditivePredictor(Terms.from_json((folder / MODEL).read_text(encoding="utf-8")))


class _Column(NamedTuple):
    """How a feature stands in the design.

    Attributes
    ----------
    start : int
        Its first column there: of a number its deviation and, where some are missing, whether it is; of a category one
        for each code.
    mean, scale : float
        Of a number.
    codes : ndarray or None
        Those of a category, a missing one last; None of a number.
    averages : ndarray
        Means of its columns in the design.
    """

    at: int
    start: int
    mean: float
    scale: float
    codes: Vector | None
    averages: Vector


class _Design(NamedTuple):
    """Training rows as the solver sees them, and the features' places in them."""

    matrix: Matrix | csr_matrix
    columns: list[_Column]


def _design(rows: Rows) -> _Design:
    """Standardise numbers, mark missing ones, and give each category a column.

    Features that are not known in any row that counts are left out.

    Raises
    ------
    TrainingError
        If numbers are too large to be added up.
    """
    from scipy import sparse

    weight = np.ones(len(rows.label)) if rows.weight is None else rows.weight
    blocks: list[Any] = []
    columns: list[_Column] = []
    start = 0
    for at, name in enumerate(rows.features):
        values = rows.matrix[:, at]
        gaps = np.isnan(values)
        if not weight[~gaps].any():
            continue
        codes, mean, scale = None, 0.0, 1.0
        if name in rows.categorical:
            codes, places = np.unique(values, return_inverse=True)
            ones = (np.ones(len(values)), (np.arange(len(values)), places))
            block = sparse.csr_matrix(ones, shape=(len(values), len(codes)))
            averages = np.bincount(places, weight, len(codes)) / weight.sum()
        else:
            with np.errstate(over="ignore", invalid="ignore"):
                mean = float(np.average(values[~gaps], weights=weight[~gaps]))
                away = np.where(gaps, 0.0, values - mean)
                scale = math.sqrt(np.average(away**2, weights=weight))
            if not np.isfinite([mean, scale]).all():
                raise TrainingError(
                    f"numbers in {name} that can be added up", "some that are too large", "Scale or clip them"
                )
            scale = scale or 1.0
            block = np.column_stack([away / scale, gaps]) if gaps.any() else (away / scale)[:, None]
            averages = np.average(block, axis=0, weights=weight)
            averages[0] = 0.0
        columns.append(_Column(at, start, mean, scale, codes, averages))
        blocks.append(block)
        start += block.shape[1]
    if not blocks:
        raise TrainingError("a feature with a value in some rows", "none", "Check `features`")
    dense = all(column.codes is None for column in columns)
    return _Design(np.hstack(blocks) if dense else sparse.csr_matrix(sparse.hstack(blocks)), columns)


def _solve(l2: float, matrix: Matrix | csr_matrix, rows: Rows) -> tuple[Matrix, Vector]:
    """Return weights of shape (n_columns, n_outputs) and intercepts of shape (n_outputs,)."""
    from sklearn.linear_model import LogisticRegression, Ridge

    if LINKS[rows.task] == "identity":
        with np.errstate(over="ignore", invalid="ignore"):
            spread = float(np.std(rows.label))
        if not math.isfinite(spread):
            raise TrainingError(
                "labels that can be squared and added up",
                "some that are too large",
                "Check the label, or compute a smaller one by its `expression`",
            )
        ridge = Ridge(alpha=l2, tol=_RIDGE_TOLERANCE).fit(matrix, rows.label, rows.weight)
        return ridge.coef_[:, None], np.array([ridge.intercept_])
    known = np.unique(rows.label)
    classes = max(2, len(rows.classes))
    if len(known) < classes:
        raise TrainingError(
            f"rows of all {classes} classes", f"rows of {len(known)}", "Check the label, or lengthen `model.window`"
        )
    logistic = LogisticRegression(C=1.0 / l2, max_iter=_MAX_ITERATIONS, tol=_LOGISTIC_TOLERANCE)
    logistic.fit(matrix, rows.label, rows.weight)
    weights, intercept = logistic.coef_.T, logistic.intercept_
    if LINKS[rows.task] == "softmax" and weights.shape[1] == 1:  # of two classes it says how far one is ahead
        halves = np.array([-0.5, 0.5])
        return weights * halves, intercept * halves
    return weights, intercept


def _terms(design: _Design, weights: Matrix, intercept: Vector, rows: Rows) -> Terms:
    """Return what each feature is worth, centred on its mean over the training rows."""
    numbers: list[NumberEffect] = []
    categories: list[Category] = []
    base = intercept.copy()
    for column in design.columns:
        own = weights[column.start : column.start + len(column.averages)]
        mean = column.averages @ own
        base += mean
        if column.codes is not None:
            worths, missing = own - mean, -mean
            codes = column.codes
            if np.isnan(codes[-1]):
                codes, worths, missing = codes[:-1], worths[:-1], worths[-1]
            categories.append(
                Category(column.at, tuple(codes.tolist()), tuple(map(tuple, worths.tolist())), *_plain(-mean, missing))
            )
        else:
            gap = own[1] if len(own) > 1 else np.zeros_like(mean)
            numbers.append(NumberEffect(column.at, column.mean, *_plain(own[0] / column.scale, -mean, gap - mean)))
    return Terms(LINKS[rows.task], len(rows.features), tuple(base.tolist()), tuple(numbers), tuple(categories))


def _plain(*vectors: Vector) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(vector.tolist()) for vector in vectors)
