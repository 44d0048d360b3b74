"""Networks that others trained, as ONNX: loaded as they are, and released as a copy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from expectations.errors import TrainingError
from tasks.modelling.onnx_failures import onnx_failures

if TYPE_CHECKING:
    import onnxruntime

MODEL = "backbone.onnx"
SETTINGS = "backbone.json"


def load_graph(content: bytes) -> onnxruntime.InferenceSession:
    """Return a session of one thread.

    Raises
    ------
    TrainingError
        If ONNX Runtime does not load it.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except onnx_failures() as error:
        raise TrainingError(
            "a backbone that ONNX Runtime loads", str(error).splitlines()[0][:300], "Export it once more, as one file"
        ) from error
