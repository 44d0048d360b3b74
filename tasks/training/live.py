"""Curves of candidates, sent to MLflow while they learn."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

EVERY_SECONDS = 2.0


class Point(NamedTuple):
    """A value of a curve; `at` is seconds since 1970."""

    name: str
    value: float
    step: int
    at: float


class Curves:
    """Collects points, and sends them every two seconds.

    Parameters
    ----------
    send : callable
        Takes the points that have come since it was called last.
    """

    def __init__(self, send: Callable[[Sequence[Point]], None]) -> None:
        self._send, self._points, self._sent = send, list[Point](), time.monotonic()
        self.names: set[str] = set()

    def add(self, name: str, step: int, values: Mapping[str, float]) -> None:
        """Take what a candidate reports of a step."""
        self.names |= {f"{name}_{key}" for key in values}
        now = time.time()
        self._points += [Point(f"{name}_{k}", float(v), step, now) for k, v in values.items() if math.isfinite(v)]
        if time.monotonic() - self._sent >= EVERY_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Send what has not been sent."""
        points, self._points, self._sent = self._points, [], time.monotonic()
        if points:
            self._send(points)


_curves: ContextVar[Curves | None] = ContextVar("_curves", default=None)


@contextmanager
def sending(curves: Curves) -> Iterator[None]:
    """Send the curves of candidates that learn in this block; the last of them at its end, if it ends well."""
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
