"""When to retrain: what a policy sees of the past, and what it may answer.

A policy is declared under ``monitoring.policy`` and identified by its `trigger`. It is a pure function of the history:
the same history gives the same answer, live, in a replay and in a backtest.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from expectations.durations import Duration
from expectations.fields import PositiveSpan, Span, Strict
from expectations.parts import Part

HISTORY = 1000
"""Windows of its champion, and trials of those before, that a decision is made by: the newest."""
Action = Literal["keep", "warn", "hold", "retrain", "recalibrate", "rollback"]
Remedy = Literal["retrain", "recalibrate"]
RECALIBRATE: Remedy = "recalibrate"
"""What turns are opened for that keep the champion's model; such a turn has it for its cause."""
TURNED: tuple[Action, ...] = ("retrain", RECALIBRATE)
"""Actions that open a turn."""
RECALIBRATION = 0.5
"""What a recalibration costs beside a release that trains: the release remains, the training does not."""
Status = Literal["good", "violated", "unknown"]


@dataclass(frozen=True)
class Trial:
    """A fresh challenger against the champion on the newest rows of a window, which neither had seen.

    Attributes
    ----------
    gap : float
        Logarithm of the champion's loss over the challenger's: 0.05 is a challenger 5 % better.
    variance : float
        Of the gap, over blocks of time.
    grown : float
        ln(1 + rows that became ripe since the champion learnt / rows it learnt from), where the tried rows begin.
    number : int
        The window's place among all windows of the use case whose performance is known.
    """

    gap: float
    variance: float
    grown: float
    number: int


@dataclass(frozen=True)
class Back:
    """The champion that this one replaced against this one, over all rows of a window.

    Attributes
    ----------
    gap, variance : float
        As for `Trial`: 0.05 is a predecessor that would have lost 5 % less.
    rows : int
        How many rows that neither had seen; 0 where it was not kept.
    """

    gap: float
    variance: float
    rows: int = 0


@dataclass(frozen=True)
class SeenWindow:
    """One window as a policy sees it.

    Attributes
    ----------
    drifted : tuple of str
        Columns; all that are watched of the predictions are one.
    number : int
        As for `Trial`.
    grown : float
        As for `Trial`, where the window begins.
    trial : Trial, optional
        None where there were too few labels for one, or the policy asks for none.
    back : Back, optional
        None where this champion replaced none, has answered longer than a release is watched, or labels were too few.
    inputs : int
        How many of `drifted` are inputs, and neither predictions nor the label.
    expected : {"good", "violated"} or None
        What `status` is expected to be before the labels come; None where that is not estimated, or not to be trusted.
    level : float
        Where the first cause of a loss is that labels moved as a whole: logarithm of the window's loss over what it
        would be without that, the most that a recalibration saves; else 0. A backtest knows no causes.
    """

    status: Status
    rows: int
    drifted: tuple[str, ...] = ()
    detail: str = ""
    number: int = 0
    grown: float = 0.0
    trial: Trial | None = None
    back: Back | None = None
    expected: Literal["good", "violated"] | None = None
    inputs: int = 0
    level: float = 0.0


@dataclass(frozen=True)
class History:
    """What a policy decides by.

    Attributes
    ----------
    windows : tuple of SeenWindow
        Of the current champion, oldest first; the one to decide about last.
    grown : float
        As for `Trial`, at the decision.
    past : tuple of Trial
        Trials of champions before this one.
    every : Duration, optional
        Length of a window.
    release_cost : float, optional
        What a release costs in windows of relative loss, where the use case's `costs` say so.
    older : int
        Windows of the champion whose performance is known and that lie before `windows`, which are the newest 1,000.
    """

    windows: tuple[SeenWindow, ...] = ()
    grown: float = 0.0
    past: tuple[Trial, ...] = ()
    every: Duration | None = None
    release_cost: float | None = None
    older: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can carry; `from_dict` makes it again, but for the words about windows before the last.

        What is not set is left out: a ledger keeps a history for each decision.
        """
        newest = self.windows[-1] if self.windows else None
        content = {
            **_brief({each.name: getattr(self, each.name) for each in fields(self)}),
            "windows": [_brief(vars(each) | ({} if each is newest else {"detail": ""})) for each in self.windows],
            "past": [dict(vars(each)) for each in self.past],
        }
        return content | ({"every": str(self.every)} if self.every else {})

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> History:
        """Make it of what JSON kept."""
        return cls(
            tuple(_seen(each) for each in content["windows"]),
            content.get("grown", 0.0),
            tuple(_trial(each) for each in content["past"]),
            Duration.parse(content["every"]) if content.get("every") else None,
            content.get("release_cost"),
            content.get("older", 0),
        )


def _brief(content: dict[str, Any]) -> dict[str, Any]:
    """Leave out what is not set: a ledger keeps a history for each decision."""
    return {
        key: dict(vars(value)) if isinstance(value, Trial | Back) else value
        for key, value in content.items()
        if value is not None and value not in ("", 0, ())
    }


def _seen(content: Mapping[str, Any]) -> SeenWindow:
    trial, back = content.get("trial"), content.get("back")
    if trial and trial.get("back") is not None:  # of decisions from before a release was watched by every policy
        back = {"gap": trial["back"], "variance": trial["back_variance"]}
    return SeenWindow(
        content["status"],
        content.get("rows", 0),
        tuple(content.get("drifted", ())),
        content.get("detail", ""),
        content.get("number", 0),
        content.get("grown", 0.0),
        _trial(trial) if trial else None,
        Back(**back) if back else None,
        content.get("expected"),
        content.get("inputs", 0),
        content.get("level", 0.0),
    )


def _trial(content: Mapping[str, Any]) -> Trial:
    return Trial(content["gap"], content["variance"], content["grown"], content["number"])


@dataclass(frozen=True)
class Proposal:
    """What a policy asks for, before what bounds every policy.

    Attributes
    ----------
    alert : bool
        Whether a person is to hear of it: something is being lost, or cannot be helped by retraining.
    """

    retrain: bool
    cause: str
    summary: str
    alert: bool = False
    evidence: Mapping[str, Any] = field(default_factory=dict)


class Budget(Strict):
    """How many releases there may be in a period."""

    releases: Annotated[int, Field(ge=1)]
    per: PositiveSpan


class Policy(Part):
    """When the wheel turns: a trigger, and the bounds that every trigger keeps to."""

    needs: ClassVar[tuple[str, ...]] = ()
    """What it sees of a window that only a live one has: a backtest says that it has not.

    `estimates` and `causes` are what some kinds of problems do not watch (`Problem.unwatched`); these refuse it.
    """
    trigger: str
    cooldown: Span = Duration.parse("0d")
    """Data time between two retrainings at least."""
    min_rows: Annotated[int, Field(ge=1)] | None = None
    """New labelled rows a retraining needs; null for as many as give a holdout of `evaluation.min_rows`."""
    budget: Budget | None = None
    """Releases that may be paid in a period; null for no bound."""
    breaker: Annotated[int, Field(ge=1)] = 3
    """Refused challengers in a row after which it waits as many windows as were refused before it asks for another."""
    approval: PositiveSpan | None = None
    """How long a release waits for a person to allow it in Prefect before it is refused; null asks no one."""
    dry_run: bool = False
    """Say what would be decided, and do nothing."""
    remedies: Annotated[tuple[Remedy, ...], Field(min_length=1, strict=False)] = ("retrain",)
    """What may be done. With `recalibrate` a window that loses since its labels moved as a whole has the champion's
    calibration learnt again, and its model kept; where that is refused, it is not asked for before the next release."""

    @property
    def tries(self) -> Literal["auto", "recipe", "twin"] | None:
        """What each window is to be tried with; None for no trials."""
        return None

    def recalibrates(self, history: History) -> bool:
        """Whether a recalibration is the remedy of the last window, and may be done."""
        return RECALIBRATE in self.remedies and history.windows[-1].level > 0

    @abstractmethod
    def asks(self, history: History) -> Proposal:
        """Answer what is to be done after the last window of a history that has one."""
