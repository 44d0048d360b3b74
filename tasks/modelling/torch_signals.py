"""Networks over features that follow each other, lags or a signal's samples: what is declared."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tasks.modelling.neural import Neural


class TorchCNN(Neural):
    """A 1-d convolutional network: features that are numbers are a signal, in the order they are declared.

    Numbers must have no gaps (impute and scale them); embeddings of categories go to the last layer.
    """

    examples: ClassVar = ({"family": "torch.cnn", "channels": [8], "epochs": 3},)
    network: ClassVar = "tasks.modelling.networks:SignalCNN"
    shape: ClassVar = ("channels", "kernel", "embedding")
    needs_numbers: ClassVar = True
    family: Literal["torch.cnn"]
    channels: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (16, 32)
    """Of each convolution; the signal is halved after each, and averaged after the last."""
    kernel: Annotated[int, Field(ge=1, le=31)] = 3


class TorchRNN(Neural):
    """A recurrent network: features that are numbers are steps in time, as they are declared (oldest first).

    Numbers must have no gaps (impute and scale them); embeddings of categories go to the last layer.
    """

    examples: ClassVar = (
        {"family": "torch.rnn", "width": 8, "epochs": 3},
        {"family": "torch.rnn", "cell": "lstm", "epochs": 2, "width": 8},
    )
    network: ClassVar = "tasks.modelling.networks:SignalRNN"
    shape: ClassVar = ("cell", "width", "layers", "embedding")
    needs_numbers: ClassVar = True
    family: Literal["torch.rnn"]
    cell: Literal["gru", "lstm"] = "gru"
    width: Annotated[int, Field(ge=1)] = 32
    layers: Annotated[int, Field(ge=1, le=8)] = 1
