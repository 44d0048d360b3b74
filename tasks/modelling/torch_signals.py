"""Networks over features that follow each other, lags, a signal's samples or pixels: what is declared."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from expectations.errors import TrainingError
from expectations.families import Rows
from expectations.fields import WIDTH_AND_HEIGHT
from tasks.modelling.neural import Neural

Side = Annotated[int, Field(ge=1, le=512)]
Sides = Annotated[tuple[Side, Side], WIDTH_AND_HEIGHT]


class TorchCNN(Neural):
    """A convolutional network: features that are numbers are a signal, in the order they are declared, or a picture.

    Numbers must have no gaps (impute and scale them); embeddings of categories go to the last layer.
    """

    examples: ClassVar = (
        {"family": "torch.cnn", "channels": [8], "epochs": 3},
        {"family": "torch.cnn", "picture": [3, 1], "channels": [4], "augment": ["shift", "noise"], "epochs": 3},
    )
    network: ClassVar = "tasks.modelling.networks:convolutional"
    shape: ClassVar = ("channels", "kernel", "embedding", "picture")
    needs_numbers: ClassVar = True
    family: Literal["torch.cnn"]
    channels: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (16, 32)
    """Of each convolution; the signal, or the picture, is halved after each, and a signal averaged after the last."""
    kernel: Annotated[int, Field(ge=1, le=31)] = 3
    picture: Sides | None = None
    """Width and height, where the numbers are the pixels of one picture, as `pixels` makes them; without it they are a
    signal. Their channels follow from how many numbers there are."""
    augment: tuple[Literal["rotate", "shift", "crop", "flip", "noise"], ...] = ()
    """What each picture is changed by, anew in each epoch, as the network learns; never where it is judged or asked: by
    up to 15 degrees, by up to a tenth of a side, to its middle 80 to 100 %, left to right, by noise of 0.05 of the
    spread."""

    @model_validator(mode="after")
    def _augments_pictures(self) -> Self:
        if self.augment and self.picture is None:
            raise ValueError("augment is of pictures; say how large they are: picture: [28, 28]")
        return self

    @property
    def looks_at(self) -> tuple[int, int] | None:
        """Width and height of its picture."""
        return self.picture

    def refuse(self, train: Rows) -> None:
        """Refuse numbers that are no picture of the declared size."""
        if self.picture is not None:
            refuse_other_shapes(self.picture, train)


def refuse_other_shapes(picture: tuple[int, int], rows: Rows) -> None:
    """Refuse numbers that are not the pixels of one picture of this width and height, grey or in colours.

    Raises
    ------
    TrainingError
    """
    width, height = picture
    numbers = len(rows.features) - len(rows.categorical)
    if numbers not in (width * height, 3 * width * height):
        raise TrainingError(
            f"{width * height} or {3 * width * height} numbers, of a picture of {width} × {height} pixels",
            f"{numbers} features that are numbers",
            "Declare the `size` of the column as `picture`, and no other numbers among the features",
        )


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
