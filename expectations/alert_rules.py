"""What an alert rule is: it looks at what monitoring saw and says what is wrong; one recorder does the rest."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from expectations.alert_views import DecisionMade, LossByHour, UnmatchedLabels
from expectations.alerts import Severity
from expectations.deciding import Status
from expectations.durations import Duration
from expectations.parts import Part
from expectations.windows import Window

if TYPE_CHECKING:
    from expectations.production import Monitoring


@dataclass(frozen=True)
class Kind:
    """Words about a kind of finding.

    Attributes
    ----------
    title : str
        A few words, without the use case.
    cause : str
        What is likely behind it; empty where the finding itself says so.
    done : str
        What driftwheel did.
    advice : str
        What a person can do.
    settles : bool
        Whether it may well clear by itself: no message is sent before it was seen twice, or lasted 15 minutes.
    """

    title: str
    cause: str
    done: str
    advice: str
    settles: bool = False


class Condition(NamedTuple):
    """Something that is wrong now.

    Attributes
    ----------
    summary : str
        What was found, and how bad it is, in a sentence without its full stop.
    evidence : mapping
        Numbers behind it, as JSON can carry them.
    once : str
        What the ledger knows it by: an entry is written once for each. Of a window the window, where not given.
    key : str
        Tells findings of one rule from each other, where it may have several at a time: small letters, digits, ``.``,
        ``_`` and ``-``.
    """

    summary: str
    severity: Severity = "warning"
    evidence: Mapping[str, Any] = MappingProxyType({})
    once: str = ""
    key: str = ""


class Conditions(NamedTuple):
    """All that a rule finds wrong with what it looks at; open findings of the rule that are not among it are resolved.

    Attributes
    ----------
    found : sequence of Condition
    over : str
        Why others stand no more, in words.
    """

    found: Sequence[Condition]
    over: str


Why = Literal["learnt", "ahead"]


@dataclass(frozen=True)
class Strays:
    """Predictions of one bundle that are in no window.

    Attributes
    ----------
    why : {"learnt", "ahead"}
        From before the end of what the bundle had learnt from, so no test of it; or later than both this run's instant
        and the moment they were answered.
    first, last : datetime
        Event times.
    """

    bundle: str
    version: str
    why: Why
    rows: int
    first: datetime
    last: datetime


@dataclass(frozen=True)
class Silence:
    """How long nothing was asked for.

    Attributes
    ----------
    since : datetime
        When the first window without a request began, or would have.
    windows, usual : int
        Whole windows without one since then, and the most in a row before.
    every : Duration
        How long a window is.
    """

    since: datetime
    windows: int
    usual: int
    every: Duration


@dataclass(frozen=True)
class MonitorRun:
    """What a run of monitor sees before it measures.

    Attributes
    ----------
    silence : Silence or None
        None where nothing was ever asked for.
    """

    as_of: datetime
    strays: tuple[Strays, ...] = ()
    silence: Silence | None = None


@dataclass(frozen=True)
class MeasuredWindow:
    """What was measured of one window, as far as alert rules look at it.

    Attributes
    ----------
    bundle, version : str
        Who answered most of it.
    answers : bool
        Whether that bundle is the champion now. Of another one nothing is a finding: it goes into the ledger alone.
    rows, labelled : int
        Predictions, and those of the bundle whose label is known.
    coverage : float
        Share of the bundle's predictions whose label is known.
    ripe : bool
        Whether every label could be known.
    drifted : tuple of str
        Columns.
    metrics : mapping of str to float
        Watched metrics whose value is known.
    label_words : str
        What labels of the bundle are, in words.
    classes : tuple of str
    unseen : int
        Labels of classes that it never saw.
    feedback : mapping
        What feedback had to say, in numbers; `unusable` among them, labels that the bundle does not take.
    unscored : mapping of str to str
        Columns whose drift score said nothing, though they have values, and why.
    worse_slices, broken_bounds : tuple of str, optional
        Of the champion's newest window whose parts were looked at: the slices that got worse and the bounds between
        groups that are broken beyond doubt, each in words. None of other windows.
    """

    window: Window
    bundle: str
    version: str
    answers: bool
    rows: int
    labelled: int
    coverage: float
    ripe: bool
    status: Status
    drifted: tuple[str, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    label_words: str = ""
    classes: tuple[str, ...] = ()
    unseen: int = 0
    feedback: Mapping[str, Any] = field(default_factory=dict)
    worse_slices: tuple[str, ...] | None = None
    broken_bounds: tuple[str, ...] | None = None
    unscored: Mapping[str, str] = field(default_factory=dict)

    @property
    def unusable(self) -> int:
        """Labels of feedback that the bundle does not take."""
        return int(self.feedback.get("unusable", 0))

    @property
    def has_labels(self) -> bool:
        """Whether any label came, usable or not."""
        return bool(self.labelled or self.unusable or self.unseen)


class AlertRule(Part):
    """An alert rule, as declared under `monitoring.alert_rules`: one of the classes below, by what it looks at.

    Attributes
    ----------
    words : Kind
        What a message says beside what was found.
    always : bool
        Whether it is in force where it is not declared, too.
    cause : str
        Cause of its entries in the ledger.
    """

    words: ClassVar[Kind]
    always: ClassVar[bool] = False
    cause: ClassVar[str] = "monitor"
    rule: str
    enabled: bool = True
    """False turns the rule off, also one that always is in force; what it found is resolved."""

    def in_force(self, monitoring: Monitoring) -> bool:
        """Whether it has anything to look at; where not, its findings are resolved."""
        del monitoring
        return True


class RunRule(AlertRule):
    """A rule about a run of monitor."""

    @abstractmethod
    def look(self, run: MonitorRun) -> Conditions | None:
        """Say what is wrong; None where nothing can be said of it, and what was found before stands."""


class WindowRule(AlertRule):
    """A rule about each window that is measured. Its findings are resolved once another version answers, too."""

    @abstractmethod
    def look(self, window: MeasuredWindow) -> Conditions | None:
        """Say what is wrong; None where nothing can be said of it, and what was found before stands."""


class DecisionRule(AlertRule):
    """A rule about each decision; what it finds is recorded with the decision, which is its entry in the ledger."""

    @abstractmethod
    def look(self, decision: DecisionMade) -> Conditions | None:
        """Say what is wrong, one condition at most; None where nothing can be said of it."""


class FeedbackRule(AlertRule):
    """A rule about labels of feedback that name no prediction."""

    @abstractmethod
    def look(self, feedback: UnmatchedLabels) -> Conditions | None:
        """Say what is wrong; None where nothing can be said of it, and what was found before stands."""


class LossRule(AlertRule):
    """A rule about the champion's loss by the hour."""

    @abstractmethod
    def look(self, loss: LossByHour) -> Conditions | None:
        """Say what is wrong, one condition at most; None where nothing can be said of it."""


def magnitude(count: int) -> int:
    """Return the largest power of ten a count reaches: what is keyed by it is reported again as it grows tenfold."""
    return int("1".ljust(len(str(count)), "0"))
