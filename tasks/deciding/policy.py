"""The policy: a pure function from what was measured to what is to be done."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from itertools import takewhile
from typing import Any

from expectations.deciding import RECALIBRATE, Action, History, Policy
from expectations.durations import Duration
from expectations.gates import EvaluationSettings
from tasks.deciding.gaps import worse_than_before


@dataclass(frozen=True)
class Ended:
    """A turn that came to its end.

    Attributes
    ----------
    as_of : datetime
        Data time it was asked for at.
    released : bool
        Whether its challenger became the champion, and not its being refused.
    recalibrated : bool
        Whether it was a recalibration, and not a training.
    """

    as_of: datetime
    released: bool
    recalibrated: bool = False


@dataclass(frozen=True)
class Situation:
    """What else bounds a decision.

    Attributes
    ----------
    last_turn : datetime or None
        Data time of the last turn, whatever came of it; the cooldown counts from it.
    new_labelled : int
        Ripe labelled rows the champion has not learnt from.
    open_turn : bool
        Whether a turn is under way.
    held : tuple of str
        Expectations the newest data broke; while there are any, nothing is trained.
    ended : tuple of Ended
        Turns that were released or refused, oldest first; not the first model's.
    since_ended : int
        Windows that ended after the last of these was asked for.
    """

    as_of: datetime
    last_turn: datetime | None
    new_labelled: int
    open_turn: bool = False
    held: tuple[str, ...] = ()
    ended: tuple[Ended, ...] = ()
    since_ended: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can carry; `from_dict` makes it again."""
        return {
            **asdict(self),
            "as_of": self.as_of.isoformat(),
            "last_turn": self.last_turn.isoformat() if self.last_turn else None,
            "ended": [{**vars(each), "as_of": each.as_of.isoformat()} for each in self.ended],
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Situation:
        """Make it of what JSON kept."""
        return cls(
            datetime.fromisoformat(content["as_of"]),
            datetime.fromisoformat(content["last_turn"]) if content["last_turn"] else None,
            content["new_labelled"],
            content["open_turn"],
            tuple(content["held"]),
            tuple(
                Ended(datetime.fromisoformat(each["as_of"]), each["released"], each.get("recalibrated", False))
                for each in content["ended"]
            ),
            content.get("since_ended", 0),
        )


@dataclass(frozen=True)
class Decision:
    """What to do, and why, in words.

    Attributes
    ----------
    alert : bool
        Whether a person is to hear of it now.
    """

    action: Action
    cause: str
    summary: str
    alert: bool = False
    evidence: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DecisionBounds:
    """What a use case says beside its policy that bounds a decision.

    Attributes
    ----------
    every : Duration or None
        Length of a window; None where it is so many rows.
    min_rows : int
        New labelled rows a retraining needs, where the policy does not say.
    """

    every: Duration | None
    min_rows: int

    @classmethod
    def of(cls, every: Duration | None, evaluation: EvaluationSettings) -> DecisionBounds:
        """Return those of a use case: as many rows as give a holdout that may be judged by."""
        return cls(every, math.ceil(evaluation.min_rows / evaluation.holdout))

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can carry; `from_dict` makes it again."""
        return {"every": str(self.every) if self.every else None, "min_rows": self.min_rows}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> DecisionBounds:
        """Make it of what JSON kept."""
        return cls(Duration.parse(content["every"]) if content["every"] else None, content["min_rows"])


def decide(history: History, policy: Policy, situation: Situation, bounds: DecisionBounds) -> Decision:
    """Decide after a window.

    Cause comes before cure: broken data holds the loop. Then the policy answers, and where it asks for a retraining the
    bounds are held against it: single flight, cooldown, rows to judge by, budget, breaker.

    Parameters
    ----------
    bounds : DecisionBounds
        What the use case says beside its policy.
    """
    if situation.held:
        broken = f"the newest data broke its expectations: {'; '.join(situation.held)}"
        return Decision("hold", "quality", broken, alert=True)
    if not history.windows:
        return Decision("keep", "unknown", "nothing was served yet")
    back = _back(history, policy, situation)
    if back is not None:
        return back
    history = _without_vain_remedy(history, situation, bounds)
    answer = policy.asks(history)
    evidence = dict(answer.evidence)
    if not answer.retrain:
        return Decision(
            "warn" if answer.alert else "keep", answer.cause, answer.summary, alert=answer.alert, evidence=evidence
        )
    against = _against(policy, situation, bounds)
    if against:
        action: Action = "warn" if answer.alert else "keep"
        return Decision(action, answer.cause, f"{answer.summary}; {against}", alert=answer.alert, evidence=evidence)
    summary = f"{answer.summary}; {situation.new_labelled} new labelled rows to learn from"
    if policy.dry_run:
        return Decision(
            "keep", answer.cause, f"{summary}; a dry run: nothing is done", alert=answer.alert, evidence=evidence
        )
    remedy: Action = RECALIBRATE if policy.recalibrates(history) else "retrain"
    if remedy not in policy.remedies:
        return Decision(
            "warn" if answer.alert else "keep",
            answer.cause,
            f"{answer.summary}; `remedies` allow no retraining",
            alert=answer.alert,
            evidence=evidence,
        )
    cause = "label" if remedy == RECALIBRATE else answer.cause
    return Decision(remedy, cause, summary, alert=answer.alert, evidence=evidence)


def _without_vain_remedy(history: History, situation: Situation, bounds: DecisionBounds) -> History:
    """Leave out that labels moved where a recalibration would be in vain.

    One was refused since the last release: it did not help this champion. Or the window, whose rows and those after it
    alone teach and judge it, has too few.
    """
    *before, newest = history.windows
    since = takewhile(lambda each: not each.released, reversed(situation.ended))
    if newest.rows >= bounds.min_rows and not any(each.recalibrated for each in since):
        return history
    return replace(history, windows=(*before, replace(newest, level=0.0)))


def _back(history: History, policy: Policy, situation: Situation) -> Decision | None:
    """Take a release back whose predecessor is better on rows that neither had seen, as soon as that is certain."""
    if history.windows[-1].back is None or situation.open_turn:
        return None
    worse = worse_than_before(history.windows)
    if worse is None:
        return None
    summary = (
        f"the champion before would have saved {100 * -math.expm1(-worse):.1f} % of the loss since this one answers; "
        f"{history.windows[-1].detail}"
    )
    if policy.dry_run:
        return Decision("keep", "release", f"{summary}; a dry run: nothing is done", alert=True)
    return Decision("rollback", "release", summary, alert=True, evidence={"worse": worse})


def _against(policy: Policy, situation: Situation, bounds: DecisionBounds) -> str:
    """Say what is against a retraining that the policy asks for; nothing where nothing is."""
    now = situation.as_of
    if situation.open_turn:
        return "a turn is under way already"
    if situation.last_turn is not None and now < policy.cooldown.after(situation.last_turn):
        over = policy.cooldown.after(situation.last_turn)
        return f"the cooldown of {policy.cooldown} lasts until {over:%Y-%m-%d %H:%M}"
    needed = bounds.min_rows if policy.min_rows is None else policy.min_rows
    if situation.new_labelled < needed:
        return f"only {situation.new_labelled} new labelled rows, {needed} are needed"
    if policy.budget is not None:
        since = policy.budget.per.after(now, -1)
        paid = sum(each.released and each.as_of > since for each in situation.ended)
        if paid >= policy.budget.releases:
            return f"{paid} releases in the last {policy.budget.per}, which is the budget"
    refused = _refused_in_a_row(situation.ended)
    if refused >= policy.breaker and bounds.every is None:
        left = refused - situation.since_ended
        if left > 0:
            return f"{refused} challengers in a row were refused: none is tried in the next {left} windows"
    elif refused >= policy.breaker and bounds.every is not None:
        until = bounds.every.after(situation.ended[-1].as_of, refused)
        if now < until:
            return f"{refused} challengers in a row were refused: none is tried before {until:%Y-%m-%d %H:%M}"
    return ""


def _refused_in_a_row(ended: Sequence[Ended]) -> int:
    count = 0
    for each in reversed(ended):
        if each.released:
            break
        count += 1
    return count


def say_drift(drifted: tuple[str, ...]) -> str:
    """Name the columns that drifted, the first three of them."""
    if not drifted:
        return ""
    more = f" and {len(drifted) - 3} more" if len(drifted) > 3 else ""
    return f"drift in {', '.join(drifted[:3])}{more}"
