"""Runs what files of other libraries were translated into: weights, or trees as LightGBM's; without those libraries."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from expectations.errors import BundleError
from expectations.families import Predictor, Score, Vector
from tasks.modelling.additive import AdditivePredictor, NumberEffect, Terms
from tasks.modelling.lightgbm_text import PlainTree, lightgbm_text
from tasks.modelling.predictors import TreePredictor

_OBJECTIVES = {"sigmoid": "binary sigmoid:1", "softmax": "multiclass num_class:{}", "identity": "regression"}

Link = Literal["sigmoid", "softmax", "identity"]


def of_terms(terms: Terms, *, fills: bool) -> bytes:
    """Return weights as `translated` reads them.

    Parameters
    ----------
    fills : bool
        Whether they say what a missing value is worth; else it is worth what the average row's is.
    """
    return json.dumps({"terms": terms.to_json(), "fills": fills}).encode()


def of_trees(trees: Sequence[PlainTree], outputs: int, width: int, link: Link, *, probabilities: bool) -> bytes:
    """Return trees as `translated` reads them.

    Parameters
    ----------
    probabilities : bool
        Whether leaves add up to probabilities as they are, so that nothing is explained in log-odds.
    """
    objective = "" if link == "identity" and outputs > 1 else _OBJECTIVES[link].format(outputs)
    text = lightgbm_text(trees, outputs, width, objective)
    return json.dumps({"trees": text, "explains": "prediction" if probabilities else "score"}).encode()


def translated(content: bytes, base_row: Vector) -> Predictor:
    """Return what runs a translation.

    Parameters
    ----------
    base_row : ndarray of shape (n_features,)
        The average training row, which contributions of weights start from.

    Raises
    ------
    BundleError
        If it is none.
    """
    said = json.loads(content)
    if "terms" in said:
        return AdditivePredictor(_centred(Terms.from_json(said["terms"]), base_row, fills=said.get("fills", True)))
    if "trees" not in said:
        raise BundleError("weights or trees", f"{', '.join(said)}", "Train again")
    return _Probabilities(said["trees"]) if said["explains"] == "prediction" else TreePredictor(said["trees"])


class _Probabilities(TreePredictor):
    """Trees whose leaves are shares of a probability: of many the sum may end a little above 1, as 64 bits add."""

    explains = "prediction"

    def __init__(self, text: str) -> None:
        super().__init__(text)
        rows, row = self.predict, self.predict_row
        self.predict = lambda matrix: np.minimum(rows(matrix), 1.0)
        self.predict_row = lambda values: _at_most_one(row(values))


def _at_most_one(score: Score) -> Score:
    return [min(each, 1.0) for each in score] if isinstance(score, list) else min(score, 1.0)


def _centred(terms: Terms, base_row: Vector, *, fills: bool) -> Terms:
    """Return the same model, each number's worth counted from the average training row."""
    base, numbers = np.array(terms.base), []
    for each in terms.numbers:
        mean = float(base_row[each.at])
        moved = (mean - each.mean) * np.array(each.weights) if math.isfinite(mean) else np.zeros(len(base))
        base = base + moved
        missing = tuple((np.array(each.missing) - moved).tolist()) if fills else (0.0,) * len(base)
        mean = mean if math.isfinite(mean) else each.mean
        numbers.append(NumberEffect(each.at, mean, each.weights, each.present, missing))
    return terms._replace(base=tuple(base.tolist()), numbers=tuple(numbers))
