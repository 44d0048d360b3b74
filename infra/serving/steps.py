"""Work on the event loop that lets others have their turn."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeAlias, TypeVar

T = TypeVar("T")
Steps: TypeAlias = Generator[None, None, T]
"""Work that stops after each some tenths of a millisecond, or after each picture, and returns what it made."""


def _kept(steps: Steps[T], made: list[T]) -> Generator[None, None, None]:
    made.append((yield from steps))


def finish(steps: Steps[T]) -> T:
    """Take all steps at once."""
    made: list[T] = []
    for _ in _kept(steps, made):
        pass
    return made[0]
