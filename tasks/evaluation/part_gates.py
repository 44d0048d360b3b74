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
    are left out, and those without a metric or, where that decides, an interval; where none is left it is unknown.
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
        value = metrics[self.metric]
        return self._decide([Figure(self.slice, self.metric, "all rows", value, value, value)])

    def judge(
        self, metrics: Mapping[str, float], gains: Mapping[str, Interval] | None, figures: Sequence[Figure]
    ) -> GateResult:
        """Hold each slice against the bound."""
        del metrics, gains
        return self._decide([each for each in figures if each.column == self.slice and each.name in (self.metric, "")])

    def _decide(self, figures: Sequence[Figure]) -> GateResult:
        floor = self.min is not None
        bound = self.min if self.min is not None else self.max
        if bound is None:
            raise ValueError("a gate on slices has a bound")
        name = f"{self.metric} {'≥' if floor else '≤'} {bound:g} in each slice of {self.slice}"
        decisive = {each.words: self._decisive(each) for each in figures}
        known = [each for each in figures if math.isfinite(decisive[each.words])]
        left_out = self._left_out([each for each in figures if each not in known])
        if not known:
            why = left_out or f"{self.metric} was measured of no slice of {self.slice}"
            return GateResult(name, "unknown", None, bound, None, None, why)
        worst = (min if floor else max)(known, key=lambda each: decisive[each.words])
        good = decisive[worst.words] >= bound if floor else decisive[worst.words] <= bound
        return GateResult(
            name,
            "pass" if good else "fail",
            worst.value,
            bound,
            worst.lower,
            worst.upper,
            f"{_say(worst)} is the worst of {len(known)} slices"
            + (f", {left_out}" if left_out else "")
            + f"; {'at least' if floor else 'at most'} {bound:g} is required",
        )

    def _decisive(self, figure: Figure) -> float:
        """Return what is held against the bound; NaN where it is not known."""
        nearer = figure.upper if self.min is not None else figure.lower
        return _number(figure.value if self.require == "point" else nearer)

    def _left_out(self, figures: Sequence[Figure]) -> str:
        """Say how many slices are left out, and why."""
        small = sum(not each.name for each in figures)
        undefined = sum(bool(each.name) and not math.isfinite(_number(each.value)) for each in figures)
        counts = {
            "too few rows": small,
            f"rows on which {self.metric} is not defined": undefined,
            f"no interval of {self.metric}": len(figures) - small - undefined,
        }
        return ", ".join(f"{count} with {why}" for why, count in counts.items() if count)


class FairnessGate(Gate):
    """A bound on the difference between groups of a column that `monitoring.fairness` declares.

    By the lower end of its interval, which allows for the number of pairs of groups, so that none fails by chance; or,
    with `require: point`, by the value. Without an interval it is unknown.
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
        value = metrics[self.metric]
        return self._decide([Figure(self.by, self.fairness, "all groups", value, value, value)])

    def judge(
        self, metrics: Mapping[str, float], gains: Mapping[str, Interval] | None, figures: Sequence[Figure]
    ) -> GateResult:
        """Hold the difference between groups against the bound."""
        del metrics, gains
        return self._decide([each for each in figures if (each.column, each.name) == (self.by, self.fairness)])

    def _decide(self, figures: Sequence[Figure]) -> GateResult:
        name = f"{self.fairness.replace('_', ' ')} by {self.by} ≤ {self.max:g}"
        decisive = [(_number(each.value if self.require == "point" else each.lower), each) for each in figures]
        known = [(value, each) for value, each in decisive if math.isfinite(value)]
        if not known:
            why = f"fewer than two groups of {self.by} have rows enough, or one has hardly any rows of one class"
            return GateResult(name, "unknown", None, self.max, None, None, why)
        value, worst = max(known, key=lambda each: each[0])
        good = value <= self.max
        why = f"{_say(worst)}; at most {self.max:g} is required"
        return GateResult(name, "pass" if good else "fail", worst.value, self.max, worst.lower, worst.upper, why)


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _say(figure: Figure) -> str:
    bounds = "" if figure.lower is None or figure.upper is None else f" [{figure.lower:.4f}, {figure.upper:.4f}]"
    return f"{figure.name} of {figure.words} is {figure.value:.4f}{bounds}"
