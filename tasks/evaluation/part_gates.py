"""Gates on parts of the rows: a metric on each slice of a column, and a difference between groups."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from expectations.gates import Figure, Gate, GateResult, Interval


class SliceGate(Gate):
    """A bound on a metric in every slice of a column that `monitoring.slices` declares.

    The worst slice decides: by the end of its interval that is nearer to passing, widened for the number of slices, so
    that none fails by chance; or, with `require: point`, by its value. Slices of fewer than `monitoring.min_rows` rows
    are left out; where none is left it is unknown.
    """

    examples: ClassVar = (
        {"slice": "carrier", "metric": "roc_auc", "min": 0.6},
        {"slice": "station", "metric": "mae", "max": 40, "require": "point"},
    )
    slice: str
    metric: str
    min: float | None = None
    max: float | None = None
    require: Literal["beyond_doubt", "point"] = "beyond_doubt"

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if (self.min is None) == (self.max is None):
            raise ValueError("a gate on slices needs exactly one of min and max")
        return self

    @property
    def slices(self) -> str | None:
        """The column."""
        return self.slice

    def check(self, metrics: Mapping[str, float], gains: Mapping[str, Interval] | None) -> GateResult:
        """Hold all rows against the bound, as if they were one slice."""
        del gains
        return self._decide([Figure(self.slice, self.metric, "all rows", metrics[self.metric])])

    def judge(
        self, metrics: Mapping[str, float], gains: Mapping[str, Interval] | None, figures: Sequence[Figure]
    ) -> GateResult:
        """Hold each slice against the bound."""
        del metrics, gains
        return self._decide([each for each in figures if (each.column, each.name) == (self.slice, self.metric)])

    def _decide(self, figures: Sequence[Figure]) -> GateResult:
        floor = self.min is not None
        bound = self.min if self.min is not None else self.max
        if bound is None:
            raise ValueError("a gate on slices has a bound")
        name = f"{self.metric} {'≥' if floor else '≤'} {bound:g} in each slice of {self.slice}"
        known = [each for each in figures if each.value is not None and math.isfinite(each.value)]
        if not known:
            why = f"no slice of {self.slice} has rows enough, or {self.metric} is not defined there"
            return GateResult(name, "unknown", None, bound, None, None, why)

        def decisive(each: Figure) -> float:
            nearer = each.upper if floor else each.lower
            value = each.value if self.require == "point" or nearer is None else nearer
            return math.nan if value is None else value

        worst = (min if floor else max)(known, key=decisive)
        good = decisive(worst) >= bound if floor else decisive(worst) <= bound
        left_out = len(figures) - len(known)
        return GateResult(
            name,
            "pass" if good else "fail",
            worst.value,
            bound,
            worst.lower,
            worst.upper,
            f"{_say(worst)} is the worst of {len(known)} slices"
            + (f", {left_out} more have too few rows" if left_out else "")
            + f"; {'at least' if floor else 'at most'} {bound:g} is required",
        )


class FairnessGate(Gate):
    """A bound on the difference between groups of a column that `monitoring.fairness` declares.

    By the lower end of the interval, so that none fails by chance; or, with `require: point`, by the value.
    """

    examples: ClassVar = (
        {"fairness": "equal_opportunity", "by": "sex", "max": 0.1},
        {"fairness": "demographic_parity", "by": "sex", "max": 0.2, "require": "point"},
    )
    metric: Literal[""] = ""
    fairness: Literal["demographic_parity", "equal_opportunity", "equalised_odds"]
    by: str
    max: Annotated[float, Field(ge=0, le=1)]
    require: Literal["beyond_doubt", "point"] = "beyond_doubt"

    @property
    def groups(self) -> str | None:
        """The column."""
        return self.by

    def check(self, metrics: Mapping[str, float], gains: Mapping[str, Interval] | None) -> GateResult:
        """Hold a difference against the bound."""
        del gains
        return self._decide([Figure(self.by, self.fairness, "all groups", metrics[self.metric])])

    def judge(
        self, metrics: Mapping[str, float], gains: Mapping[str, Interval] | None, figures: Sequence[Figure]
    ) -> GateResult:
        """Hold the difference between groups against the bound."""
        del metrics, gains
        return self._decide([each for each in figures if (each.column, each.name) == (self.by, self.fairness)])

    def _decide(self, figures: Sequence[Figure]) -> GateResult:
        name = f"{self.fairness.replace('_', ' ')} by {self.by} ≤ {self.max:g}"
        known = [each for each in figures if each.value is not None and math.isfinite(each.value)]
        if not known:
            why = f"fewer than two groups of {self.by} have rows enough, or one has rows of one class alone"
            return GateResult(name, "unknown", None, self.max, None, None, why)
        worst = max(known, key=lambda each: each.value or 0.0)
        value = worst.value if self.require == "point" or worst.lower is None else worst.lower
        good = value is not None and value <= self.max
        why = f"{_say(worst)}; at most {self.max:g} is required"
        return GateResult(name, "pass" if good else "fail", worst.value, self.max, worst.lower, worst.upper, why)


def _say(figure: Figure) -> str:
    bounds = "" if figure.lower is None or figure.upper is None else f" [{figure.lower:.4f}, {figure.upper:.4f}]"
    return f"{figure.name} of {figure.words} is {figure.value:.4f}{bounds}"
