"""The record of what was measured over a window of production, as it is kept: typed, and numbered.

A measurement is kept as JSON, in the database and in the evidence of the decision about it. Everything reads it as
`Measurement`; records of before are read as far as they go (`FORMAT`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Concatenate, ParamSpec, TypeVar

import msgspec

from expectations.deciding import Status
from expectations.errors import DatabaseError
from expectations.windows import Window, name_of
from tasks.evaluation.causes.model import Causes
from tasks.evaluation.drifted import Drifted
from tasks.evaluation.estimates.estimate import Estimate
from tasks.evaluation.realised import Realised
from tasks.stores.measured_parts import Covered, FairnessMeasured, FeedbackUse, HeldAgainst, MeasureFound, SliceMeasured
from tasks.stores.plain import plain

FORMAT = 3
"""Of the records written now. Those of format 1 had no number; the first of them said of a column only `drifted`. Up to
format 2 what is `undetermined` was called `cannot be told`, and what measures found lay in one with their words."""
_RENAMED = ('"status": "cannot be told"', '"status": "undetermined"')
"""As JSON is written here; within a text its quotes would be escaped."""
_ONLY_IF = ("reference", "measures", "covered", "unseen", "mix", "unwatched")
"""Left out of JSON where there is nothing of it."""
_PARTS = ("slices", "fairness")
"""Left out where it was not measured: that there were none is said."""


class Glimpse(msgspec.Struct, frozen=True):
    """What a list shows of a window: a measurement read without its columns.

    Attributes
    ----------
    start, end : datetime
        The window, [start, end).
    counted : tuple of int, optional
        As of `Window`.
    champion, version : str
        The bundle that answered most of it, and its version.
    rows : int
        Predictions in the window.
    coverage : float
        Share of the champion's predictions whose label is known.
    status : {"good", "violated", "unknown"}
        Violated if any rule is, else unknown if any is.
    realised : tuple of Realised
        Of each metric that is watched.
    estimated : tuple of Estimate
        What each metric is expected to be, labels or not; empty where the champion's bundle is from before that was.
    format : int
        As of `FORMAT`.
    """

    start: datetime
    end: datetime
    counted: tuple[int, int] | None = None
    champion: str = ""
    version: str = ""
    rows: int = 0
    coverage: float = 0.0
    status: Status = "unknown"
    realised: tuple[Realised, ...] = ()
    estimated: tuple[Estimate, ...] = ()
    format: int = 1

    @property
    def window(self) -> Window:
        """The window it is of."""
        return Window(self.start, self.end, self.counted)

    @property
    def name(self) -> str:
        """How the window is called, as everywhere else."""
        return name_of(self.start, self.counted)

    def known(self, metric: str) -> Realised | None:
        """Return a metric where its value is known."""
        for each in self.realised:  # a loop: pages ask 1,200 windows several times
            if each.metric == metric and each.value is not None:
                return each
        return None

    def expected(self, metric: str) -> Estimate | None:
        """Return the estimate of a metric where there is one."""
        for each in self.estimated:
            if each.metric == metric and each.value is not None:
                return each
        return None


class Measurement(Glimpse, frozen=True):
    """Everything measured over one window.

    Attributes
    ----------
    champion_rows, labelled : int
        Predictions of the current champion in the window, and those of them with a known label.
    ripe : bool
        Whether every label of it could be known when it was measured.
    drift : tuple of Drifted
        What was found of each column, the most certain change first.
    served : dict of str to float
        Every metric over all labelled predictions of the window, whichever version made them; finite ones.
    causes : Causes or None
        Why the champion loses more than in its earlier windows, where it does.
    slices, fairness : tuple or None
        What was measured of declared parts; None where none was looked at.
    covered : Covered or None
        How often intervals held the truth, where the champion has any.
    reference : HeldAgainst or None
        What the inputs were held against, where that is declared (`tasks.monitoring.chosen_reference`).
    measures : dict of str to MeasureFound
        What the declared measures found, by name (`tasks.monitoring.declared_measures`).
    unseen : int
        Labels of classes that the champion never saw, among its own predictions: such rows count as wholly lost.
    mix : dict of str to dict of str to float
        Of several classes the predicted mix: class -> `called`, the share of rows that it is predicted for, and `mean`,
        its mean probability.
    unwatched : dict of str to str
        What is not measured for this kind of problem -> in words (`Problem.unwatched`).
    """

    champion_rows: int = 0
    labelled: int = 0
    ripe: bool = False
    drift: tuple[Drifted, ...] = ()
    served: dict[str, float | None] = {}
    feedback: FeedbackUse = FeedbackUse()
    causes: Causes | None = None
    slices: tuple[SliceMeasured, ...] | None = None
    fairness: tuple[FairnessMeasured, ...] | None = None
    covered: Covered | None = None
    reference: HeldAgainst | None = None
    measures: dict[str, MeasureFound] = {}
    unseen: int = 0
    mix: dict[str, dict[str, float | None]] = {}
    unwatched: dict[str, str] = {}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Measurement:
        """Make it of what JSON kept, in this format or an earlier one.

        Raises
        ------
        DatabaseError
            If it is of a later format, or no measurement.
        """
        return read_measurement(json.dumps(content))

    @property
    def judged(self) -> Realised | None:
        """The first watched metric that is known: what causes are sought for."""
        return next((each for each in self.realised if each.value is not None), None)

    @property
    def drifted(self) -> tuple[Drifted, ...]:
        """Columns that drifted, worst first."""
        return tuple(each for each in self.drift if each.drifted)

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can carry: a number that is not finite is null."""
        found = {name: getattr(self, name) for name in self.__struct_fields__}
        of_window = ("start", "end", "counted")
        left_out = {*of_window, *(name for name in _ONLY_IF if not found[name])}
        left_out |= {name for name in _PARTS if found[name] is None}
        kept = {name: value for name, value in found.items() if name not in left_out}
        return {**self.window.to_dict(), **plain(kept)}


G = TypeVar("G", bound=Glimpse)
P = ParamSpec("P")


def _of_window(
    make: Callable[Concatenate[datetime, datetime, tuple[int, int] | None, P], G],
) -> Callable[Concatenate[Window, P], G]:
    """Take a window in the place of its ends, and number the record; the type checker knows all other fields."""

    def made(window: Window, /, *args: P.args, **kwargs: P.kwargs) -> G:
        kwargs.setdefault("format", FORMAT)
        return make(window.start, window.end, window.counted, *args, **kwargs)

    return made


measurement_of = _of_window(Measurement)
"""Make the record of a window that is measured now, `measurement_of(window, rows=100)`: the fields of `Measurement`."""


class _Least(msgspec.Struct):
    """What every measurement that was ever kept has."""

    start: datetime
    end: datetime
    rows: int
    status: Status
    format: int = 1


_least = msgspec.json.Decoder(_Least)
_glimpses, _whole = msgspec.json.Decoder(Glimpse), msgspec.json.Decoder(Measurement)


def read_glimpse(content: str) -> Glimpse:
    """Read a measurement as it is kept, without its columns.

    Raises
    ------
    DatabaseError
        As `Measurement.from_dict`.
    """
    with _of_this_format():
        try:
            _least.decode(content)
            return _numbered(_glimpses.decode(content))
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:
            found = _loaded(content)
            msgspec.convert(found, _Least)
            return _numbered(msgspec.convert(found, Glimpse))


def read_measurement(content: str) -> Measurement:
    """Read a measurement as it is kept, in this format or an earlier one.

    Raises
    ------
    DatabaseError
        As `Measurement.from_dict`.
    """
    if _RENAMED[0] in content:  # to search costs next to nothing, and what measures say of themselves is any text
        content = content.replace(*_RENAMED)
    try:
        return _decoded(content)
    except msgspec.DecodeError:  # of an earlier format, or none
        return _earlier(_loaded(content))


def _decoded(content: str) -> Measurement:
    found = _whole.decode(content)
    if not found.rows or found.status == "unknown":  # as where a record says nothing of them: then it is none
        _least.decode(content)
    return _numbered(found)


def _earlier(content: Any) -> Measurement:  # noqa: ANN401 - JSON
    with _of_this_format():
        least = msgspec.convert(content, _Least)
        columns = msgspec.convert(content.get("drift", ()), list[dict[str, Any]])
        drift = [{"status": "drifted" if each.get("drifted") else "same", **each} for each in columns]
        found = {**content, "drift": drift}
        if content.get("measures") and least.format < FORMAT:
            measures = msgspec.convert(content["measures"], dict[str, dict[str, Any]])
            found["measures"] = {name: MeasureFound.earlier(each) for name, each in measures.items()}
        return _numbered(msgspec.convert(found, Measurement))


def _loaded(content: str) -> Any:  # noqa: ANN401 - JSON
    """Read what Python once wrote: with numbers that are not finite, which JSON does not have; they are null."""
    try:
        return plain(json.loads(content))
    except ValueError as error:
        raise _unreadable(f"no JSON: {error}") from error


def measurement_in(evidence: Mapping[str, Any]) -> Measurement | None:
    """Return the measurement in the evidence of a decision; None where that is about no window."""
    content = evidence.get("window")
    return Measurement.from_dict(content) if content and "start" in content else None


def _numbered(found: G) -> G:
    if found.format > FORMAT:
        raise _unreadable(f"one of format {found.format}")
    return found


@contextmanager
def _of_this_format() -> Iterator[None]:
    try:
        yield
    except msgspec.ValidationError as error:
        raise _unreadable(str(error)) from error


def _unreadable(found: str) -> DatabaseError:
    return DatabaseError(
        f"a measurement of format {FORMAT} or earlier",
        found,
        "If a later driftwheel wrote it, install that one; else restore a backup",
    )
