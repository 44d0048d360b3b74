"""Where the time of a process goes, by stage."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from tasks.stores.progress import doing

P = ParamSpec("P")
R = TypeVar("R")

_spent: dict[str, float] = {}


def timed(stage: str, function: Callable[P, R], work: str = "") -> Callable[P, R]:
    """Return a function that reports that its work (or stage) is begun, and adds the wall time of its calls to it."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        doing(work or stage)
        started = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            _spent[stage] = _spent.get(stage, 0.0) + time.perf_counter() - started

    return call


def spent() -> dict[str, float]:
    """Return seconds by stage since this process began."""
    return dict(_spent)
