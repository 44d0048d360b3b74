"""What is declared of every torch family: how its network learns. torch is imported where it does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from expectations.code import Code
from expectations.families import Family, Fitted, Report, Rows, StopsEarly, Task
from expectations.fields import Positive, Strict
from expectations.named_parts import load_address
from tasks.modelling.predictors import OnnxPredictor

if TYPE_CHECKING:
    from tasks.modelling.fitted_network import FittedNetwork
    from tasks.modelling.trainer import Network

MODEL = "model.onnx"
_LOSSES = {
    "binary_classification": ("auto", "cross_entropy"),
    "multiclass_classification": ("auto", "cross_entropy"),
    "regression": ("auto", "mse", "mae", "huber"),
}
Kind = Literal["constant", "step", "cosine", "one_cycle", "plateau"]


class LearningRateSchedule(Strict):
    """How the learning rate changes as a network learns."""

    kind: Kind = "constant"
    every: Annotated[int, Field(ge=1)] = 10
    """Epochs between the drops of `step`; epochs without progress after which `plateau` drops."""
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """What a drop multiplies the learning rate by."""
    epochs: Annotated[int, Field(ge=1)] | None = None
    """Over how many epochs `cosine` and `one_cycle` are laid; the candidate's where not given. A recipe whose length
    was found keeps those it was found with."""
    drops: tuple[int, ...] | None = None
    """After which epochs `plateau` dropped; in a recipe whose length was found."""


class Beside(NamedTuple):
    """What a network may be made of beside its recipe.

    Attributes
    ----------
    features : tuple of str
        In the order of a row.
    code : Code, optional
        That of the use case's folder.
    folder : Path, optional
        Of the use case.
    """

    features: tuple[str, ...]
    code: Code | None
    folder: Path | None

    @classmethod
    def of(cls, rows: Rows) -> Beside:
        """Return that of rows."""
        return cls(rows.features, rows.code, rows.folder)


class Neural(StopsEarly):
    """A family of networks that learn by mini-batches."""

    dear: ClassVar = True
    weighs: ClassVar = True
    network: ClassVar[str]
    """Address of the module's class, ``module:Class``."""
    shape: ClassVar[tuple[str, ...]]
    """Fields that say which weights a network has."""
    needs_numbers: ClassVar[bool] = False
    """Whether it learns nothing from categories alone."""
    draws_weights: ClassVar[bool] = False
    """Whether a network draws its own first weights; else those of linear layers are drawn by the trainer."""

    loss: Literal["auto", "cross_entropy", "mse", "mae", "huber"] = "auto"
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Of `sgd`."""
    learning_rate: Positive = 0.001
    schedule: Kind | LearningRateSchedule = "constant"
    """How the learning rate changes: not at all, by drops, along half a cosine, up and down (Smith 2018,
    arXiv:1708.07120), or by drops where nothing gets better."""
    warm_up: Annotated[float, Field(ge=0)] = 0.0
    """Epochs in which the learning rate grows from nothing."""
    clip: Positive | None = None
    """Largest norm of a gradient; null for any."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    batch_size: Annotated[int, Field(ge=1)] = 32
    epochs: Annotated[int, Field(ge=1)] = 100
    patience: Annotated[int, Field(ge=1)] | None = 10
    """Epochs without progress before training stops; null trains all epochs."""
    workers: Annotated[int, Field(ge=1)] = 1
    """Processes that learn it together, each from its share of every batch's rows; see docs/many-machines.md."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    embedding: Annotated[int, Field(ge=1)] | None = None
    """Numbers that stand for a category of an `encode` step; where not given as many as its count of categories asks
    for: 1.6 · count^0.56, at most 50."""

    @model_validator(mode="after")
    def _one_way_up(self) -> Self:
        if self.warm_up and self.scheduled.kind == "one_cycle":
            raise ValueError("one_cycle begins low by itself; leave warm_up out")
        if self.momentum and self.optimizer != "sgd":
            raise ValueError(f"momentum is of sgd; {self.optimizer} has its own; leave it out")
        if self.workers > self.batch_size:
            raise ValueError(
                f"{self.workers} workers share batches of {self.batch_size} rows: some would have none; lower workers, "
                "or raise batch_size"
            )
        return self

    @property
    def scheduled(self) -> LearningRateSchedule:
        """The schedule with its numbers."""
        return (
            self.schedule
            if isinstance(self.schedule, LearningRateSchedule)
            else LearningRateSchedule(kind=self.schedule)
        )

    def misfits(self, task: Task) -> dict[str, str]:
        """Return the loss where it is of another task."""
        if task not in _LOSSES:
            return {"family": f"{self.family} has no loss for {task}"}
        return {} if self.loss in _LOSSES[task] else {"loss": f"{self.loss} does not fit {task}"}

    @property
    def length(self) -> int:
        """Its epochs."""
        return self.epochs

    def refuse(self, train: Rows) -> None:
        """Refuse rows that it cannot learn from.

        Raises
        ------
        TrainingError
        """

    def shortened(self) -> Self:
        """Return it with two epochs, and one worker."""
        return self.model_copy(update={"epochs": 2, "workers": 1})

    def continues(self, earlier: Family) -> bool:
        """Whether the earlier network has the same layers."""
        return type(earlier) is type(self) and all(getattr(self, f) == getattr(earlier, f) for f in self.shape)

    def part(self, share: float) -> Self:
        """Return it with a share of its epochs, its schedule laid over these."""
        schedule = self.scheduled.model_copy(update={"epochs": None, "drops": None})
        return self.model_copy(update={"epochs": max(1, round(share * self.epochs)), "schedule": schedule})

    def begins_with(self, folder: Path | None) -> bytes:
        """Return the digest of files that others made, which its network begins with; empty where there are none."""
        del folder
        return b""

    def builder(self, beside: Beside) -> Network:
        """Return what makes its network."""
        del beside
        made: Network = load_address(self.network)
        return made

    def fit(
        self, train: Rows, valid: Rows | None, *, seed: int, report: Report, start_from: Path | None = None
    ) -> Fitted:
        """Learn by mini-batches; see `Family.fit`. `start_from` begins with the weights of an earlier bundle."""
        from tasks.modelling import trainer

        build = self.builder(Beside.of(train))
        learnt = trainer.fit(self, build, train, valid, seed=seed, report=report, start_from=start_from)
        return self.released(learnt, train)

    def released(self, learnt: FittedNetwork, train: Rows) -> Fitted:
        """Return what has learnt as it is released; `train` is what it learnt from."""
        del train
        return learnt

    @classmethod
    def load(cls, folder: Path) -> OnnxPredictor:
        """Return a predictor of the ONNX graph in `folder`."""
        return OnnxPredictor(folder / MODEL)
