"""Write a network as an ONNX graph, by torch's exporter."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from expectations.errors import TrainingError

OPSET = 20


class _Answering(nn.Module):
    def __init__(self, network: nn.Module, last: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.network, self.last = network, last

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.last(self.network(features))


def to_onnx(network: nn.Module, last: Callable[[torch.Tensor], torch.Tensor], width: int) -> bytes:
    """Return a graph from ``features``, shape (rows, width), to ``prediction``: the same bytes for the same weights.

    Raises
    ------
    TrainingError
        If ONNX has no words for what the network does.
    """
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        path = Path(folder) / "model.onnx"
        warnings.simplefilter("ignore")  # it warns of itself, and of batches whose size is known while it looks
        try:
            torch.onnx.export(
                _Answering(network, last).eval(),
                (torch.zeros(2, width),),
                path,
                dynamo=False,
                opset_version=OPSET,
                input_names=["features"],
                output_names=["prediction"],
                dynamic_axes={"features": {0: "rows"}, "prediction": {0: "rows"}},
            )
        except RuntimeError as error:  # as the exporter's own errors are
            raise TrainingError(
                "a network of layers that torch's ONNX exporter knows",
                next(iter(str(error).splitlines()), type(error).__name__),
                "Write its `forward` by layers and functions that leave as ONNX",
            ) from error
        return path.read_bytes()
