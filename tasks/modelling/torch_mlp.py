"""A multi-layer perceptron as a model family: what is declared. torch is imported where it learns."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field

from expectations.families import Family, Report, Rows, StopsEarly, Task
from expectations.fields import Positive
from tasks.modelling.predictors import OnnxPredictor

if TYPE_CHECKING:
    from tasks.modelling.perceptron import FittedPerceptron

MODEL = "model.onnx"
_LOSSES = {
    "binary_classification": ("auto", "cross_entropy"),
    "multiclass_classification": ("auto", "cross_entropy"),
    "regression": ("auto", "mse", "mae"),
}


class TorchMLP(StopsEarly):
    """A multi-layer perceptron. Its inputs must be numbers without gaps: impute, encode and scale them."""

    examples: ClassVar = ({"family": "torch.mlp", "hidden": [16], "epochs": 3, "batch_size": 64},)
    dear: ClassVar = True
    weighs: ClassVar = True
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

    def misfits(self, task: Task) -> dict[str, str]:
        """Return the loss where it is of another task."""
        if task not in _LOSSES:
            return {"family": f"torch.mlp has no loss for {task}"}
        return {} if self.loss in _LOSSES[task] else {"loss": f"{self.loss} does not fit {task}"}

    @property
    def length(self) -> int:
        """Its epochs."""
        return self.epochs

    def shortened(self) -> Self:
        """Return it with two epochs."""
        return self.model_copy(update={"epochs": 2})

    def continues(self, earlier: Family) -> bool:
        """Whether the earlier network has the same layers."""
        return isinstance(earlier, TorchMLP) and self.hidden == earlier.hidden and self.activation == earlier.activation

    def part(self, share: float) -> Self:
        """Return it with a share of its epochs."""
        return self.model_copy(update={"epochs": max(1, round(share * self.epochs))})

    def fit(
        self, train: Rows, valid: Rows | None, *, seed: int, report: Report, start_from: Path | None = None
    ) -> FittedPerceptron:
        """Learn by mini-batches; see `Family.fit`. `start_from` begins with the weights of an earlier bundle."""
        from tasks.modelling import perceptron

        return perceptron.fit(self, train, valid, seed=seed, report=report, start_from=start_from)

    @classmethod
    def load(cls, folder: Path) -> OnnxPredictor:
        """Return a predictor of the ONNX graph in `folder`."""
        return OnnxPredictor(folder / MODEL)
