"""A transformer over a table's columns as a model family: what is declared."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from tasks.modelling.neural import Neural


class TorchTransformer(Neural):
    """A transformer over a table's columns (FT-Transformer, Gorishniy et al. 2021): each feature is a token.

    Numbers must have no gaps (impute and scale them); categories get embeddings of the tokens' width.
    """

    examples: ClassVar = ({"family": "torch.transformer", "width": 8, "heads": 2, "layers": 1, "epochs": 3},)
    network: ClassVar = "tasks.modelling.networks:ColumnTransformer"
    shape: ClassVar = ("width", "heads", "layers")
    family: Literal["torch.transformer"]
    width: Annotated[int, Field(ge=2)] = 32
    """Numbers in a token."""
    heads: Annotated[int, Field(ge=1)] = 4
    layers: Annotated[int, Field(ge=1)] = 2
    optimizer: Literal["adam", "adamw", "sgd"] = "adamw"

    @model_validator(mode="after")
    def _even_heads(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width is a multiple of heads; found {self.width} and {self.heads}")
        if self.embedding is not None:
            raise ValueError("a category's token is as wide as every other; leave embedding out")
        return self
