"""Runs ONNX graphs that others exported: one tensor of features or one a column, labels and probabilities or scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from expectations.errors import BundleError
from expectations.families import Matrix, Scores, Vector
from tasks.modelling.onnx_session import session_of
from tasks.modelling.predictors import BatchPredictor

if TYPE_CHECKING:
    import onnxruntime

NUMBERS: Mapping[str, type] = {"tensor(float)": np.float32, "tensor(double)": np.float64}
"""What features may come in as, and scores go out as."""
_LABELS = ("tensor(int64)", "tensor(string)")
_BY_CLASS = ("seq(map(int64,tensor(float)))", "seq(map(string,tensor(float)))")
"""Of sklearn-onnx's ZipMap: a mapping of class to probability for each row."""
_BEYOND = 1e-6
"""How far 32 bits may carry a probability past 1."""


class OnnxScores(BatchPredictor):
    """Runs a graph in one thread; of two classes it answers with the second one's probability.

    Parameters
    ----------
    content : bytes
        A graph that `tasks.modelling.onnx_files` took.
    base_row : ndarray of shape (n_features,), optional
        The average training row, which contributions start from; zeros without one.
    """

    def __init__(self, content: bytes, base_row: Vector | None = None) -> None:
        if base_row is not None:
            self.base_row = base_row
        self._session = session_of(content)
        self._output, _ = scores_output(self._session)
        inputs = self._session.get_inputs()
        self._width = int(inputs[0].shape[1]) if len(inputs) == 1 else len(inputs)
        self._count = self._run(np.zeros((1, self._width))).shape[1]

    def predict(self, matrix: Matrix) -> Scores:
        """Predict rows of shape (n_rows, n_features)."""
        scores = self._run(matrix) if len(matrix) else np.empty((0, self._count))
        if scores.shape[1] == 1:
            return scores[:, 0]
        scores = np.where((scores > 1) & (scores <= 1 + _BEYOND), 1.0, scores)
        return scores[:, 1] if scores.shape[1] == 2 else scores

    def _run(self, matrix: Matrix) -> Scores:
        if matrix.ndim != 2 or matrix.shape[1] != self._width:
            raise BundleError(f"{self._width} features in each row", f"shape {matrix.shape}", "Train again")
        return table_of_scores(self._session.run([self._output], feeds(self._session, matrix))[0])


def scores_output(session: onnxruntime.InferenceSession) -> tuple[str, bool]:
    """Return the name of the output that scores are, and whether a label stands beside it.

    Raises
    ------
    ValueError
        What its outputs are, where they are others.
    """
    outputs = session.get_outputs()
    labels = [each for each in outputs if each.type in _LABELS]
    scores = [each for each in outputs if each.type in NUMBERS or each.type in _BY_CLASS]
    if len(scores) != 1 or len(labels) > 1 or len(scores) + len(labels) != len(outputs):
        raise ValueError(", ".join(f"{each.name}: {each.type}" for each in outputs[:8]))
    return scores[0].name, bool(labels)


def feeds(session: onnxruntime.InferenceSession, matrix: Matrix) -> dict[str, Any]:
    """Return what a graph is given of rows: all of it, or a column for each input."""
    inputs = session.get_inputs()
    with np.errstate(over="ignore"):
        if len(inputs) == 1:
            return {inputs[0].name: matrix.astype(NUMBERS[inputs[0].type])}
        return {each.name: matrix[:, [at]].astype(NUMBERS[each.type]) for at, each in enumerate(inputs)}


def table_of_scores(found: Any) -> Scores:  # noqa: ANN401 - an array, or a list of dictionaries
    """Return scores of shape (n_rows, n_outputs): classes in ascending order, where they have names.

    Raises
    ------
    ValueError
        If there is no number for each class of each row.
    """
    if isinstance(found, list):
        return _of_mappings(found)
    table = np.asarray(found, np.float64)
    if table.ndim not in (1, 2):
        raise ValueError(f"scores of shape {table.shape}")
    return table[:, None] if table.ndim == 1 else table


def _of_mappings(rows: Sequence[Mapping[Any, float]]) -> Scores:
    classes = sorted(rows[0]) if rows else []
    if any(len(row) != len(classes) for row in rows):
        raise ValueError("other classes in one row than in another")
    return np.array([[row[each] for each in classes] for row in rows], np.float64)
