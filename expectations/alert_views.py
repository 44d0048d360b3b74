"""What alert rules see beside runs and windows: what was decided, labels of no prediction, the loss by the hour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from expectations.deciding import TURNED, Status
from expectations.windows import Window


@dataclass(frozen=True)
class DecisionMade:
    """A decision, with the window it is about.

    Attributes
    ----------
    action, cause, summary : str
        As the ledger has them.
    alert : bool
        Whether the policy asks that a person hears of it.
    window : Window or None
        None where it is about none: the newest data are held, or there is nothing to decide about.
    version : str
        Who answered most of the window.
    status : {"good", "violated", "unknown"}
        Of the window; unknown where there is none.
    lost : bool
        Whether the metric of the window is estimated to violate a rule beyond doubt.
    """

    action: str
    cause: str
    summary: str
    alert: bool = False
    window: Window | None = None
    version: str = ""
    status: Status = "unknown"
    lost: bool = False

    @property
    def turns(self) -> bool:
        """Whether it opens a turn."""
        return self.action in TURNED

    @property
    def of_drift(self) -> bool:
        """Whether what it found is drift: no loss is known."""
        return self.cause == "drift" or (self.cause == "unknown" and self.alert)

    @property
    def of_loss(self) -> bool:
        """Whether what it found is a loss that is neither drift nor that of a release."""
        other = self.of_drift or self.cause == "release"
        return not other and (self.alert or self.turns)


@dataclass(frozen=True)
class UnmatchedLabels:
    """Labels of feedback that name no prediction, since the run before.

    Attributes
    ----------
    labels : int
    first, last : datetime or None
        When the first and the last of them were received; None where there are none.
    senders : mapping of str to int
        Name of the API key -> labels; the empty name where none was asked for.
    quiet : timedelta or None
        Since when no such labels came; None where none were ever found, or the finding is over.
    """

    labels: int
    first: datetime | None
    last: datetime | None
    senders: Mapping[str, int]
    quiet: timedelta | None = None


@dataclass(frozen=True)
class LossByHour:
    """What a look at the champion's loss by the hour says (`tasks.evaluation.streams`).

    Attributes
    ----------
    new : bool
        Whether its alarm rang now.
    odds : float
        That the loss rose, to 1.
    at, since : datetime or None
        When the alarm that stands rang, None where none does, and when the rise most likely began.
    size : float or None
        The rise in deviations of an hour.
    """

    bundle: str
    new: bool
    odds: float = 1.0
    at: datetime | None = None
    since: datetime | None = None
    size: float | None = None
