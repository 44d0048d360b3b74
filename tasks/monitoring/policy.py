"""The policy: a pure function from what was measured to what is to be done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from expectations.production import Policy

Action = Literal["keep", "warn", "hold", "retrain"]
Status = Literal["good", "violated", "unknown"]


@dataclass(frozen=True)
class Seen:
    """One window as the policy sees it."""

    status: Status
    rows: int
    drifted: tuple[str, ...] = ()
    detail: str = ""


@dataclass(frozen=True)
class Situation:
    """What else the policy has to know.

    Attributes
    ----------
    last_turn : datetime or None
        Data time of the last turn, whatever came of it; the cooldown counts from it.
    new_labelled : int
        Ripe labelled rows the champion has not learnt from.
    held : tuple of str
        Expectations the newest data broke; while there are any, nothing is trained.
    """

    as_of: datetime
    last_turn: datetime | None
    new_labelled: int
    open_turn: bool
    held: tuple[str, ...] = ()


@dataclass(frozen=True)
class Decision:
    """What to do, and why, in words."""

    action: Action
    cause: str
    summary: str


def decide(history: Sequence[Seen], policy: Policy, situation: Situation) -> Decision:
    """Decide after a window.

    Cause comes before cure: broken data holds the loop; a loss on good data retrains, if enough windows violate, the
    cooldown is over and there is enough to learn from; drift of inputs without a loss only warns; what is not known
    is neither good nor bad.

    Parameters
    ----------
    history : sequence of Seen
        Windows of the current champion, oldest first, the one to decide about last.
    """
    if situation.held:
        return Decision("hold", "quality", f"the newest data broke its expectations: {'; '.join(situation.held)}")
    if not history:
        return Decision("keep", "unknown", "nothing was served yet")
    latest = history[-1]
    if latest.status == "violated":
        return _after_violation(history, policy, situation)
    drift = _say_drift(latest.drifted)
    if latest.status == "unknown":
        action: Action = "warn" if latest.drifted else "keep"
        return Decision(action, "unknown", f"performance is not known yet ({latest.detail}); {drift or 'no drift'}")
    if latest.drifted:
        return Decision("warn", "drift", f"{drift}, without a loss: {latest.detail}")
    return Decision("keep", "none", f"no loss and no drift: {latest.detail}")


def _after_violation(history: Sequence[Seen], policy: Policy, situation: Situation) -> Decision:
    latest = history[-1]
    violations = sum(seen.status == "violated" for seen in history[-policy.of :])
    drift = _say_drift(latest.drifted)
    loss = f"{latest.detail}" + (f"; {drift}" if drift else "")
    if violations < policy.violations:
        return Decision(
            "warn",
            "decay",
            f"{loss}; {violations} of the last {policy.of} windows violate, {policy.violations} are needed",
        )
    if situation.open_turn:
        return Decision("warn", "decay", f"{loss}; a turn is under way already")
    if situation.last_turn is not None and situation.as_of < policy.cooldown.after(situation.last_turn):
        over = policy.cooldown.after(situation.last_turn)
        return Decision("warn", "decay", f"{loss}; the cooldown of {policy.cooldown} lasts until {over:%Y-%m-%d %H:%M}")
    if situation.new_labelled < policy.min_rows:
        return Decision(
            "warn", "decay", f"{loss}; only {situation.new_labelled} new labelled rows, {policy.min_rows} are needed"
        )
    return Decision("retrain", "decay", f"{loss}; {situation.new_labelled} new labelled rows to learn from")


def _say_drift(drifted: tuple[str, ...]) -> str:
    if not drifted:
        return ""
    more = f" and {len(drifted) - 3} more" if len(drifted) > 3 else ""
    return f"drift in {', '.join(drifted[:3])}{more}"
