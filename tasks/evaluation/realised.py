"""A metric over what a model answered, held against its reference."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import msgspec

from expectations.deciding import Status
from tasks.preprocessing.formulas import finite_or_none


class Realised(msgspec.Struct, frozen=True):
    """A metric over the champion's own predictions in a window, beside its reference.

    Attributes
    ----------
    status : {"good", "violated", "unknown"}
        Violated where it is worse than `reference` by more than the declared drop.
    undefined : bool
        Whether it is unknown though there are labels enough, as the metric or its reference is no finite number.
    low, high : float or None
        Bounds of `value`, 95 %, by resampling blocks of time.
    baselines : dict of str to float
        What each baseline (`tasks.evaluation.baselines`) reaches on the same rows, by the labels of the year before.
    """

    metric: str
    value: float | None = None
    reference: float | None = None
    drop: float = 0.0
    status: Status = "unknown"
    undefined: bool = False
    low: float | None = None
    high: float | None = None
    baselines: dict[str, float] = {}

    def bar(self, greater: bool | None) -> float | None:
        """Return what the value may not be worse than; None where that is not known."""
        if self.reference is None or greater is None:
            return None
        return self.reference - self.drop if greater else self.reference + self.drop

    def best(self, greater: bool | None) -> tuple[str, float] | None:
        """Return the best of what needs no model and its value; None where that is not known."""
        if not self.baselines or greater is None:
            return None
        name = (max if greater else min)(self.baselines, key=lambda each: self.baselines[each])
        return name, self.baselines[name]

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can carry."""
        return msgspec.structs.asdict(self)


def hold_against(
    metric: str, value: float | None, reference: float | None, drop: float, *, greater_is_better: bool
) -> Realised:
    """Hold a metric against its reference; what is not a finite number is not known, and decides nothing."""
    measured, reference, value = value is not None, finite_or_none(reference), finite_or_none(value)
    if value is None or reference is None:
        return Realised(metric, None, reference, drop, "unknown", measured)
    worse = (reference - value) if greater_is_better else (value - reference)
    if not math.isfinite(worse):
        return Realised(metric, None, reference, drop, "unknown", measured)
    return Realised(metric, value, reference, drop, "violated" if worse > drop else "good")


def status_of(realised: Iterable[Realised]) -> Status:
    """Return what several metrics come to: violated if any is, else unknown if any is, or there is none."""
    found = {each.status for each in realised}
    return "violated" if "violated" in found else "unknown" if "unknown" in found or not found else "good"
