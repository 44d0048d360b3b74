"""What a measurement of a window is made of: labels, parts of the rows, what it was held against."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from tasks.stores.plain import plain

SAID = ("words", "status", "reason")
"""What a measure may say in texts."""


class FeedbackUse(msgspec.Struct, frozen=True):
    """What feedback had to say about some predictions, for the record.

    Attributes
    ----------
    used : int
        Predictions whose label is feedback's.
    both : int
        Predictions whose label feedback and the sources have.
    contradicting : int
        Those of `both` with two different labels; `prefer` of the use case decides which counts.
    several : int
        Predictions with more than one label by feedback, of which `per_id` decides.
    unusable : int
        Labels the bundle does not take: from a journal of before they were checked, or of another model.
    senders : dict of str to int
        Name of the API key -> predictions whose label in use came with it; the empty name where none was asked for.
    """

    used: int = 0
    both: int = 0
    contradicting: int = 0
    several: int = 0
    unusable: int = 0
    senders: dict[str, int] | None = None


class FigureMeasured(msgspec.Struct, frozen=True):
    """A figure with its bounds, None where they are not defined."""

    value: float | None = None
    low: float | None = None
    high: float | None = None


class Covered(FigureMeasured, frozen=True):
    """How often intervals, or sets of classes, held the truth.

    Attributes
    ----------
    declared : float
        How often they are to.
    """

    declared: float = 0.0
    rows: int = 0


class SliceMeasured(msgspec.Struct, frozen=True):
    """Part of the rows by a declared column.

    Attributes
    ----------
    metrics, before : dict of str to FigureMeasured
        Metric -> value in the window, and on the holdout the champion was judged on.
    worse : tuple of str
        Metrics that got worse than on the holdout by more than the declared drop, beyond doubt.
    """

    words: str
    rows: int
    column: str = ""
    metrics: dict[str, FigureMeasured] = {}
    before: dict[str, FigureMeasured] = {}
    worse: tuple[str, ...] = ()


class GroupMeasured(msgspec.Struct, frozen=True):
    """What became of the rows of a group: shares as of `tasks.evaluation.fairness.Group`."""

    name: str
    rows: int
    selected: FigureMeasured = FigureMeasured()
    true_positive: FigureMeasured = FigureMeasured()
    false_positive: FigureMeasured = FigureMeasured()


class FairnessMeasured(msgspec.Struct, frozen=True):
    """How far the groups of a column are treated apart.

    Attributes
    ----------
    measures : dict of str to FigureMeasured
        Differences between groups by measure (`tasks.evaluation.fairness.MEASURES`).
    bounds : dict of str to float or None
        What is declared of each.
    broken : tuple of str
        Measures that are beyond their bound, beyond doubt.
    too_small : tuple of str
        Groups with too few rows to be compared.
    """

    column: str
    groups: tuple[GroupMeasured, ...] = ()
    measures: dict[str, FigureMeasured] = {}
    too_small: tuple[str, ...] = ()
    bounds: dict[str, float | None] = {}
    broken: tuple[str, ...] = ()


class HeldAgainst(msgspec.Struct, frozen=True):
    """What the inputs of a window were held against, where that is declared.

    Attributes
    ----------
    of : str
        The choice whose rows these are (`expectations.references`).
    spans : tuple of (datetime, datetime)
        Half-open, in the use case's local time; none where it is what the champion learnt from.
    rows : int or None
        Rows in them; None where they were not read.
    why : str
        Why the inputs are undetermined.
    """

    of: str
    spans: tuple[tuple[datetime, datetime], ...] = ()
    rows: int | None = None
    why: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can carry, without what there is nothing of."""
        found = msgspec.structs.asdict(self)
        return {name: value for name, value in found.items() if value not in ((), None, "")}


class MeasureFound(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a declared measure found.

    Attributes
    ----------
    words : str
        What is said of it beside the window; empty where nothing is.
    status, reason : str
        Of a measure that says whether something changed: `undetermined` where that is not known, and why.
    values : dict of str to any
        Its numbers, and what else JSON carries of it.
    """

    words: str = ""
    status: str = ""
    reason: str = ""
    values: dict[str, Any] = {}

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> MeasureFound:
        """Make it of what a measure returns: texts under `words`, `status` and `reason`, the rest are its values.

        Raises
        ------
        TypeError
            If one of these is neither a text nor None, or the rest is nothing that JSON can carry.
        """
        said = {name: "" if found.get(name) is None else found[name] for name in SAID}
        if odd := [name for name, value in said.items() if not isinstance(value, str)]:
            raise TypeError(f"{', '.join(odd)} must be texts")
        return cls(**said, values={name: plain(value) for name, value in found.items() if name not in said})

    @classmethod
    def earlier(cls, content: Mapping[str, Any]) -> MeasureFound:
        """Take apart what up to format 2 of a measurement lay in one, unless a later driftwheel wrote it again.

        What a measure then called `words`, `status` or `reason` was checked by nobody: what is no text is a value.
        """
        try:
            return msgspec.convert(content, cls)
        except msgspec.ValidationError:
            texts = {name: content[name] for name in SAID if isinstance(content.get(name), str)}
            absent = {name for name in SAID if content.get(name) is None}
            return cls(**texts, values={n: each for n, each in content.items() if n not in absent | texts.keys()})

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can carry, without what there is nothing of."""
        return {name: value for name, value in msgspec.structs.asdict(self).items() if value}
