"""Models that add up what each feature is worth, run in plain floats and NumPy: no scikit-learn, no pickle."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import numpy as np

from expectations.errors import BundleError
from expectations.families import Matrix, Score, Scores
from tasks.modelling.links import sigmoid, softmax

Link = Literal["identity", "sigmoid", "softmax"]
_BLOCK_SCORES = 1 << 20
"""Scores that are added up at once, at most."""


class NumberEffect(NamedTuple):
    """What a number is worth: ``(value - mean) * weight + present``, or `missing`; one of each for each output."""

    at: int
    mean: float
    weights: tuple[float, ...]
    present: tuple[float, ...]
    missing: tuple[float, ...]


class Category(NamedTuple):
    """What the code of a category is worth: a row of `worths`, or `other` where it is none of `codes`.

    Attributes
    ----------
    codes : tuple of float
        Ascending; at least one.
    missing : tuple of float
        What a missing code is worth.
    """

    at: int
    codes: tuple[float, ...]
    worths: tuple[tuple[float, ...], ...]
    other: tuple[float, ...]
    missing: tuple[float, ...]


class Terms(NamedTuple):
    """A model that adds up what features are worth.

    Attributes
    ----------
    width : int
        Features of a row.
    base : tuple of float
        The raw score of each output where all features are worth nothing.
    numbers, categories : tuple
        In the order in which they are added.
    """

    link: Link
    width: int
    base: tuple[float, ...]
    numbers: tuple[NumberEffect, ...]
    categories: tuple[Category, ...]

    def to_json(self) -> str:
        """Write it; floats are read again to the last bit."""
        kept = {
            **self._asdict(),
            "numbers": [number._asdict() for number in self.numbers],
            "categories": [category._asdict() for category in self.categories],
        }
        return json.dumps(kept, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Terms:
        """Read it.

        Raises
        ------
        BundleError
            If it is none.
        """
        try:
            kept: dict[str, Any] = json.loads(text, object_hook=_tuples)
            numbers = tuple(NumberEffect(**each) for each in kept.pop("numbers"))
            return cls(numbers=numbers, categories=tuple(Category(**each) for each in kept.pop("categories")), **kept)
        except (ValueError, TypeError, KeyError) as error:
            raise BundleError("the weights of a linear model", f"what is none: {error}", "Train again") from error


def _tuples(found: dict[str, Any]) -> dict[str, Any]:
    return {key: _tuple(value) for key, value in found.items()}


def _tuple(value: Any) -> Any:  # noqa: ANN401 - whatever JSON holds
    return tuple(map(_tuple, value)) if isinstance(value, list) else value


class AdditivePredictor:
    """Runs `Terms`: a row's worths are added in one order, alone or among many, so that both agree to the last bit.

    Attributes
    ----------
    terms : Terms
    """

    holds_interpreter = True
    explains: Literal["score", "prediction"] = "score"
    method = "exact: each weight times the distance from the training mean"

    def __init__(self, terms: Terms) -> None:
        self.terms, self.outputs = terms, len(terms.base)
        self._means = [(each.at, each.mean) for each in terms.numbers]
        self._places = [each.at for each in terms.categories]
        self._outputs = [
            (
                base,
                [(each.weights[at], each.present[at], each.missing[at]) for each in terms.numbers],
                [(_table(each, at), each.other[at], each.missing[at]) for each in terms.categories],
            )
            for at, base in enumerate(terms.base)
        ]

    def predict_row(self, values: list[float]) -> Score:
        """Predict one row."""
        away = [values[at] - mean for at, mean in self._means]
        codes = [values[at] for at in self._places]
        scores = []
        for base, numbers, categories in self._outputs:
            score = base
            for value, (weight, present, missing) in zip(away, numbers):  # noqa: B905 - asking costs as much as adding
                score += value * weight + present if value == value else missing  # NaN alone is not itself
            for code, (table, other, missing) in zip(codes, categories):  # noqa: B905
                score += table.get(code, other) if code == code else missing
            scores.append(score)
        if self.terms.link == "softmax":
            return softmax(scores)
        return sigmoid(scores)[0] if self.terms.link == "sigmoid" else scores[0]

    def predict(self, matrix: Matrix) -> Scores:
        """Predict rows of shape (n_rows, width)."""
        scores = self.scores(matrix)
        if self.terms.link == "softmax":
            found = np.array(list(map(softmax, scores.tolist())), dtype=np.float64)
            return found.reshape(scores.shape)
        alone = scores[:, 0]
        return np.array(sigmoid(alone.tolist()), dtype=np.float64) if self.terms.link == "sigmoid" else alone

    def scores(self, matrix: Matrix) -> Matrix:
        """Return raw scores of shape (n_rows, n_outputs)."""
        size = max(1, _BLOCK_SCORES // self.outputs)
        parts = [self._block(matrix[start : start + size]) for start in range(0, max(1, len(matrix)), size)]
        return np.concatenate(parts)

    def _block(self, matrix: Matrix) -> Matrix:
        if matrix.ndim != 2 or matrix.shape[1] != self.terms.width:
            raise BundleError(f"{self.terms.width} features in each row", f"shape {matrix.shape}", "Train again")
        scores: Matrix = np.tile(np.array(self.terms.base), (len(matrix), 1))
        with np.errstate(over="ignore", invalid="ignore"):
            for _, worths in self._worths(matrix):
                scores += worths
        return scores

    def _worths(self, matrix: Matrix) -> Iterator[tuple[int, Matrix]]:
        """Yield features, and what their values are worth: shape (n_rows, n_outputs)."""
        for number in self.terms.numbers:
            column = matrix[:, number.at]
            found = (column - number.mean)[:, None] * np.array(number.weights) + np.array(number.present)
            found[np.isnan(column)] = number.missing
            yield number.at, found
        for category in self.terms.categories:
            column, codes = matrix[:, category.at], np.array(category.codes)
            places = np.minimum(np.searchsorted(codes, column), len(codes) - 1)
            table = np.array([*category.worths, category.other])
            found = table[np.where(codes[places] == column, places, len(codes))]
            found[np.isnan(column)] = category.missing
            yield category.at, found

    def contributions(self, matrix: Matrix) -> Matrix:
        """Return what each feature adds to the raw score, and last the mean raw score of the training rows.

        A row sums to its raw score; a feature's mean over the training rows is zero. They are the exact Shapley values
        of features that vary independently (Lundberg and Lee 2017, arXiv:1705.07874).

        Returns
        -------
        ndarray of shape (n_rows, width + 1), or (n_rows, n_classes, width + 1)
        """
        found = np.zeros((len(matrix), self.outputs, self.terms.width + 1))
        for at, worths in self._worths(matrix):
            found[:, :, at] = worths
        found[:, :, -1] = self.terms.base
        return found if self.outputs > 1 else found[:, 0]


def _table(category: Category, output: int) -> dict[float, float]:
    return {code: worths[output] for code, worths in zip(category.codes, category.worths, strict=True)}
