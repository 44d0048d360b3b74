"""What a run is doing, said as it goes: for the flow's log in Prefect, and for a person who waits at a terminal."""

from __future__ import annotations

import logging

LOGGER = "driftwheel.progress"
STAGES = f"{LOGGER}.stages"
_log = logging.getLogger(LOGGER)
_stages = logging.getLogger(STAGES)


def say(text: str, *values: object) -> None:
    """Report something that is done, or how far it is, in one line."""
    _log.info(text, *values)


def say_stage(text: str, *values: object) -> None:
    """Report how a stage of a turn went; where many turns are walked through, this is detail."""
    _stages.info(text, *values)


def doing(text: str) -> None:
    """Report what is begun."""
    _stages.debug("%s", text)
