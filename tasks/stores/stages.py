"""The stages of a turn: one table of how it goes from one to the next, read by all that move, start or show turns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

State = Literal["requested", "collecting", "training", "deploying", "done", "refused", "held", "failed"]


@dataclass(frozen=True)
class TurnStage:
    """One stage of a turn.

    Attributes
    ----------
    event : str
        What starts its flow, and asks for it again where a turn does not move.
    accepts : tuple of State
        States of a turn that it may begin from, its own among them: a rerun after a crash.
    works : State
        The turn's state while it works, and until it does where a stage before it handed the turn on.
    then : State
        Where it hands the turn on.
    words : str
        What people read that a turn does in it.
    """

    event: str
    accepts: tuple[State, ...]
    works: State
    then: State
    words: str


STAGES: Mapping[str, TurnStage] = MappingProxyType(
    {
        "collect": TurnStage(
            "driftwheel.retrain.requested", ("requested", "collecting"), "collecting", "training", "collecting"
        ),
        "train": TurnStage("driftwheel.dataset.ready", ("training",), "training", "deploying", "training"),
        "deploy": TurnStage("driftwheel.model.promoted", ("deploying",), "deploying", "done", "releasing"),
    }
)
"""Flow -> its stage, in order."""
OPEN: tuple[State, ...] = tuple(state for stage in STAGES.values() for state in stage.accepts)
"""States of a turn that goes on; a use case has one such turn at most."""


def stage_at(state: str) -> str | None:
    """Return the stage that a turn in a state is in, or waits for; None where it has ended."""
    return next((name for name, stage in STAGES.items() if state in stage.accepts), None)


def stages_from(state: str) -> list[str]:
    """Return the stages that a turn in a state still needs, in order."""
    names = list(STAGES)
    first = stage_at(state)
    return [] if first is None else names[names.index(first) :]
