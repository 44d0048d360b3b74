"""What a metric is expected to be on some rows."""

from __future__ import annotations

from typing import Any

import msgspec


class Expected(msgspec.Struct, frozen=True, gc=False):
    """What a metric was expected to be before its labels were known."""

    value: float | None = None
    low: float | None = None
    high: float | None = None


class Estimate(msgspec.Struct, frozen=True):
    """What a metric is expected to be on some rows, labels or not, with its interval.

    Attributes
    ----------
    drawn : float or None
        By drawing alone: neither what windows before came to nor labels of these rows enter.
    before : Expected or None
        Without the labels of these rows, as they were first looked at.
    labels : int
        Labels of these rows that corrected it.
    trusted : bool
    why : str
        Why it is not trusted or not there; else empty.
    """

    metric: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    labels: int = 0
    trusted: bool = True
    why: str = ""
    drawn: float | None = None
    before: Expected | None = None

    @property
    def first(self) -> Expected:
        """The estimate that was made without the rows' own labels, where one was; else the one there is."""
        return self.before if self.before is not None else Expected(self.value, self.low, self.high)

    def keeping(self, before: Expected | None) -> Estimate:
        """Return it with what was expected when the rows were first looked at, where that is known."""
        return self if before is None else msgspec.structs.replace(self, before=before)

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can carry."""
        before = None if self.before is None else msgspec.structs.asdict(self.before)
        return {**msgspec.structs.asdict(self), "before": before}
