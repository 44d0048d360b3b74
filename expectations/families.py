"""Model families and their options, and which of them compete."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    Field,
)

from expectations.fields import Positive, Span, Strict


class LightGBM(Strict):
    """Gradient-boosted trees. Names are LightGBM's ideas in plain words; `params` passes its own on."""

    family: Literal["lightgbm"]
    rounds: Annotated[int, Field(ge=1)] = 200
    learning_rate: Positive = 0.1
    leaves: Annotated[int, Field(ge=2)] = 31
    min_rows_in_leaf: Annotated[int, Field(ge=1)] = 20
    feature_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    l2: Annotated[float, Field(ge=0)] = 0.0
    patience: Annotated[int, Field(ge=1)] | None = 20
    """Rounds without progress before training stops; null trains all rounds."""
    params: dict[str, float | int | str | bool] = Field({})


class TorchMLP(Strict):
    """A multi-layer perceptron. Its inputs must be numbers without gaps: impute, encode and scale them."""

    family: Literal["torch.mlp"]
    hidden: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (64, 64)
    activation: Literal["relu", "tanh", "sigmoid", "gelu"] = "relu"
    loss: Literal["auto", "cross_entropy", "mse", "mae"] = "auto"
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: Positive = 0.001
    batch_size: Annotated[int, Field(ge=1)] = 32
    epochs: Annotated[int, Field(ge=1)] = 100
    patience: Annotated[int, Field(ge=1)] | None = 10
    """Epochs without progress before training stops; null trains all epochs."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0


Candidate = Annotated[LightGBM | TorchMLP, Field(discriminator="family")]


class LastWindow(Strict):
    """Train on the newest rows only."""

    last: Span


class Model(Strict):
    """Which recipes compete, and on which rows they learn."""

    candidates: Annotated[tuple[Candidate, ...], Field(min_length=1)]
    window: Literal["expanding"] | LastWindow = "expanding"
    validation: Annotated[float, Field(gt=0, lt=0.5)] = 0.15
    """Newest share of the training rows kept for early stopping and the choice among candidates."""
    seed: int = 0
