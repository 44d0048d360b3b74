"""What was measured over a window, as far as the page shows it: decoded without what it does not."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from expectations.windows import Window


class Expected(msgspec.Struct, frozen=True):
    """What a metric was expected to be before its labels were known."""

    value: float | None = None
    low: float | None = None
    high: float | None = None


class Estimated(msgspec.Struct, frozen=True):
    """What a metric is expected to be, labels or not."""

    metric: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    trusted: bool = True
    why: str = ""
    before: Expected | None = None

    @property
    def first(self) -> Expected:
        """The estimate that was made without the window's own labels, where one was; else the one there is."""
        return self.before if self.before is not None else Expected(self.value, self.low, self.high)


class Realised(msgspec.Struct, frozen=True):
    """A metric that is known."""

    metric: str
    value: float | None = None
    reference: float | None = None
    drop: float = 0.0
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
        finite = {name: value for name, value in self.baselines.items() if math.isfinite(value)}
        if not finite or greater is None:
            return None
        name = (max if greater else min)(finite, key=lambda each: finite[each])
        return name, finite[name]


class Drifted(msgspec.Struct, frozen=True):
    """A column held against the champion's training rows."""

    column: str
    status: str = ""
    what: str = ""
    odds: float | None = None
    effect: float | None = None
    score: float | None = None
    reason: str = ""
    drifted: bool = False


class Part(msgspec.Struct, frozen=True):
    """A part of the difference in loss."""

    kind: str
    what: str
    value: float
    remedy: str = ""
    named: bool = False


class Causes(msgspec.Struct, frozen=True):
    """Why a window lost more than those before it."""

    metric: str
    status: str
    before: float | None = None
    now: float | None = None
    total: float | None = None
    parts: list[Part] = []
    notes: list[str] = []


class Bounded(msgspec.Struct, frozen=True):
    """A figure with its bounds."""

    value: float | None = None
    low: float | None = None
    high: float | None = None


class Covered(Bounded, frozen=True):
    """How often intervals, or sets of classes, held the truth."""

    declared: float = 0.0
    rows: int = 0


class OfSlice(msgspec.Struct, frozen=True):
    """Part of the rows by a declared column."""

    words: str
    rows: int
    metrics: dict[str, Bounded] = {}
    before: dict[str, Bounded] = {}
    worse: list[str] = []


class Group(msgspec.Struct, frozen=True):
    """What became of the rows of a group."""

    name: str
    rows: int
    selected: Bounded
    true_positive: Bounded
    false_positive: Bounded


class Fairness(msgspec.Struct, frozen=True):
    """How far the groups of a column are treated apart."""

    column: str
    groups: list[Group] = []
    measures: dict[str, Bounded] = {}
    bounds: dict[str, float | None] = {}
    broken: list[str] = []


class Glimpse(msgspec.Struct, frozen=True):
    """A window without its columns: all that a card shows of it."""

    start: str
    end: str
    counted: tuple[int, int] | None = None
    champion: str = ""
    version: str = ""
    rows: int = 0
    coverage: float = 0.0
    status: str = "unknown"
    realised: list[Realised] = []
    estimated: list[Estimated] = []

    @property
    def name(self) -> str:
        """How the window is called, as everywhere else."""
        return Window.of({"start": self.start, "end": self.end, "counted": self.counted}).name

    def known(self, metric: str) -> Realised | None:
        """Return a metric where its value is known."""
        return next((each for each in self.realised if each.metric == metric and each.value is not None), None)

    def expected(self, metric: str) -> Estimated | None:
        """Return the estimate of a metric where there is one."""
        return next((each for each in self.estimated if each.metric == metric and each.value is not None), None)


class Measured(Glimpse, frozen=True):
    """A window, with what was found of its columns, and why it lost more."""

    drift: list[Drifted] = []
    causes: Causes | None = None
    slices: list[OfSlice] = []
    fairness: list[Fairness] = []
    covered: Covered | None = None

    @property
    def drifted(self) -> list[Drifted]:
        """Columns that drifted, worst first."""
        return [each for each in self.drift if each.drifted]


_glimpses, _whole = msgspec.json.Decoder(Glimpse), msgspec.json.Decoder(Measured)


def glimpse(contents: Sequence[str]) -> list[Glimpse]:
    """Decode measurements as the database keeps them, without their columns."""
    return [_glimpses.decode(each) for each in contents]


def decode(contents: Sequence[str]) -> list[Measured]:
    """Decode measurements as the database keeps them."""
    return [_whole.decode(each) for each in contents]
