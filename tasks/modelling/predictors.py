"""Predictors of released models, light enough for the service: no torch, no lightgbm package, no pickle."""

from __future__ import annotations

import logging
import math
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from expectations.families import Matrix, Score, Scores, Vector
from tasks.modelling.feature_groups import (
    CONTRIBUTION_RUNS,
    CONTRIBUTIONS_ALONE,
    PIXEL_CONTRIBUTIONS_ALONE,
    feature_groups,
)
from tasks.modelling.native_trees import NativeTrees, native_trees
from tasks.modelling.onnx_session import session_of
from tasks.modelling.quickscorer import QuickScorer

_PERMUTATIONS = 32
_STEP_BYTES = 8 * 1024 * 1024
"""Of rows that are predicted together where a row is explained: all of them at once, of a picture, are 400 MB."""
_PROBES, _TIMED, _MEASUREMENTS = 512, 100, 3
_log = logging.getLogger("driftwheel.modelling")


class TreePredictor:
    """Runs a LightGBM text model, equal to the last bit with ``Booster.predict``, by what is faster for it here.

    Attributes
    ----------
    native : NativeTrees
        LightGBM's own code.
    quick : QuickScorer, optional
        The same trees as bit vectors, where they are of a kind for that and faster so; one row has its own choice.
    holds_interpreter : bool
        Whether other threads get little of Python while some rows are predicted.
    """

    explains: Literal["score", "prediction"] = "score"
    method = "exact Shapley values of the trees"

    def __init__(self, text: str) -> None:
        self.native = native_trees(text)
        self.contributions = self.native.contributions
        self.quick: QuickScorer | None = None  # trees of several classes are LightGBM's own to run
        self.predict_row: Callable[[list[float]], Score] = self.native.predict_row
        self.predict: Callable[[Matrix], Scores] = self.native.predict
        quick = QuickScorer.of(text)
        if quick is not None and _agree(quick, self.native, rows := quick.probes(_PROBES)):
            some, ones = rows[:_TIMED], rows[:_TIMED].tolist()
            together = [processor_seconds(partial(each.predict, some)) for each in (quick, self.native)]
            singly = [processor_seconds(partial(_one_by_one, each, ones)) for each in (quick, self.native)]
            if together[0] < together[1]:
                self.quick, self.predict = quick, quick.predict
            if singly[0] < singly[1]:
                self.predict_row = quick.predict_row
        self.holds_interpreter = self.quick is not None


def _agree(quick: QuickScorer, native: NativeTrees, rows: Matrix) -> bool:
    """Whether both say the same of rows, to the last bit; LightGBM answers where not, and that is logged."""
    same = np.array_equal(quick.scores(rows), native.scores(rows))
    if same and np.array_equal(quick.predict(rows), native.predict(rows)):
        return True
    _log.error("bit vectors and LightGBM differ on the same trees: LightGBM answers alone; please report this model")
    return False


def _one_by_one(trees: QuickScorer | NativeTrees, rows: Sequence[list[float]]) -> list[Score]:
    return [trees.predict_row(row) for row in rows]


def processor_seconds(call: Callable[[], object]) -> float:
    """Return what a call takes of the processor, the best of a few."""
    taken = []
    for _ in range(_MEASUREMENTS):
        started = time.thread_time()
        call()
        taken.append(time.thread_time() - started)
    return min(taken)


class BatchPredictor(ABC):
    """What a model that predicts rows together needs beside that: one row, and what each feature adds."""

    holds_interpreter: bool = False
    explains: Literal["score", "prediction"] = "prediction"
    alone: int = CONTRIBUTIONS_ALONE
    """Features that have contributions of their own; of more, neighbours share theirs equally."""
    base_row: Vector | None = None
    """What contributions start from, shape (n_features,); None for zeros, the average of standardised features."""

    @property
    def method(self) -> str:
        """How contributions are found, in words: by `alone`, and what they start from."""
        against = "" if self.base_row is None else ", against the average training row"
        return (
            f"Shapley values sampled over {_PERMUTATIONS} permutations{against}; of more than {self.alone:,} features "
            f"{CONTRIBUTION_RUNS} runs of neighbours, of which each shares its value equally"
        )

    @abstractmethod
    def predict(self, matrix: Matrix) -> Scores:
        """Predict rows of shape (n_rows, n_features)."""

    def predict_row(self, values: list[float]) -> Score:
        """Predict one row."""
        found: Score = self.predict(np.array([values]))[0].tolist()
        return found

    def contributions(self, matrix: Matrix) -> Matrix:
        """Estimate what each feature adds to the prediction, and last the prediction of the base row.

        Shapley values sampled over permutations and their reverses (Castro et al. 2009, Mitchell et al. 2022,
        arXiv:2104.12199), against `base_row`: zeros, the average row where features are standardised, or the means of
        those that are not. A row sums to its prediction exactly; the shares are estimates, the same in every call. Of
        more features than `alone`, as the pixels of a picture, neighbours enter together and share equally what they
        add.

        Returns
        -------
        ndarray of shape (n_rows, n_features + 1), or (n_rows, n_classes, n_features + 1)
            In the unit of the prediction.
        """
        matrix = np.asarray(matrix, dtype=np.float64)
        if self.predict(matrix[:1]).ndim == 1:
            return self._contributions(matrix, lambda rows: self.predict(rows)[:, None])[:, 0]
        return self._contributions(matrix, self.predict)

    def _contributions(self, matrix: Matrix, predict: Callable[[Matrix], Scores]) -> Matrix:
        width = matrix.shape[1]
        random = np.random.default_rng(0)
        groups = feature_groups(width, alone=self.alone, runs=CONTRIBUTION_RUNS)
        number_of = len(groups)
        half = [random.permutation(number_of) for _ in range(_PERMUTATIONS // 2)]
        orders = [order for one in half for order in (one, one[::-1])]
        outputs = predict(matrix[:1]).shape[1]
        total = np.zeros((len(matrix), outputs, width + 1))
        base = np.zeros(width) if self.base_row is None else self.base_row
        for position, row in enumerate(matrix):
            out = _predicted_steps(row, base, groups, orders, predict, outputs)
            added = np.zeros((outputs, number_of))
            for number, order in enumerate(orders):
                added[:, order] += np.diff(out[number], axis=0).T / len(orders)
            for group, features in enumerate(groups):
                total[position][:, features] = added[:, [group]] / len(features)
            total[position, :, width] = out[0, 0]
        return total


def _predicted_steps(
    row: Matrix,
    base: Vector,
    groups: Sequence[npt.NDArray[np.intp]],
    orders: Sequence[npt.NDArray[np.intp]],
    predict: Callable[[Matrix], Scores],
    outputs: int,
) -> Scores:
    """Predict the base row and what it becomes as one group of features after the other enters, in each order.

    So many rows are predicted together as take `_STEP_BYTES`, but never one alone: that may be the work of other code,
    with other last bits.

    Returns
    -------
    ndarray of shape (n_orders, n_groups + 1, outputs)
    """
    each = len(groups) + 1
    out = np.empty((len(orders) * each, outputs))
    pieces = max(1, min(math.ceil(len(out) * row.nbytes / _STEP_BYTES), len(out) // 2))
    current = base.copy()
    for places in np.array_split(np.arange(len(out)), pieces):
        steps = np.empty((len(places), len(row)))
        for step, place in zip(steps, places.tolist(), strict=True):
            number, entered = divmod(place, each)
            if entered:
                group = groups[orders[number][entered - 1]]
                current[group] = row[group]
            else:
                current[:] = base
            step[:] = current
        out[places] = predict(steps)
    return out.reshape(len(orders), each, outputs)


class OnnxPredictor(BatchPredictor):
    """Runs an ONNX model with one input (n_rows, n_features), float32, one thread.

    Its one output has the shape (n_rows, 1), or (n_rows, n_classes).
    """

    def __init__(self, path: Path) -> None:
        import onnxruntime

        self._session = session_of(path.read_bytes())
        (given,), (made,) = self._session.get_inputs(), self._session.get_outputs()
        self._name, self._made = given.name, made.name
        # one row is bound once: naming and checking arrays in every call costs more than a small network does
        self._row, self._result = np.zeros((1, given.shape[1]), np.float32), np.zeros((1, made.shape[1]), np.float32)
        self._several = made.shape[1] > 1
        self._binding = self._session.io_binding()
        for bind, name, array in (
            (self._binding.bind_ortvalue_input, given.name, self._row),
            (self._binding.bind_ortvalue_output, made.name, self._result),
        ):
            bind(name, onnxruntime.OrtValue.ortvalue_from_numpy(array))
        self._lock = threading.Lock()

    def explain_pixels(self) -> None:
        """Explain features as the pixels of a picture: neighbours together, where they are many."""
        self.alone = PIXEL_CONTRIBUTIONS_ALONE

    def predict_row(self, values: list[float]) -> Score:
        """Predict one row."""
        with self._lock:  # the buffers are shared
            self._row[0] = values
            self._session.run_with_iobinding(self._binding)
            if not self._several:
                return float(self._result[0, 0])
            found: list[float] = self._result[0].tolist()
            return found

    def predict(self, matrix: Matrix) -> Scores:
        """Predict rows of shape (n_rows, n_features)."""
        out = np.asarray(self._session.run([self._made], {self._name: matrix.astype(np.float32)})[0], dtype=np.float64)
        return out if self._several else out[:, 0]
