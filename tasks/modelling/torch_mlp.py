"""A multi-layer perceptron as a model family: what is declared."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from tasks.modelling.neural import Neural


class TorchMLP(Neural):
    """A multi-layer perceptron. Numbers must have no gaps (impute and scale them); categories get embeddings."""

    examples: ClassVar = (
        {"family": "torch.mlp", "hidden": [16], "epochs": 3, "batch_size": 64},
        {
            "family": "torch.mlp",
            "hidden": [16],
            "epochs": 3,
            "dropout": 0.1,
            "normalisation": "batch",
            "schedule": "one_cycle",
            "clip": 1.0,
        },
    )
    network: ClassVar = "tasks.modelling.networks:Perceptron"
    shape: ClassVar = ("hidden", "activation", "normalisation", "embedding")
    family: Literal["torch.mlp"]
    hidden: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (64, 64)
    activation: Literal["relu", "tanh", "sigmoid", "gelu"] = "relu"
    normalisation: Literal["batch", "layer"] | None = None
    """What each hidden layer's sums go through: of the batch (Ioffe and Szegedy 2015) or the layer (Ba 2016)."""

    @model_validator(mode="after")
    def _deviations(self) -> Self:
        if self.normalisation == "batch" and self.batch_size < 2:
            raise ValueError("a batch of one row has no deviation; raise batch_size, or take normalisation: layer")
        if self.normalisation == "batch" and self.workers > 1:
            raise ValueError(
                "several workers know no deviation of a whole batch; take normalisation: layer, or one worker"
            )
        return self
