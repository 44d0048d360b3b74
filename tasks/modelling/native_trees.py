"""Trees by LightGBM's own library, without its package."""

from __future__ import annotations

import ctypes
import importlib.util
import json
import struct
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from expectations.errors import BundleError
from expectations.families import Matrix, Scores, Vector

_FLOAT64, _ROW_MAJOR = 1, 1
_NORMAL, _RAW, _CONTRIBUTIONS = 0, 1, 3
_NAMES_BYTES = 1 << 16
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
