"""How a use case does, in a word, by what stands and what was measured; nothing here knows HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from flows.page.known import Known
from tasks.stores.findings import Finding
from tasks.stores.glances import Working
from tasks.stores.measurements import Glimpse
from tasks.stores.stages import STAGES, stage_at

Tone = Literal["good", "worse", "bad", "busy", "unknown", "none"]
SEVERITY_TONES: Mapping[str, Tone] = {"info": "unknown", "warning": "worse", "failure": "bad"}


@dataclass(frozen=True)
class State:
    """How a use case does: a word, a tone that a sign stands for, and a sentence."""

    word: str
    tone: Tone
    why: str = ""
    todo: str = ""


@dataclass(frozen=True)
class Going:
    """What goes on with a use case now, and what is wrong with it.

    Attributes
    ----------
    busy : bool
        Whether a flow of it runs.
    held : tuple of str
        What the newest rows broke, where they are held.
    standing : tuple of Finding
        Findings that stand, the worst first.
    """

    turn: Working | None = None
    busy: bool = False
    held: tuple[str, ...] = ()
    standing: tuple[Finding, ...] = ()


def _doing(turn: Working) -> str:
    stage = stage_at(turn.state)
    return STAGES[stage].words if stage else turn.state


def state_of(known: Known, windows: Sequence[Glimpse], going: Going) -> State:
    """Say in a word how a use case does: nothing that stands is worse than what it says."""
    name, turn = known.name, going.turn
    if known.trouble:
        return State("left out", "bad", known.trouble, f"Correct it, then `driftwheel add {name}`")
    if going.held:
        words = "; ".join(going.held)
        return State("held", "bad", f"the newest rows are held: {words}", "Correct the source; it is judged again then")
    if turn is not None and turn.state == "failed":
        return State("failed", "bad", "the last turn ended with an error", "Read the ledger below, then run it again")
    wrong = _standing_state(going.standing)
    if wrong is not None and wrong.tone == "bad":
        return wrong
    if turn is not None and turn.open:
        return State(_doing(turn), "busy", f"a turn of {turn.cause} is under way")
    if going.busy:
        return State("at work", "busy", "a flow of it runs")
    if known.desired is not None and known.desired.candidate is not None and known.desired.candidate.mode != "prove":
        return State("releasing", "busy", f"version {known.desired.candidate.version} is tried beside the champion")
    measured = _measured_state(known, windows)
    return measured if wrong is None or measured.tone == wrong.tone else wrong


def _standing_state(standing: Sequence[Finding]) -> State | None:
    """Say how a use case does by its findings, the worst first; None where none is more than information."""
    if not standing or standing[0].severity == "info":
        return None
    worst = standing[0]
    more = sum(each.severity == worst.severity for each in standing) - 1
    why = f"{worst.title}{f', and {more} more' if more else ''}"
    return State(worst.severity, SEVERITY_TONES[worst.severity], why, "Read its findings: they say what to do")


def _measured_state(known: Known, windows: Sequence[Glimpse]) -> State:
    """Say how a use case does by what was measured."""
    if known.desired is None or known.desired.champion is None:
        return State(
            "no model yet", "none", "nothing was trained", f"Run the loop, or `driftwheel run loop {known.name}`"
        )
    if not windows:
        return State("not measured", "unknown", "the champion answers; no window is over yet", "Wait, or run monitor")
    last = next((each for each in reversed(windows) if each.status != "unknown"), None)
    if last is None:
        return State("unknown", "unknown", "labels are not known yet", "Nothing: they ripen by themselves")
    if last.status == "violated":
        return State("worse", "worse", f"its metric fell below the bar in {last.name}")
    return State("good", "good", f"within its bar in {last.name}")
