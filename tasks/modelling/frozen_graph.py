"""Networks that others trained, as ONNX: loaded as they are, and released as a copy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from expectations.errors import TrainingError
from expectations.wording import one_line
from tasks.modelling.onnx_failures import onnx_failures
from tasks.modelling.onnx_session import session_of

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
    try:
        return session_of(content)
    except onnx_failures() as error:
        raise TrainingError(
            "a backbone that ONNX Runtime loads", one_line(error), "Export it once more, as one file"
        ) from error
