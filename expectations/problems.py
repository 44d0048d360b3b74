"""What kind of problem a model solves: how its label is read, and what its predictions are.

A problem owns everything that depends on it. Predictions are scores: shape (n_rows,) where there is one for each row
(the probability of the positive class, the value), (n_rows, n_classes) where there is one for each class.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from expectations.data import Label
from expectations.families import Scores, Vector
from expectations.metrics import Scored
from expectations.parts import Part
from expectations.slots import PROBLEMS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PREDICTION = "_prediction"
"""Column of predictions beside the columns of a row."""


class ScoreMeaning(NamedTuple):
    """What a model's scores mean, as its bundle keeps it.

    Attributes
    ----------
    label : str
        Column that is predicted.
    unit : str
    classes : tuple of str
        In the order of its scores; of a binary model the negative one first. Empty for a regression.
    threshold : float
        Probability from which a row counts as positive.
    bounds : tuple of float, optional
        Least and largest label that can be true.
    spellings : mapping of str to str
        Words of a class that are read as another: `words` under `label`.
    """

    label: str = ""
    unit: str = ""
    classes: tuple[str, ...] = ()
    threshold: float = 0.5
    bounds: tuple[float, float] | None = None
    spellings: Mapping[str, str] = MappingProxyType({})


class Problem(Part):
    """A kind of problem.

    Attributes
    ----------
    classifies : bool
        Whether its labels are classes.
    has_threshold : bool
        Whether a row is called by a probability from which on it counts as positive.
    stand_in : str
        The mean over rows that stands in for a metric which is none.
    first_score : str
        What a first look at columns is scored by: a metric that is 1 where all is right. Empty for kinds that
        `driftwheel suggest` does not propose.
    recalibrated_by : str
        The calibration a champion is recalibrated by where `model.calibration` names none. Empty where there is none.
    unwatched : mapping of str to str
        What is not watched of it yet -> in words. Keys are `estimates` (metrics before the labels come) and `causes`
        (why a window loses more).
    """

    task: str
    classifies: ClassVar[bool]
    has_threshold: ClassVar[bool] = False
    stand_in: ClassVar[str]
    first_score: ClassVar[str] = ""
    recalibrated_by: ClassVar[str] = ""
    unwatched: ClassVar[Mapping[str, str]] = {}

    # --- the label --------------------------------------------------------------------------------------------------

    def misfits(self, rules: Label) -> Mapping[str, str]:
        """Return the fields declared of a label that do not fit, and why."""
        fields = {"positive": rules.positive, "words": rules.words}
        return {field: f"says nothing of a {self.task}; leave it out" for field, value in fields.items() if value}

    @abstractmethod
    def read(self, values: pl.Series, rules: Label) -> pl.Series:
        """Return the label as it is kept, of a column as it was collected or computed: numbers or texts.

        Raises
        ------
        SourceError
            If they are no labels of this kind of problem.
        """

    @abstractmethod
    def classes(self, values: pl.Series, rules: Label) -> tuple[str, ...]:
        """Return the classes among labels, in the order of the scores; none where labels are values.

        Raises
        ------
        TrainingError
            If they are no classes to learn.
        """

    @abstractmethod
    def codes(self, values: pl.Series, classes: Sequence[str]) -> Vector:
        """Return labels as numbers: the place of a class, or the value; NaN where it is not known.

        A class that is none of `classes` has the place after the last one.
        """

    @abstractmethod
    def words(self, codes: pl.Series, classes: Sequence[str]) -> pl.Series:
        """Return labels as they are kept, of their codes."""

    def targets(self, codes: Vector, classes: Sequence[str]) -> Scores:
        """Return the scores of a model that knew the label."""
        del classes
        return codes

    def bounds(self, values: pl.Series) -> tuple[float, float] | None:
        """Return the least and largest label that feedback may carry, of the labels learnt from."""
        del values
        return None

    def misfit(self, values: pl.Series) -> str:
        """Say why known labels cannot be learnt well, and what to do; nothing where they can."""
        del values
        return ""

    def describe(self, codes: Vector, classes: Sequence[str]) -> str:
        """Say in a few words what known labels are like."""
        del codes, classes
        return ""

    def lacks(self, codes: Vector, least: int) -> bool:
        """Whether rows have too few labels of some kind to hold two models against each other."""
        del codes, least
        return False

    # --- predictions ------------------------------------------------------------------------------------------------

    def outputs(self, classes: Sequence[str]) -> int:
        """Return how many scores a row has."""
        del classes
        return 1

    def aligned(self, scores: Scores, own: Sequence[str], order: Sequence[str]) -> Scores:
        """Bring scores in the order of one model's classes into another order.

        What is given to classes that the other order has not goes into a last column, which there is only then.
        """
        del own, order
        return scores

    @abstractmethod
    def decide(self, scores: Scores, answers: ScoreMeaning) -> npt.NDArray[Any]:
        """Return what is predicted, a label a row."""

    @abstractmethod
    def probabilities(self, scores: Sequence[Any]) -> Sequence[Any]:
        """Return the probability of each class, a list a row; the values themselves where there are none."""

    @abstractmethod
    def squares(self, codes: Vector, scores: Scores) -> Vector:
        """Return the squared error of each row (of probabilities: the Brier score), shape (n_rows,)."""

    @abstractmethod
    def columns(self, scores: Scores, classes: Sequence[str]) -> pl.DataFrame:
        """Return scores as the columns that drift is looked for in; their names begin with `PREDICTION`."""

    def mix(self, scores: Scores, classes: Sequence[str]) -> dict[str, dict[str, float]]:
        """Return the predicted mix of several classes: class -> its share of the rows, and its mean probability."""
        del scores, classes
        return {}

    @abstractmethod
    def disagreement(self, scores: Scores, other: Scores, codes: Vector) -> float:
        """Return the mean distance between predictions of two models for the same rows, with their labels."""

    @abstractmethod
    def agreement(self, champion: Scores, candidate: Scores, threshold: float) -> float:
        """Return the share of rows on which two models say the same; NaN where a prediction is not finite."""

    @abstractmethod
    def distance(self, champion: Scores, candidate: Scores) -> float:
        """Return how far the distributions of predictions lie apart, in deviations of the champion's."""

    # --- explanations -----------------------------------------------------------------------------------------------

    @abstractmethod
    def link(self, raw: Scores) -> Scores:
        """Turn raw scores of trees into predictions."""

    @abstractmethod
    def scale(self, explains: Literal["score", "prediction"]) -> str:
        """Say what contributions of features add up to."""

    # --- what clients see -------------------------------------------------------------------------------------------

    @abstractmethod
    def take(self, value: object, answers: ScoreMeaning) -> float | str | None:
        """Return a label that a client sent as it is kept; None where it cannot be true."""

    @abstractmethod
    def taken(self, label: pl.Expr, answers: ScoreMeaning) -> pl.Expr:
        """Whether labels that were sent, as they are kept, can be true."""

    @abstractmethod
    def label_words(self, answers: ScoreMeaning) -> str:
        """Say which labels are taken."""

    @abstractmethod
    def label_schema(self, answers: ScoreMeaning) -> dict[str, Any]:
        """Return the JSON schema of labels that are taken."""

    @abstractmethod
    def answer_schema(self, answers: ScoreMeaning) -> dict[str, Any]:
        """Return the JSON schema of the prediction for a row, whatever was asked for."""

    def names(self, answers: ScoreMeaning) -> tuple[str, ...]:
        """Return the classes that answers are to name, in the order of their probabilities."""
        return answers.classes

    @abstractmethod
    def meaning(self, answers: ScoreMeaning) -> str:
        """Say what a prediction is."""

    @abstractmethod
    def figures(self, models: Mapping[str, Scored], answers: ScoreMeaning) -> dict[str, Figure]:
        """Draw how one or two models did on the same rows, the challenger first."""

    # --- laws -------------------------------------------------------------------------------------------------------

    @abstractmethod
    def example(self, signal: Vector) -> tuple[Vector, tuple[str, ...]]:
        """Return codes of labels that follow a signal, and their classes: what parts are tried with."""

    @abstractmethod
    def sound(self, scores: Scores) -> bool:
        """Whether scores are what predictions of this problem can be."""


@cache
def problem_of(task: str) -> Problem:
    """Return the problem a use case or bundle names.

    Raises
    ------
    BundleError
        If it is not installed.
    """
    return PROBLEMS.released(task).model_validate({"task": task})


def to_scores(values: pl.Series) -> Scores:
    """Return predictions of a column as scores: shape (n_rows,), or (n_rows, n_classes) of a column of lists.

    A row without a prediction is NaN; where no row has one, in a single column.

    Raises
    ------
    ValueError
        If rows have different numbers of scores.
    """
    if not isinstance(values.dtype, pl.List):
        return values.cast(pl.Float64).fill_null(float("nan")).to_numpy().astype(np.float64)
    if not len(values):
        return np.empty((0, 0))
    known = values.is_not_null()
    if not known.any():
        return np.full((len(values), 1), np.nan)
    given = np.array(values.filter(known).to_list(), dtype=np.float64)
    found = np.full((len(values), given.shape[1]), np.nan)
    found[known.to_numpy()] = given
    return found


def to_column(name: str, scores: Scores) -> pl.Series:
    """Return scores as a column: numbers, or lists of them."""
    dtype = pl.Float64() if scores.ndim == 1 else pl.List(pl.Float64())
    return pl.Series(name, scores if scores.ndim == 1 else scores.tolist(), dtype=dtype)
