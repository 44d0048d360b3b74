"""The gates that are built in: a bound on the challenger's own metric, and one on its gain over another."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from expectations.gates import Gate, GateResult, Interval


class AbsoluteGate(Gate):
    """A bound on the challenger's own metric."""

    examples: ClassVar = ({"metric": "roc_auc", "min": 0.7}, {"metric": "brier", "max": 0.2})
    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if (self.min is None) == (self.max is None):
            raise ValueError("a gate needs exactly one of min and max (or versus: champion, or versus: baseline)")
        return self

    @property
    def called(self) -> str:
        """What it looks at, in words."""
        return self.metric

    def check(self, metrics: Mapping[str, float], gains: Mapping[str, Interval] | None) -> GateResult:
        """Hold the challenger's own metric against the bound."""
        del gains
        actual = metrics[self.measured]
        floor = self.min is not None
        bound = self.min if self.min is not None else self.max
        if bound is None:
            raise ValueError("an absolute gate has a bound")
        name = f"{self.called} {'≥' if floor else '≤'} {bound:g}"
        if not math.isfinite(actual):
            return GateResult(name, "unknown", None, bound, None, None, _undefined(self.called))
        good = actual >= bound if floor else actual <= bound
        return GateResult(
            name,
            "pass" if good else "fail",
            actual,
            bound,
            None,
            None,
            f"{self.called} is {actual:.4f}; {'at least' if floor else 'at most'} {bound:g} is required",
        )


class FoldsGate(AbsoluteGate):
    """A bound on what a cross-validation found: the mean of a metric over the folds, its worst fold, or its spread.

    The spread is the standard deviation over the folds, as of a sample. It needs `evaluation.cross_validation`.
    """

    examples: ClassVar = (
        {"metric": "roc_auc", "folds": "worst", "min": 0.6},
        {"metric": "rmse", "folds": "spread", "max": 20.0},
    )
    of_folds: ClassVar = True
    folds: Literal["mean", "worst", "spread"]

    @property
    def measured(self) -> str:
        """Key of what it looks at."""
        return f"folds_{self.folds}_{self.metric}"

    @property
    def called(self) -> str:
        """What it looks at, in words."""
        words = {"mean": "mean", "worst": "worst", "spread": "standard deviation of"}[self.folds]
        return f"{words} {self.metric} over the folds"


class ComparisonGate(Gate):
    """A bound on the challenger's gain over the champion or the best baseline, both scored on the same rows.

    Baselines need no model: the mean label, the label that was known last, that of the same hour of the week. The best
    of them on these rows is the one to beat; the champion is not compared with where there is none yet.
    """

    examples: ClassVar = (
        {"metric": "roc_auc", "versus": "champion", "margin": 0.01},
        {"metric": "brier", "versus": "baseline", "require": "point"},
    )
    compares: ClassVar = True
    versus: Literal["champion", "baseline"]
    margin: Annotated[float, Field(ge=0)] = 0.0
    """How much worse still passes, in the metric's own unit."""
    require: Literal["lower_bound", "point"] = "lower_bound"

    @property
    def against(self) -> Literal["champion", "baseline"]:
        """Whose gain it needs."""
        return self.versus

    @property
    def bounded(self) -> bool:
        """Whether the gain must reach it beyond doubt."""
        return self.require == "lower_bound"

    def check(self, metrics: Mapping[str, float], gains: Mapping[str, Interval] | None) -> GateResult:
        """Hold the gain over the other against the margin."""
        del metrics
        name = f"{self.metric} versus {self.versus}"
        if gains is None:
            return GateResult(name, "pass", None, -self.margin, None, None, f"no {self.versus} to compare with")
        gain = gains[self.metric]
        decisive = gain.lower if self.require == "lower_bound" else gain.point
        other = "champion" if self.versus == "champion" else "best baseline"
        what = "lower bound of the gain" if self.require == "lower_bound" else "gain"
        if not (math.isfinite(decisive) and math.isfinite(gain.point)):
            return GateResult(name, "unknown", None, -self.margin, None, None, _undefined(self.metric))
        good = decisive >= -self.margin
        return GateResult(
            name,
            "pass" if good else "fail",
            gain.point,
            -self.margin,
            gain.lower if math.isfinite(gain.lower) else None,
            gain.upper if math.isfinite(gain.upper) else None,
            f"gain over the {other} {gain.point:+.4f} [{gain.lower:+.4f}, {gain.upper:+.4f}]; "
            f"the {what} must be at least {-self.margin:g}",
        )


def _undefined(metric: str) -> str:
    return f"{metric} is not defined, or no finite number, on these rows"


def passed(results: tuple[GateResult, ...]) -> bool:
    """Whether every gate passed; an unknown one is not a pass."""
    return all(result.outcome == "pass" for result in results)
