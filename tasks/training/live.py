"""Curves of candidates, sent to MLflow while they learn."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

from expectations.errors import UnreachableError
from tasks.stores.progress import doing

EVERY_SECONDS, _MAX_SECONDS = 2.0, 300.0


class Point(NamedTuple):
    """A value of a curve; `at` is seconds since 1970."""

    name: str
    value: float
    step: int
    at: float


class Curves:
    """Collects points, and sends them every two seconds.

    Those that cannot be sent are kept, and go with the next: what is shown while a candidate learns does not end its
    learning. After each failure it waits twice as long as before, five minutes at most.

    Parameters
    ----------
    send : callable
        Takes the points that have come since it was called last.
    """

    def __init__(self, send: Callable[[Sequence[Point]], None]) -> None:
        self._send, self._points, self._sent = send, list[Point](), time.monotonic()
        self._wait = EVERY_SECONDS
        self.names: set[str] = set()

    def add(self, name: str, step: int, values: Mapping[str, float]) -> None:
        """Take what a candidate reports of a step."""
        self.names |= {f"{name}_{key}" for key in values}
        now = time.time()
        self._points += [Point(f"{name}_{k}", float(v), step, now) for k, v in values.items() if math.isfinite(v)]
        if time.monotonic() - self._sent < self._wait:
            return
        try:
            self.flush()
            self._wait = EVERY_SECONDS
        except UnreachableError as error:
            doing(str(error))
            self._wait = min(2 * self._wait, _MAX_SECONDS)
        self._sent = time.monotonic()

    def flush(self) -> None:
        """Send what has not been sent.

        Raises
        ------
        UnreachableError
            If it cannot be; it is kept.
        """
        if self._points:
            self._send(self._points)
            self._points = []


_curves: ContextVar[Curves | None] = ContextVar("_curves", default=None)


@contextmanager
def sending(curves: Curves) -> Iterator[None]:
    """Send the curves of candidates that learn in this block; the last of them at its end, if it ends well.

    Raises
    ------
    UnreachableError
        If the last of them cannot be sent.
    """
    token = _curves.set(curves)
    try:
        yield
        curves.flush()
    finally:
        _curves.reset(token)


def send(name: str, step: int, values: Mapping[str, float]) -> None:
    """Send what a candidate reports, where curves are sent."""
    curves = _curves.get()
    if curves is not None:
        curves.add(name, step, values)
