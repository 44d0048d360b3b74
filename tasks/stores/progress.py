"""What a run is doing, said as it goes: for the flow's log in Prefect, and for a person who waits at a terminal."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

from expectations.durations import spoken

LOGGER = "driftwheel.progress"
STAGES = f"{LOGGER}.stages"
_log = logging.getLogger(LOGGER)
_stages = logging.getLogger(STAGES)
_parts: ContextVar[tuple[str, ...]] = ContextVar("parts", default=())


class Watcher(Protocol):
    """Hears which step begins and ends, each within the one before it that has not ended, and of rounds of learning."""

    def begin(self, step: str) -> None:
        """Hear of a step that begins."""

    def end(self) -> None:
        """Hear that the step which began last ends, by an error, too."""

    def round_done(self, family: str) -> None:
        """Hear that a model of a family has learnt for one more round."""


_watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)


@contextmanager
def watched_by(watcher: Watcher) -> Iterator[None]:
    """Let somebody hear of all steps of this block."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)


@contextmanager
def step(text: str) -> Iterator[None]:
    """Let a watcher hear of what is done in this block; unlike a `part`, nobody who waits does."""
    watcher = _watcher.get()
    if watcher is None:
        yield
        return
    watcher.begin(text)
    try:
        yield
    finally:
        watcher.end()


def round_done(family: str) -> None:
    """Let a watcher hear of a round of learning."""
    watcher = _watcher.get()
    if watcher is not None:
        watcher.round_done(family)


def say(text: str, *values: object) -> None:
    """Report something that is done, or how far it is, in one line."""
    _log.info(text, *values)


def say_stage(text: str, *values: object) -> None:
    """Report how a stage of a turn went; where many turns are walked through, this is detail."""
    _stages.info(text, *values)


def doing(text: str) -> None:
    """Report what is begun, after what it is a part of."""
    _stages.debug("%s", ": ".join((*_parts.get(), text)))


@contextmanager
def part(text: str) -> Iterator[None]:
    """Report what is begun, and that all that is done while the block lasts is a part of it."""
    doing(text)
    token = _parts.set((*_parts.get(), text))
    try:
        with step(text):
            yield
    finally:
        _parts.reset(token)


class Pace:
    """Says how long the rest of some steps takes, from how long those done took."""

    def __init__(self, steps: int) -> None:
        self._steps, self._began = steps, time.monotonic()

    def left(self, done: int) -> str:
        """Return words to add to what is said; none where no step is done yet."""
        if not done:
            return ""
        return f"; about {spoken((time.monotonic() - self._began) / done * (self._steps - done))} left"
