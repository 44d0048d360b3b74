"""Runs trees of an XGBoost model from its JSON, without XGBoost: its margins to the last bit."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt

from expectations.errors import BundleError
from expectations.families import Matrix, Scores, Vector
from tasks.modelling.links import sigmoid, softmax_rows
from tasks.modelling.predictors import BatchPredictor

_AT_ONCE = 1 << 20
"""Pairs of a row and a tree that are walked at once, at most."""
_OBJECTIVES = {"binary:logistic": "sigmoid", "multi:softprob": "softmax", "reg:squarederror": "identity"}

Margins = npt.NDArray[np.float32]


class XGBoostTrees(BatchPredictor):
    """All trees are walked together, a level at a time; leaves are added up in order, in 32 bits, as XGBoost does.

    A row's values are rounded to 32 bits first, as XGBoost's own `DMatrix` does, and go left below a threshold;
    a missing value goes where the node says. Probabilities are made of margins in 64 bits.

    Parameters
    ----------
    content : bytes
        What `Booster.save_raw("json")` gives, of a `gbtree` without categories, whose margin begins at `base_score`
        as it stands (of a classifier of two classes, at 0: `base_score` 0.5).
    base_row : ndarray of shape (n_features,), optional
        The average training row, which contributions start from; zeros without one.
    any_base : bool
        Whether the margin of two classes may begin elsewhere, too: at the log-odds of `base_score`, in 32 bits, whose
        last bit may be another than XGBoost's.

    Raises
    ------
    BundleError
        If it is of another kind.
    """

    def __init__(self, content: bytes, base_row: Vector | None = None, *, any_base: bool = False) -> None:
        if base_row is not None:
            self.base_row = base_row
        learner = json.loads(content)["learner"]
        booster, settings = learner["gradient_booster"], learner["learner_model_param"]
        objective = learner["objective"]["name"]
        trees = booster["model"]["trees"] if booster["name"] == "gbtree" else []
        if objective not in _OBJECTIVES or not trees or any(any(tree["split_type"]) for tree in trees):
            raise BundleError(
                f"trees (gbtree) without categories, of {', '.join(_OBJECTIVES)}",
                f"{booster['name']} of {objective}",
                "Train again",
            )
        self._link = _OBJECTIVES[objective]
        self.width = int(settings["num_feature"])
        bases = np.array([float(each) for each in str(settings["base_score"]).strip("[]").split(",")], np.float32)
        outputs = max(1, int(settings["num_class"]))
        if self._link == "sigmoid":
            if bases.tolist() != [0.5] and not any_base:
                raise BundleError("a margin that begins at 0 (base_score 0.5)", f"{bases.tolist()}", "Train again")
            bases = -np.log(np.float32(1) / bases - np.float32(1))
        self._bases = np.resize(bases, outputs)
        of_tree = np.array(booster["model"]["tree_info"])
        self._of_output = [np.flatnonzero(of_tree == output) for output in range(outputs)]
        self._read(trees)

    def _read(self, trees: list[dict[str, Any]]) -> None:
        """Put the nodes of all trees behind each other; a leaf's children are itself."""
        sizes = [len(tree["left_children"]) for tree in trees]
        self._roots = np.cumsum([0, *sizes[:-1]])
        count = sum(sizes)
        self._feature, self._value = np.zeros(count, np.intp), np.zeros(count, np.float32)
        self._right_when_missing, self._children = np.zeros(count, np.bool_), np.empty(2 * count, np.intp)
        self._depth = 0
        for root, size, tree in zip(self._roots.tolist(), sizes, trees, strict=True):
            own = slice(root, root + size)
            left, right = (np.array(tree[name], np.intp) for name in ("left_children", "right_children"))
            leaf, here = left < 0, np.arange(size)
            self._feature[own] = np.where(leaf, 0, tree["split_indices"])
            self._value[own] = np.array(tree["split_conditions"], np.float32)
            self._right_when_missing[own] = ~np.array(tree["default_left"], np.bool_)
            self._children[2 * root : 2 * (root + size) : 2] = root + np.where(leaf, here, left)
            self._children[2 * root + 1 : 2 * (root + size) : 2] = root + np.where(leaf, here, right)
            level, reached = 0, np.zeros(1, np.intp)
            while (reached := reached[~leaf[reached]]).size:
                level, reached = level + 1, np.concatenate([left[reached], right[reached]])
            self._depth = max(self._depth, level)

    def margins(self, matrix: Matrix) -> Margins:
        """Return raw scores of shape (n_rows, n_outputs)."""
        if matrix.ndim != 2 or matrix.shape[1] != self.width:
            raise BundleError(f"{self.width} features in each row", f"shape {matrix.shape}", "Train again")
        with np.errstate(over="ignore"):
            rows = matrix.astype(np.float32)
        size = max(1, _AT_ONCE // len(self._roots))
        parts = [self._walked(rows[start : start + size]) for start in range(0, max(1, len(rows)), size)]
        return np.concatenate(parts)

    def _walked(self, rows: Margins) -> Margins:
        places, numbers = np.tile(self._roots, (len(rows), 1)), np.arange(len(rows))[:, None]
        for _ in range(self._depth):
            found = rows[numbers, self._feature[places]]
            right = ~(found < self._value[places])
            missing = np.isnan(found)
            if missing.any():
                right[missing] = self._right_when_missing[places[missing]]
            places = self._children[2 * places + right]
        leaves = self._value[places].T
        out = np.empty((len(rows), len(self._bases)), np.float32)
        for output, (trees, base) in enumerate(zip(self._of_output, self._bases, strict=True)):
            first = np.full((1, len(rows)), base, np.float32)
            # one after another, where a sum might add neighbours by halves
            out[:, output] = np.add.accumulate(np.concatenate([first, leaves[trees]]), axis=0)[-1]
        return out

    def predict(self, matrix: Matrix) -> Scores:
        """Predict rows of shape (n_rows, n_features)."""
        margins = self.margins(matrix).astype(np.float64)
        if self._link == "softmax":
            return softmax_rows(margins)
        alone = margins[:, 0]
        return np.array(sigmoid(alone.tolist()), np.float64) if self._link == "sigmoid" else alone
