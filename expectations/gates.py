"""How a challenger is judged."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from expectations.durations import Duration
from expectations.fields import PositiveSpan, Span, Strict
from expectations.parts import Part


class CrossValidation(Strict):
    """How often, and how far apart, a recipe is tried on the rows before the holdout."""

    folds: Annotated[int, Field(ge=2, le=20)]
    gap: Span | None = None
    """How long before a fold the rows end that its model learns from; at least as long as a label takes to be known,
    and as long where not given."""


class LearningIntervals(Strict):
    """How intervals, and sets of classes, learn again from answers whose label became known."""

    update: PositiveSpan = Duration.parse("1d")
    """Data time between two releases of them, at least: monitor makes one where it runs and rows came."""
    learn_from: PositiveSpan = Duration.parse("30d")
    """How far back the rows go that they learn from."""


class EvaluationSettings(Strict):
    """How a verdict is reached."""

    holdout: Annotated[float, Field(gt=0, lt=1)] = 0.3
    """Newest share of the new rows that decides."""
    min_rows: Annotated[int, Field(ge=10)] = 200
    """Fewest rows in a holdout; fewer give the verdict unknown."""
    block: PositiveSpan = Duration.parse("1d")
    """Rows this close in time are resampled together, because their errors are not independent."""
    coverage: Annotated[float, Field(ge=0.5, lt=1)] = 0.9
    """Share of truths that intervals of predictions (or sets of classes) are to hold."""
    intervals: LearningIntervals | None = None
    """Intervals that learn again from ripe answers, as a release of their own; null for those of each version's
    holdout."""
    permutation_importance: bool = False
    """Whether to show with the evaluation what the decisive metric loses where one input is shuffled over the rows of
    the holdout: one more prediction of the holdout for each input."""
    effects: tuple[str, ...] = ()
    """Inputs along which the answers of the model are shown with the evaluation: partial dependence, and of numbers
    accumulated local effects."""
    learning_curve: Annotated[int, Field(ge=2, le=8)] | None = None
    """Points of a learning curve, shown with the evaluation: the recipe fitted on all rows before the holdout, on half
    of them, a quarter and so on, each scored on the holdout; null for none."""
    cross_validation: Annotated[int, Field(ge=2, le=20)] | CrossValidation | None = None
    """Cross-validation on the rows before the holdout, by rolling origin (without a clock by folds that are drawn,
    groups of a key kept together): the number of folds, or that and the `gap`; null for none."""
    resamples: Annotated[int, Field(ge=100)] = 500
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    error_budget: Annotated[float, Field(gt=0, lt=0.5)] | None = None
    """Chance that a version worse than its champion is ever released, over all challengers of the use case's life;
    null judges each by itself, at `confidence`."""
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Probability from which a row counts as positive."""
    agreement: Annotated[float, Field(gt=0)] = 0.5
    """Largest mean distance between the predictions of the judged model and of its refit on the holdout:
    probability for a classifier, in deviations of the label for a regression."""

    @property
    def validated(self) -> CrossValidation | None:
        """The cross-validation that is asked for."""
        asked = self.cross_validation
        return CrossValidation(folds=asked) if isinstance(asked, int) else asked


Outcome = Literal["pass", "fail", "unknown"]


@dataclass(frozen=True)
class Interval:
    """A point estimate of a gain with its bounds; positive is better, whatever the metric's direction."""

    point: float
    lower: float
    upper: float


@dataclass(frozen=True)
class GateResult:
    """One gate with what was measured at it; a number that is not finite is missing, and the outcome unknown."""

    name: str
    outcome: Outcome
    actual: float | None
    threshold: float
    lower: float | None
    upper: float | None
    rationale: str


@dataclass(frozen=True)
class Figure:
    """A figure of some of the rows: a metric of a slice, or a difference between groups.

    Attributes
    ----------
    column : str
        What the rows are parted by.
    name : str
        Of the metric, or the measure.
    words : str
        Which rows.
    value : float or None
        None where there are too few rows, or it is not defined on them.
    """

    column: str
    name: str
    words: str
    value: float | None
    lower: float | None = None
    upper: float | None = None


class Gate(Part):
    """A condition a challenger meets or not. A verdict is a value, the same in log, report and ledger.

    Attributes
    ----------
    compares : bool
        Whether it needs the gain over another.
    of_folds : bool
        Whether it needs a cross-validation.
    """

    metric: str
    compares: ClassVar[bool] = False
    of_folds: ClassVar[bool] = False

    @property
    def against(self) -> Literal["champion", "baseline"]:
        """Whose gain a comparison needs: the champion's, or the best baseline's (`tasks.evaluation.baselines`)."""
        return "champion"

    @property
    def challenges(self) -> bool:
        """Whether it compares with the champion."""
        return self.compares and self.against == "champion"

    @property
    def bounded(self) -> bool:
        """Whether a comparison passes by the lower bound of the gain alone, and not by its value."""
        return True

    @property
    def measured(self) -> str:
        """Key of what it looks at in the challenger's metrics: the metric, or ``folds_mean_METRIC`` and its kind."""
        return self.metric

    @property
    def slices(self) -> str | None:
        """The column whose slices it needs, declared under `monitoring.slices`; None where it needs none."""
        return None

    @property
    def groups(self) -> str | None:
        """The column whose groups it needs, declared under `monitoring.fairness`; None where it needs none."""
        return None

    def judge(
        self, metrics: Mapping[str, float], gains: Mapping[str, Interval] | None, figures: Sequence[Figure]
    ) -> GateResult:
        """Hold a challenger against it, with figures of parts of the rows; as `check` where it needs none of them."""
        del figures
        return self.check(metrics, gains)

    @abstractmethod
    def check(self, metrics: Mapping[str, float], gains: Mapping[str, Interval] | None) -> GateResult:
        """Hold a challenger against it.

        Parameters
        ----------
        metrics : mapping of str to float
            The challenger's own metrics on the holdout; where it was cross-validated also ``folds_mean_METRIC``,
            ``folds_worst_METRIC`` and ``folds_spread_METRIC`` (the standard deviation).
        gains : mapping of str to Interval, or None
            Its gain over the champion (or the best baseline) on the same rows; None where there is none, and then a
            comparison is not asked (the other gates alone decide about a first model).
        """
