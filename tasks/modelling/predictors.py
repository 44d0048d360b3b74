"""Predictors of released models, light enough for the service: no torch, no lightgbm package, no pickle."""

from __future__ import annotations

import ctypes
import importlib.util
import json
import logging
import struct
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Literal

import numpy as np

from expectations.errors import BundleError
from expectations.families import Matrix, Score, Scores, Vector
from tasks.modelling.quickscorer import QuickScorer

_FLOAT64, _ROW_MAJOR = 1, 1
_NORMAL, _RAW, _CONTRIBUTIONS = 0, 1, 3
_PERMUTATIONS = 32
_NAMES_BYTES = 1 << 16
_PROBES, _TIMED, _MEASUREMENTS = 512, 100, 3
_log = logging.getLogger("driftwheel.modelling")
_ONE_THREAD = b"num_threads=1"


@cache
def _library() -> ctypes.CDLL:
    """LightGBM's shared library, without importing its Python package (which brings pandas and scikit-learn)."""
    spec = importlib.util.find_spec("lightgbm")
    if spec is None or not spec.submodule_search_locations:
        raise BundleError("the lightgbm package to run this model", "none installed", "Install lightgbm")
    root = Path(spec.submodule_search_locations[0])
    found = [path for folder in ("lib", "bin") for path in (root / folder).glob("lib_lightgbm.*")]
    library = ctypes.CDLL(str(found[0]))
    library.LGBM_GetLastError.restype = ctypes.c_char_p
    return library


def _check(status: int) -> None:
    if status:
        raise BundleError("a model LightGBM can run", _library().LGBM_GetLastError().decode(), "Train again")


def allow_threads(count: int) -> None:
    """Let LightGBM take so many threads at most, in all that this process does with it."""
    _check(_library().LGBM_SetMaxThreads(count))


@cache
def parameter_names() -> Mapping[str, Sequence[str]]:
    """Return LightGBM's parameters, and the other names of each."""
    length, text = ctypes.c_int64(), ctypes.create_string_buffer(_NAMES_BYTES)
    _check(_library().LGBM_DumpParamAliases(ctypes.c_int64(_NAMES_BYTES), ctypes.byref(length), text))
    found: dict[str, list[str]] = json.loads(text.value)
    return found


class NativeTrees:
    """Runs a LightGBM text model through the C API, single-threaded, bit-equal with ``Booster.predict``.

    LightGBM ends the process on a truncated text, so the caller checks the content hash first.
    """

    def __init__(self, text: str) -> None:
        library, count = _library(), ctypes.c_int()
        self._handle = ctypes.c_void_p()
        self._fast = ctypes.c_void_p()
        _check(library.LGBM_BoosterLoadModelFromString(text.encode(), ctypes.byref(count), ctypes.byref(self._handle)))
        _check(library.LGBM_BoosterGetNumFeature(self._handle, ctypes.byref(count)))
        self.width = count.value
        _check(
            library.LGBM_BoosterPredictForMatSingleRowFastInit(
                self._handle, _NORMAL, 0, -1, _FLOAT64, self.width, _ONE_THREAD, ctypes.byref(self._fast)
            )
        )
        self._row = np.zeros(self.width)
        self._buffer = memoryview(self._row.data).cast("B")
        self._pack = struct.Struct(f"{self.width}d").pack_into
        self._result = np.zeros(1)
        self._length = ctypes.c_int64()
        self._arguments = (
            self._fast,
            self._row.ctypes.data_as(ctypes.c_void_p),
            ctypes.byref(self._length),
            self._result.ctypes.data_as(ctypes.c_void_p),
        )
        self._lock = threading.Lock()

    def predict_row(self, values: list[float]) -> float:
        """Predict one row of `width` numbers."""
        with self._lock:  # the buffers are shared
            self._pack(self._buffer, 0, *values)
            _check(_library().LGBM_BoosterPredictForMatSingleRowFast(*self._arguments))
            return float(self._result[0])

    def predict(self, matrix: Matrix) -> Vector:
        """Predict rows of shape (n_rows, width)."""
        return self._run(matrix, _NORMAL, 1)[:, 0]

    def scores(self, matrix: Matrix) -> Vector:
        """Return raw scores of rows of shape (n_rows, width): sums of leaves."""
        return self._run(matrix, _RAW, 1)[:, 0]

    def contributions(self, matrix: Matrix) -> Matrix:
        """Return what each feature adds to the raw score, and last the expected raw score: exact Shapley values.

        Returns
        -------
        ndarray of shape (n_rows, width + 1)
            In log-odds for a classifier, in the label's unit for a regression; a row sums to its raw score. Path-
            dependent TreeSHAP, Lundberg et al. 2018 (arXiv:1802.03888), as LightGBM computes it.
        """
        return self._run(matrix, _CONTRIBUTIONS, self.width + 1)

    def _run(self, matrix: Matrix, kind: int, values: int) -> Matrix:
        matrix = np.ascontiguousarray(matrix, dtype=np.float64)
        if matrix.ndim != 2 or matrix.shape[1] != self.width:
            raise BundleError(f"{self.width} features in each row", f"shape {matrix.shape}", "Train again")
        out, length = np.empty((len(matrix), values)), ctypes.c_int64()
        if len(matrix):
            _check(
                _library().LGBM_BoosterPredictForMat(
                    self._handle,
                    matrix.ctypes.data_as(ctypes.c_void_p),
                    _FLOAT64,
                    ctypes.c_int32(matrix.shape[0]),
                    ctypes.c_int32(matrix.shape[1]),
                    _ROW_MAJOR,
                    kind,
                    0,
                    -1,
                    _ONE_THREAD,
                    ctypes.byref(length),
                    out.ctypes.data_as(ctypes.c_void_p),
                )
            )
        return out

    def __del__(self) -> None:
        if self._fast:
            _library().LGBM_FastConfigFree(self._fast)
        if self._handle:
            _library().LGBM_BoosterFree(self._handle)


class NativeClasses(NativeTrees):
    """Runs a LightGBM text model of several classes: a score for each."""

    def __init__(self, text: str, classes: int) -> None:
        super().__init__(text)
        self._classes = classes
        self._result = np.zeros(classes)
        self._arguments = (*self._arguments[:3], self._result.ctypes.data_as(ctypes.c_void_p))

    def predict_row(self, values: list[float]) -> list[float]:  # type: ignore[override] # a score for each class
        """Predict one row of `width` numbers."""
        with self._lock:  # the buffers are shared
            self._pack(self._buffer, 0, *values)
            _check(_library().LGBM_BoosterPredictForMatSingleRowFast(*self._arguments))
            found: list[float] = self._result.tolist()
            return found

    def predict(self, matrix: Matrix) -> Scores:
        """Predict rows of shape (n_rows, width); returns shape (n_rows, n_classes)."""
        return self._run(matrix, _NORMAL, self._classes)

    def scores(self, matrix: Matrix) -> Scores:
        """Return raw scores of rows of shape (n_rows, width); of shape (n_rows, n_classes)."""
        return self._run(matrix, _RAW, self._classes)

    def contributions(self, matrix: Matrix) -> Matrix:
        """Return contributions as `NativeTrees` does, of shape (n_rows, n_classes, width + 1)."""
        found = self._run(matrix, _CONTRIBUTIONS, self._classes * (self.width + 1))
        return found.reshape(len(found), self._classes, self.width + 1)


def native_trees(text: str) -> NativeTrees:
    """Return what runs a LightGBM text model: its head says of how many classes."""
    head = text.partition("\n\n")[0]
    classes = next((int(line[10:]) for line in head.splitlines() if line.startswith("num_class=")), 1)
    return NativeClasses(text, classes) if classes > 1 else NativeTrees(text)


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
    """Whether both say the same of rows, to the last bit; LightGBM answers where not, and it is told."""
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
    method = f"Shapley values sampled over {_PERMUTATIONS} permutations"

    @abstractmethod
    def predict(self, matrix: Matrix) -> Scores:
        """Predict rows of shape (n_rows, n_features)."""

    def predict_row(self, values: list[float]) -> Score:
        """Predict one row."""
        found: Score = self.predict(np.array([values]))[0].tolist()
        return found

    def contributions(self, matrix: Matrix) -> Matrix:
        """Estimate what each feature adds to the prediction, and last the prediction of a row of zeros.

        Shapley values sampled over permutations and their reverses (Castro et al. 2009, Mitchell et al. 2022,
        arXiv:2104.12199), against the row of zeros, which is the average one where features are standardised. A row
        sums to its prediction exactly; the shares are estimates, the same in every call.

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
        half = [random.permutation(width) for _ in range(_PERMUTATIONS // 2)]
        orders = [order for one in half for order in (one, one[::-1])]
        outputs = predict(matrix[:1]).shape[1]
        total = np.zeros((len(matrix), outputs, width + 1))
        for position, row in enumerate(matrix):
            steps = np.zeros((len(orders), width + 1, width))
            for number, order in enumerate(orders):
                for step, feature in enumerate(order, start=1):
                    steps[number, step:, feature] = row[feature]
            out = predict(steps.reshape(-1, width)).reshape(len(orders), width + 1, outputs)
            for number, order in enumerate(orders):
                total[position][:, order] += np.diff(out[number], axis=0).T / len(orders)
            total[position, :, width] = out[0, 0]
        return total


class OnnxPredictor(BatchPredictor):
    """Runs an ONNX model with one input (n_rows, n_features), float32, one thread.

    Its one output has the shape (n_rows, 1), or (n_rows, n_classes).
    """

    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
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
