"""What ONNX Runtime raises over a graph that it does not load or run."""

from __future__ import annotations


def onnx_failures() -> tuple[type[Exception], ...]:
    """Return the exceptions to catch, which have no base of their own; asked where the runtime is needed anyway."""
    from onnxruntime.capi import onnxruntime_pybind11_state as failures

    return (
        failures.EPFail,
        failures.Fail,
        failures.InvalidArgument,
        failures.InvalidGraph,
        failures.InvalidProtobuf,
        failures.NotImplemented,
        failures.RuntimeException,
    )
