"""What was learnt before, for many looks at one history."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

import polars as pl

from expectations.usecase import UseCase

if TYPE_CHECKING:
    from tasks.training.learning import Trained

#: What was learnt before in a `remembering` block, by recipe, number of rows, first and last event time.
_Memory = dict[tuple[object, ...], "Trained"]
_memory: ContextVar[_Memory | None] = ContextVar("_memory", default=None)


@contextmanager
def remembering() -> Iterator[None]:
    """Learn nothing twice in this block: for many looks at one history, whose rows are known by number and time."""
    token = _memory.set({})
    try:
        yield
    finally:
        _memory.reset(token)


def remembered(what: str, frame: pl.DataFrame, spec: UseCase, learning: Callable[[], Trained]) -> Trained:
    """Return what was learnt of the same rows before, where that is remembered; else learn."""
    memory = _memory.get()
    if memory is None:
        return learning()
    clock = frame[spec.time_column]
    key = (what, len(frame), clock.min(), clock.max(), int(clock.hash().sum()) if not spec.timed else 0)
    if key not in memory:
        memory[key] = learning()
    return memory[key]
