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
    return export(
        _Answering(network, last), torch.zeros(2, width), given=("features", ("rows",)), made=("prediction", ("rows",))
    )


def export(
    network: nn.Module,
    example: torch.Tensor,
    *,
    given: tuple[str, tuple[str, ...]],
    made: tuple[str, tuple[str, ...]],
) -> bytes:
    """Return the graph of a network from one tensor to one: the same bytes for the same weights.

    Parameters
    ----------
    example : Tensor
        Of the shape and kind that it takes.
    given, made : tuple of str and tuple of str
        Names of what it takes and of what it makes, and of their first axes, which may have any length.

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
                network.eval(),
                (example,),
                path,
                dynamo=False,
                opset_version=OPSET,
                input_names=[given[0]],
                output_names=[made[0]],
                dynamic_axes={name: dict(enumerate(axes)) for name, axes in (given, made)},
            )
        except RuntimeError as error:  # as the exporter's own errors are
            raise TrainingError(
                "a network of layers that torch's ONNX exporter knows",
                next(iter(str(error).splitlines()), type(error).__name__),
                "Write its `forward` by layers and functions that leave as ONNX",
            ) from error
        return path.read_bytes()
