"""How ONNX Runtime runs every graph here: on the processor, in one thread."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnxruntime


def session_of(content: bytes) -> onnxruntime.InferenceSession:
    """Return a session of one thread, which warns of nothing; raises what `onnx_failures` names."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
