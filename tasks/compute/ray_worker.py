"""A job as a worker of Ray runs it, and what it says on its way."""

from __future__ import annotations

import logging
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

from expectations.errors import ComputeError, DriftwheelError
from tasks.modelling.processors import limited_processors
from tasks.stores.progress import LOGGER

_SAY_SECONDS = 1.0
_SAME = ("driftwheel", "numpy", "polars", "scikit-learn", "scipy", "lightgbm", "torch")
"""Packages of which another version may answer otherwise."""

Step = tuple[int, Mapping[str, float]]


class Heard(NamedTuple):
    """What a job said: the steps from the `first` on, counted from its start, and what it is doing."""

    at: int
    first: int
    steps: Sequence[Step]
    text: str = ""


@dataclass(frozen=True)
class Finished:
    """What came of a job, and all that it reported on its way."""

    value: Any = None
    error: Exception | None = None
    steps: Sequence[Step] = field(default_factory=tuple)


class Relay:
    """Keeps what jobs say until the run that waits for them asks."""

    def __init__(self) -> None:
        self._heard: list[Heard] = []

    def add(self, heard: Heard) -> None:
        """Keep it."""
        self._heard.append(heard)

    def take(self) -> list[Heard]:
        """Return what came since."""
        found, self._heard = self._heard, []
        return found


@cache
def versions() -> dict[str, str]:
    """Return the versions that two machines must share to answer alike."""
    found = {"Python": platform.python_version().rpartition(".")[0]}
    for name in _SAME:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "none"
    return found


def run_job(expected: Mapping[str, str], cores: int, shared: Sequence[Any], at: int, item: Any, relay: Any) -> Finished:  # noqa: ANN401 - whatever jobs are of
    """Run a job in this process.

    Parameters
    ----------
    expected : mapping of str to str
        Versions where the run is that waits for it.
    shared : sequence of one reference
        To the function, and what all its jobs share: read once they are known to be readable here.
    """
    other = {name: found for name, found in versions().items() if found != expected.get(name)}
    if other:
        wanted = ", ".join(f"{name} {expected.get(name)}" for name in other)
        found = ", ".join(f"{name} {each}" for name, each in other.items())
        return Finished(
            error=ComputeError(
                f"{wanted} on every node of Ray", f"{found} on {platform.node()}", "Install the same there"
            )
        )
    import ray

    work, given = ray.get(shared[0])
    said = _Said(at, relay)
    with limited_processors(cores), said.listening():
        try:
            return Finished(work(given, item, said.report), steps=said.steps)
        except DriftwheelError as error:
            return Finished(error=error, steps=said.steps)


class _Said(logging.Handler):
    """What a job says, sent once a second at most."""

    def __init__(self, at: int, relay: Any) -> None:  # noqa: ANN401
        super().__init__(logging.DEBUG)
        self._at, self._relay, self._sent, self._text = at, relay, 0, ""
        self.steps: list[Step] = []
        self._last = -_SAY_SECONDS  # what is said first is sent at once

    def report(self, step: int, values: Mapping[str, float]) -> None:
        """Take what a candidate reports as it learns."""
        self.steps.append((step, dict(values)))
        self._send()

    def emit(self, record: logging.LogRecord) -> None:
        """Take what it is said to be doing."""
        self._text = record.getMessage()
        self._send()

    def _send(self) -> None:
        if time.monotonic() - self._last < _SAY_SECONDS:
            return
        self._relay.add.remote(Heard(self._at, self._sent, self.steps[self._sent :], self._text))
        self._sent, self._text, self._last = len(self.steps), "", time.monotonic()

    @contextmanager
    def listening(self) -> Iterator[None]:
        logger = logging.getLogger(LOGGER)
        before = logger.level
        logger.setLevel(logging.DEBUG)
        logger.addHandler(self)
        try:
            yield
        finally:
            logger.removeHandler(self)
            logger.setLevel(before)
