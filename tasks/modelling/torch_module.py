"""A network of the use case's own as a model family: what is declared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, JsonValue, model_validator

from tasks.modelling.neural import Beside, Neural

if TYPE_CHECKING:
    from tasks.modelling.trainer import Network

_NAMES = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*"


class TorchModule(Neural):
    """A network of your own: a torch module in the use case's folder (once it is trusted) or an installed package.

    Numbers must have no gaps (impute and scale them). It is released as an ONNX graph: what answers has neither torch
    nor your code.
    """

    examples: ClassVar = (
        {"family": "torch.module", "module": "tasks.modelling.own_network:Smallest", "epochs": 3},
        {
            "family": "torch.module",
            "module": "tasks.modelling.own_network:Smallest",
            "arguments": {"hidden": 4},
            "epochs": 3,
            "optimizer": "adamw",
        },
    )
    network: ClassVar = "tasks.modelling.own_network:OwnNetwork"
    shape: ClassVar = ("module", "arguments")
    draws_weights: ClassVar = True
    takes_tokens: ClassVar = True
    family: Literal["torch.module"]
    module: Annotated[str, Field(pattern=rf"^{_NAMES}:{_NAMES}$")]
    """``module:Class``, made by ``Class(width, outputs, categories, **arguments)``: how many features and scores a row
    has, and of each feature that is a category its place and how many there are. Its `forward` takes features of shape
    (n_rows, width) and returns raw scores (n_rows, outputs): log-odds, a score for each class before softmax, or the
    value. A category is a whole number from 1 on, 0 where it is missing or was not learnt."""
    arguments: dict[str, JsonValue] = Field({})
    """Handed to the class by name."""

    @model_validator(mode="after")
    def _its_own_layers(self) -> Self:
        for field in ("dropout", "embedding"):
            if getattr(self, field):
                raise ValueError(f"{field} is of networks that are declared; give it to yours under `arguments`")
        return self

    @property
    def calls(self) -> tuple[str, ...]:
        """Its class."""
        return (self.module,)

    def builder(self, beside: Beside) -> Network:
        """Return what makes its network.

        Raises
        ------
        SourceError
            If the code of its folder is not trusted.
        TrainingError
            If its class is none; what it returns raises it where no network of the features comes of it.
        """
        from tasks.modelling.own_network import maker

        return maker(self.module, self.arguments, beside.code)
