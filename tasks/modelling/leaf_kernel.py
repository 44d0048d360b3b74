"""What each row that trees learnt from was worth to rows they had not seen: by the leaves that both fall into.

BoostIn (Brophy, Hammoudeh and Lowd 2023, Adapting and evaluating influence-estimation methods for gradient-boosted
decision trees, JMLR 24), which is TracIn (Pruthi et al. 2020) for boosted trees. A row moves the value of each leaf it
falls into; that moves the predictions of all rows in this leaf, and these want to be moved by the gradient of their
loss. So, to first order and with the splits as they are, the loss of the unseen rows falls by

    sum over trees of  rate * (g + h * leaf) / (H + l2)  *  G

with a row's gradient g and curvature h before the tree, each times the row's weight, the leaf's value (before `rate`),
the curvatures H of all that taught the leaf, and the gradients G of the unseen rows in it. It takes one pass over the
leaves: no two rows are ever compared.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from expectations.families import Matrix, Vector

Leaves = npt.NDArray[np.int64]
_TINY = 1e-12


def leaf_values(
    booster: Any,  # noqa: ANN401 - lightgbm ships no types
    learnt: tuple[Matrix, Vector],
    unseen: tuple[Matrix, Vector],
    *,
    trees: int,
    rate: float,
    classes: int,
    weight: Vector | None = None,
    l2: float = 0.0,
) -> Vector:
    """Return by how much each row that was learnt from lowered the mean loss of unseen rows.

    The loss is the log loss of classes, half the squared error of a number. Negative: the row did harm.

    Parameters
    ----------
    booster : lightgbm.Booster
        Of the objectives `binary`, `multiclass` or `regression`.
    learnt, unseen : tuple of ndarray of shape (n_rows, n_features) and (n_rows,)
        Features, and labels: numbers, or places among the classes.
    trees : int
        Rounds that count.
    rate : float
        Learning rate.
    classes : int
        How many; 0 of a regression.
    weight : ndarray of shape (n_learnt,), optional
        What each row that was learnt from counted; 1 each where not given. Unseen rows count alike.
    l2 : float
        What the trees were penalised by for large leaves (`lambda_l2`).
    """
    scored = classes if classes > 2 else 1
    mine, theirs = (
        booster.predict(rows, pred_leaf=True, num_iteration=trees).reshape(len(rows), -1).astype(np.int64)
        for rows, _ in (learnt, unseen)
    )
    counted = np.ones(len(mine)) if weight is None else weight
    start = _begin(learnt[1], counted, classes)
    scores, others = (np.tile(start, (len(label), 1)) for _, label in (learnt, unseen))
    value = np.zeros(len(mine))
    for tree in range(mine.shape[1]):
        column = tree % scored
        if column == 0:
            slopes, curves = (counted[:, None] * each for each in _slopes(scores, learnt[1], classes))
            wanted, _ = _slopes(others, unseen[1], classes)
        here, there = mine[:, tree], theirs[:, tree]
        leaves = int(max(here.max(), there.max())) + 1
        moved = np.array([booster.get_leaf_output(tree, leaf) for leaf in range(leaves)])
        if tree < scored:  # the first tree has the start in its leaves
            moved -= start[column]
        curved = np.bincount(here, curves[:, column], leaves) + l2 + _TINY
        pull = np.bincount(there, wanted[:, column], leaves) / curved
        value += rate * pull[here] * (slopes[:, column] + curves[:, column] * moved[here] / rate)
        scores[:, column] += moved[here]
        others[:, column] += moved[there]
    return value / len(theirs)


def _begin(label: Vector, weight: Vector, classes: int) -> Vector:
    """Return what LightGBM begins with, of weighted rows: the mean label, or the logarithm of each class's share."""
    if classes == 0:
        return np.array([np.average(label, weights=weight)])
    share = np.clip(np.bincount(label.astype(np.int64), weight, classes) / weight.sum(), _TINY, 1)
    return np.log(share) if classes > 2 else np.array([np.log(share[1] / share[0])])


def _slopes(scores: Matrix, label: Vector, classes: int) -> tuple[Matrix, Matrix]:
    """Return gradient and curvature of each row's loss by its scores, each of shape (n_rows, n_scores)."""
    if classes == 0:
        return scores - label[:, None], np.ones_like(scores)
    if classes == 2:
        chance = 1 / (1 + np.exp(-scores))
        return chance - label[:, None], chance * (1 - chance)
    shifted = np.exp(scores - scores.max(axis=1, keepdims=True))
    chance = shifted / shifted.sum(axis=1, keepdims=True)
    return chance - np.eye(classes)[label.astype(np.int64)], classes / (classes - 1) * chance * (1 - chance)
