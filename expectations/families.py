"""What a model family is, and which of them compete.

A family is declared among the candidates, learns from rows, and runs what it released.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Protocol, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from expectations.code import Code
from expectations.fields import Positive, PositiveSpan, Span, Strict
from expectations.named_parts import NameOf
from expectations.parts import Part
from expectations.searching import Search
from expectations.slots import CALIBRATIONS, FAMILIES

Matrix = npt.NDArray[np.float64]
Vector = npt.NDArray[np.float64]
Scores = npt.NDArray[np.float64]
"""Predictions: shape (n_rows,), or (n_rows, n_classes) where each class has one."""
Score = float | list[float]
"""The prediction for a row."""
Task = str
"""Name of a problem, see `expectations.problems`."""

#: Receives (step, metric -> value) while a model learns.
Report = Callable[[int, Mapping[str, float]], None]


@dataclass(frozen=True)
class Rows:
    """Rows a model learns from.

    Attributes
    ----------
    matrix : ndarray of shape (n_rows, n_features)
        Missing values as NaN.
    label : ndarray of shape (n_rows,)
        0, 1, … for a classifier, the value itself for a regression.
    features, categorical : tuple of str
        Names of the columns of `matrix`, and those that hold category codes.
    task : str
    classes : tuple of str
        Names of the label's codes, in their order; empty where it is a value.
    weight : ndarray of shape (n_rows,), optional
        What each row counts, 1 as a mean; None where all count alike.
    code : Code, optional
        That of the use case's folder, for a family that runs some of it.
    folder : Path, optional
        Of the use case, for a family that begins with a file of it.
    """

    matrix: Matrix
    label: Vector
    features: tuple[str, ...]
    categorical: tuple[str, ...]
    task: Task
    classes: tuple[str, ...] = ()
    weight: Vector | None = None
    code: Code | None = None
    folder: Path | None = None


class Predictor(Protocol):
    """Runs a released model. `tasks.modelling.predictors.BatchPredictor` has all but `predict`.

    Attributes
    ----------
    holds_interpreter : bool
        Whether other threads get little of Python while some rows are predicted.
    explains : {"score", "prediction"}
        What contributions of features add up to: the raw score (of a classifier in log-odds), or the prediction.
    method : str
        How contributions are found, in words.
    """

    @property
    def holds_interpreter(self) -> bool: ...  # noqa: D102 - said above

    @property
    def explains(self) -> Literal["score", "prediction"]: ...  # noqa: D102

    @property
    def method(self) -> str: ...  # noqa: D102

    def predict(self, matrix: Matrix) -> Scores:
        """Return scores: one number for each row, or one for each class; see `expectations.problems`."""

    def predict_row(self, values: list[float]) -> Score:
        """Predict one row."""

    def contributions(self, matrix: Matrix) -> Matrix:
        """Return what each feature adds, and last what a row of no features has.

        Shape (n_rows, n_features + 1), or (n_rows, n_classes, n_features + 1) where each class has a score.
        """


class Fitted(Protocol):
    """A model that has learnt."""

    @property
    def recipe(self) -> Family:
        """The candidate as declared, its length set to the one found best: fitting it needs no validation rows."""

    def predict(self, matrix: Matrix) -> Scores:
        """Return scores: one number for each row, or one for each class; see `expectations.problems`."""

    def save(self, folder: Path) -> None:
        """Write the released files into a folder."""

    def importance(self) -> dict[str, float]:
        """Feature -> share of the model's work, summing to one."""


class Family(Part):
    """A model family, as declared among the candidates.

    Attributes
    ----------
    dear : bool
        Whether fitting it takes long enough that a trial takes a small twin in its place.
    weighs : bool
        Whether it learns from `Rows.weight`.
    takes_tokens : bool
        Whether it may learn from places in a vocabulary, which `tokens` makes.
    learns : bool
        Whether it makes another model of other rows; one that does not may be the first champion, and challenges none.
    """

    dear: ClassVar[bool] = False
    weighs: ClassVar[bool] = False
    takes_tokens: ClassVar[bool] = False
    learns: ClassVar[bool] = True
    family: str

    @property
    def calls(self) -> tuple[str, ...]:
        """Addresses of what it runs of the use case's folder or an installed package, ``module:Class``."""
        return ()

    def misfits(self, task: Task) -> Mapping[str, str]:
        """Return the fields that do not fit a task, and why; none where it can learn."""
        del task
        return {}

    def takes_as_numbers(self) -> Mapping[str, Sequence[str]]:
        """Return the features that fields name, by field: they have to be numbers, and not codes of categories."""
        return {}

    @property
    def looks_at(self) -> tuple[int, int] | None:
        """Width and height of the one picture that its features have to be the pixels of; None where they need not."""
        return None

    @property
    def reads_text(self) -> str | None:
        """The column of texts whose tokens have to be among its features; None where none have to."""
        return None

    @property
    def stops_early(self) -> bool:
        """Whether it wants validation rows to find its length."""
        return False

    @property
    def length(self) -> int | None:
        """How often it reports while it learns, at most; None where that is not known before."""
        return None

    def settled(self) -> Self:
        """Return it at its declared length: it stops no earlier."""
        return self

    def shortened(self) -> Self:
        """Return it at a length for a trial, where only its working is of interest."""
        return self

    def progress(self, values: Mapping[str, float]) -> float | None:
        """Return how it goes, smaller where it is better, of what it reported with validation rows; None if unknown."""
        return values.get("valid_loss")

    def continues(self, earlier: Family) -> bool:
        """Whether `fit` goes on from what another candidate learnt, by `start_from`."""
        del earlier
        return False

    def part(self, share: float) -> Self:
        """Return it at a share of its length, to go on from an earlier model."""
        del share
        return self

    @abstractmethod
    def fit(
        self, train: Rows, valid: Rows | None, *, seed: int, report: Report, start_from: Path | None = None
    ) -> Fitted:
        """Learn; with `valid` stop early where declared; go on from the bundle in `start_from`.

        Raises
        ------
        TrainingError
            If it cannot learn from these rows.
        """

    @classmethod
    @abstractmethod
    def load(cls, folder: Path) -> Predictor:
        """Return a predictor of the files that `Fitted.save` wrote.

        Raises
        ------
        BundleError
            If they hold no model it can run.
        """


class StopsEarly(Family):
    """A family that may end before its declared length, where nothing gets better."""

    patience: Annotated[int, Field(ge=1)] | None = None
    """How long without progress until training stops; null trains to the declared length."""

    @property
    def stops_early(self) -> bool:
        """Whether a lack of progress ends it."""
        return self.patience is not None

    def settled(self) -> Self:
        """Return it without patience."""
        return self.model_copy(update={"patience": None})


class LastWindow(Strict):
    """Train on the newest rows only."""

    last: Span


class RowWeights(Strict):
    """How much each row counts where a model learns; what is measured counts every row alike."""

    column: str | None = None
    """A column of numbers from 0 on: the row counts for as many."""
    half_life: PositiveSpan | None = None
    """A row this much older than the newest one counts half."""
    classes: Literal["balanced"] | dict[str, Positive] | None = None
    """What each row of a class counts, 1 where it is not named; `balanced`: all classes count alike. Probabilities are
    brought back to the classes' own shares behind the model."""

    @model_validator(mode="after")
    def _by_something(self) -> Self:
        if self.column is None and self.half_life is None and not self.classes:
            raise ValueError("weights needs column, half_life or classes")
        return self


class WarmStart(Strict):
    """How a model goes on from the champion's."""

    length: Annotated[float, Field(gt=0, le=1)] = 0.25
    """Share of the candidate's rounds or epochs that it goes on for."""
    max_forgotten: Annotated[float, Field(ge=0)] = 0.1
    """How much more it may lose than the champion on rows that one learnt from, as a share; of all of them, and of each
    value of a text column that 200 rows have."""


class ModelSettings(Strict):
    """Which recipes compete, and on which rows they learn."""

    candidates: Annotated[tuple[Annotated[Family, FAMILIES], ...], Field(min_length=1)]
    first: Annotated[Family, FAMILIES] | None = None
    """What the first champion is made of where it is none of the candidates, which then challenge it: a model that
    others trained (`adopted`)."""
    window: Literal["expanding", "auto"] | LastWindow = "expanding"
    """The rows that are learnt from: all, the newest (`last`), or, `auto`, as much history as is best for the rows kept
    for validation: all of it, or the newest 10y, 5y, 2y, 1y, 6mo, 3mo, 1mo, 2w, 1w, 1d, 6h or 1h, of which the four
    longest are tried that are shorter than the history by a quarter."""
    validation: Annotated[float, Field(gt=0, lt=0.5)] = 0.15
    """Newest share of the training rows kept for early stopping and the choice among candidates."""
    weights: RowWeights | None = None
    calibration: Annotated[str, NameOf(CALIBRATIONS)] | None = None
    """How a classifier's scores are turned into probabilities that are met, as the last step of its bundle. Learnt from
    the rows that `validation` keeps, scored by a model that learnt from the others."""
    search: Search | None = None
    """Settings of candidates that are searched for, before they compete."""
    start: Literal["cold", "warm"] | WarmStart = "cold"
    """Whether a challenger learns from the start, or goes on from the champion where that is at least as good."""
    seed: int = 0

    @property
    def recipes(self) -> dict[str, Family]:
        """The first one, where there is one, and the candidates, each by its path."""
        named: dict[str, Family] = {} if self.first is None else {"first": self.first}
        return named | {f"candidates.{index}": each for index, each in enumerate(self.candidates)}

    @property
    def warm(self) -> WarmStart | None:
        """How a challenger goes on from the champion; None where it learns from the start."""
        if isinstance(self.start, WarmStart):
            return self.start
        return WarmStart() if self.start == "warm" else None
