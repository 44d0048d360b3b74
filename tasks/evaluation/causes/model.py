"""What is reported of causes: parts of a difference in mean loss, and what follows from them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

Kind = Literal["broken", "unseen", "covariate", "label", "concept", "season", "rest"]
Status = Literal["named", "nothing", "unknown"]
REMEDIES: dict[Kind, str] = {
    "broken": "hold and alert",
    "unseen": "retrain",
    "covariate": "reweigh, or retrain if a trial says so",
    "label": "recalibrate",
    "concept": "retrain",
    "season": "do nothing",
    "rest": "do nothing",
}
"""What follows from a cause."""
MIN_SHARE = 0.05
"""Least share of the total that a cause is named for."""


class Cause(msgspec.Struct, frozen=True):
    """A part of the difference in mean loss.

    Attributes
    ----------
    what : str
        In words.
    value, lower, upper : float
        What it adds to the mean loss, and its interval.
    named : bool
        Whether it is called a cause: it and the whole are beyond chance.
    within : tuple of Cause
        What it consists of; they add up to it.
    """

    kind: Kind
    what: str
    value: float
    lower: float | None = None
    upper: float | None = None
    named: bool = False
    within: tuple[Cause, ...] = ()

    @property
    def remedy(self) -> str:
        """What follows from it."""
        return REMEDIES[self.kind]

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can carry."""
        return {
            "kind": self.kind,
            "what": self.what,
            "value": self.value,
            "lower": self.lower,
            "upper": self.upper,
            "named": self.named,
            "remedy": self.remedy,
            "within": [each.to_dict() for each in self.within],
        }


Against = Literal["windows", "judged"]
"""What a window is compared with: earlier windows of its champion, or the rows on which this was judged."""
BESIDE: dict[Against, str] = {"windows": "earlier windows", "judged": "the rows it was judged on"}
"""The same in words."""


class Causes(msgspec.Struct, frozen=True):
    """Why a window loses more, or that it does not, or why that is not known.

    Attributes
    ----------
    metric : str
        The loss of rows whose mean is split up; of rmse that is the squared error.
    before, now : float or None
        Mean loss of the earlier rows, and of the window's.
    lower, upper : float or None
        Interval of the difference.
    parts : tuple of Cause
        Largest first; they add up to the difference. Empty where nothing is named.
    notes : tuple of str
    against : {"windows", "judged"}
        What the earlier rows are.
    """

    metric: str
    status: Status
    reason: str = ""
    before: float | None = None
    now: float | None = None
    lower: float | None = None
    upper: float | None = None
    parts: tuple[Cause, ...] = ()
    notes: tuple[str, ...] = ()
    against: Against = "windows"

    @property
    def total(self) -> float | None:
        """How much more is lost."""
        return None if self.now is None or self.before is None else self.now - self.before

    @property
    def named(self) -> tuple[Cause, ...]:
        """Parts that are causes, largest first."""
        return tuple(each for each in self.parts if each.named)

    @property
    def remedy(self) -> str:
        """What follows from the first cause."""
        return self.named[0].remedy if self.named else "do nothing"

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can carry."""
        return {
            "metric": self.metric,
            "status": self.status,
            "reason": self.reason,
            "before": self.before,
            "now": self.now,
            "total": self.total,
            "lower": self.lower,
            "upper": self.upper,
            "parts": [each.to_dict() for each in self.parts],
            "remedy": self.remedy,
            "notes": list(self.notes),
            "against": self.against,
            "words": self.words(),
        }

    def words(self) -> str:
        """Say it in a sentence."""
        total = self.total
        if self.status != "named" or total is None or self.now is None or self.before is None:
            return self.reason
        scale = 1.0
        if self.metric == "rmse" and total > 0:  # parts of the squared error, in the label's unit
            scale = (math.sqrt(self.now) - math.sqrt(self.before)) / total
        named = [f"{each.value * scale:.3g} ({each.value / total:.0%}) {each.what}" for each in self.named]
        rest = total - sum(each.value for each in self.named)
        if abs(rest) >= MIN_SHARE * total:
            named.append(f"{rest * scale:.3g} ({rest / total:.0%}) not told apart")
        return f"of +{total * scale:.3g} {self.metric}{beside(self.against)}: {'; '.join(named)}"


def beside(against: Against) -> str:
    """Say what a loss is compared with, where that is no earlier window."""
    return f" compared with {BESIDE[against]}" if against == "judged" else ""


def unknown(metric: str, reason: str, against: Against = "windows") -> Causes:
    """Return that causes are not known, and why."""
    return Causes(metric, "unknown", f"undetermined: {reason}", against=against)


def some_of(words: Sequence[str], most: int = 3) -> str:
    """Name some of many."""
    shown = ", ".join(words[:most])
    return f"{shown} and {len(words) - most} more" if len(words) > most else shown
