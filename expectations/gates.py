"""How a challenger is judged."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from expectations.durations import Duration
from expectations.fields import PositiveSpan, Strict
from expectations.parts import Part


class Evaluation(Strict):
    """How a verdict is reached."""

    holdout: Annotated[float, Field(gt=0, lt=1)] = 0.3
    """Newest share of the new rows that decides."""
    min_rows: Annotated[int, Field(ge=10)] = 200
    """Fewest rows in a holdout; fewer give the verdict unknown."""
    block: PositiveSpan = Duration.parse("1d")
    """Rows this close in time are resampled together, because their errors are not independent."""
    cross_validation: Annotated[int, Field(ge=2, le=20)] | None = None
    """Folds of a rolling-origin cross-validation on the rows before the holdout, reported in MLflow; null for none."""
    resamples: Annotated[int, Field(ge=100)] = 500
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Probability from which a row counts as positive."""
    agreement: Annotated[float, Field(gt=0)] = 0.5
    """Largest mean distance between the predictions of the judged model and of its refit on the holdout:
    probability for a classifier, in deviations of the label for a regression."""


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


class Gate(Part):
    """A condition a challenger meets or not. A verdict is a value, the same in log, report and ledger.

    Attributes
    ----------
    compares : bool
        Whether it needs the gain over another.
    """

    metric: str
    compares: ClassVar[bool] = False

    @property
    def against(self) -> Literal["champion", "baseline"]:
        """Whose gain a comparison needs: the champion's, or the best baseline's (`tasks.evaluation.baselines`)."""
        return "champion"

    @abstractmethod
    def check(self, metrics: Mapping[str, float], gains: Mapping[str, Interval] | None) -> GateResult:
        """Hold a challenger against it.

        Parameters
        ----------
        metrics : mapping of str to float
            The challenger's own metrics on the holdout.
        gains : mapping of str to Interval, or None
            Its gain over the champion (or the best baseline) on the same rows; None where there is none, and then a
            comparison is not asked (the other gates alone decide about a first model).
        """
