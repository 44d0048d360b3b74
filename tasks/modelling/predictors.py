"""Predictors of released models, light enough for the service: no torch, no lightgbm package, no pickle."""

from __future__ import annotations

import ctypes
import importlib.util
import threading
from functools import cache
from pathlib import Path

import numpy as np

from expectations.errors import BundleError
from tasks.modelling.family import Matrix, Vector

_FLOAT64, _ROW_MAJOR, _NORMAL = 1, 1, 0
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


class TreePredictor:
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
            self._row[:] = values
            _check(_library().LGBM_BoosterPredictForMatSingleRowFast(*self._arguments))
            return float(self._result[0])

    def predict(self, matrix: Matrix) -> Vector:
        """Predict rows of shape (n_rows, width)."""
        matrix = np.ascontiguousarray(matrix, dtype=np.float64)
        if matrix.ndim != 2 or matrix.shape[1] != self.width:
            raise BundleError(f"{self.width} features in each row", f"shape {matrix.shape}", "Train again")
        out, length = np.empty(len(matrix)), ctypes.c_int64()
        if len(matrix):
            _check(
                _library().LGBM_BoosterPredictForMat(
                    self._handle,
                    matrix.ctypes.data_as(ctypes.c_void_p),
                    _FLOAT64,
                    ctypes.c_int32(matrix.shape[0]),
                    ctypes.c_int32(matrix.shape[1]),
                    _ROW_MAJOR,
                    _NORMAL,
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


class OnnxPredictor:
    """Runs an ONNX model with one input (n_rows, n_features) and one output (n_rows, 1), float32, one thread."""

    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
        self._name = self._session.get_inputs()[0].name

    def predict_row(self, values: list[float]) -> float:
        """Predict one row."""
        return float(self.predict(np.array([values], dtype=np.float64))[0])

    def predict(self, matrix: Matrix) -> Vector:
        """Predict rows of shape (n_rows, n_features)."""
        out = self._session.run(None, {self._name: matrix.astype(np.float32)})[0]
        return np.asarray(out, dtype=np.float64)[:, 0]


ReleasedPredictor = TreePredictor | OnnxPredictor


def load_predictor(folder: Path) -> ReleasedPredictor:
    """Load whichever released model lies in a folder.

    Raises
    ------
    BundleError
        If there is none.
    """
    if (folder / "model.txt").exists():
        return TreePredictor((folder / "model.txt").read_text(encoding="utf-8"))
    if (folder / "model.onnx").exists():
        return OnnxPredictor(folder / "model.onnx")
    raise BundleError("model.txt or model.onnx", f"neither in {folder.name}", "Train again")
