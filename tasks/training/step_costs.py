"""What each step of a training costs: seconds, and the memory of the process."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

SAMPLED_EVERY = 0.005
"""Seconds between two looks at the memory."""


@dataclass
class StepCost:
    """What a step cost, over all times it ran within the same steps.

    Attributes
    ----------
    path : tuple of str
        The steps it ran in, and last itself.
    seconds : float
        Wall time, that of steps within it among them.
    peak : int
        Most bytes that the process held in memory (resident set) while it ran.
    grown : int
        How many of these were more than as it began, at most.
    """

    path: tuple[str, ...]
    calls: int = 0
    seconds: float = 0.0
    peak: int = 0
    grown: int = 0


@dataclass
class _Open:
    path: tuple[str, ...]
    began: float
    held: int
    peak: int


class StepCosts:
    """Watches the steps of a training; see `tasks.stores.progress.Watcher`. Steps run in one thread.

    Memory is looked at as steps begin and end, and every few milliseconds by a thread: what is held for less than that
    may be missed.
    """

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._open: list[_Open] = []
        self._found: dict[tuple[str, ...], StepCost] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()

    def begin(self, step: str) -> None:
        """Begin a step within those that are open."""
        with self._lock:
            held = self._look()
            path = (*(self._open[-1].path if self._open else ()), step)
            self._found.setdefault(path, StepCost(path))  # in the order in which they begin
            self._open.append(_Open(path, time.perf_counter(), held, held))

    def end(self) -> None:
        """End the step that began last."""
        with self._lock:
            now = time.perf_counter()
            self._look()
            done = self._open.pop()
            cost = self._found[done.path]
            cost.calls += 1
            cost.seconds += now - done.began
            cost.peak = max(cost.peak, done.peak)
            cost.grown = max(cost.grown, done.peak - done.held)

    def round_done(self, family: str) -> None:
        """Take no note of rounds."""

    @contextmanager
    def sampling(self) -> Iterator[None]:
        """Look at the memory for as long as the block lasts."""
        thread = threading.Thread(target=self._sample, name="memory", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()

    def costs(self) -> list[StepCost]:
        """Return what steps cost, each after the one it ran in, else in the order in which they first began."""
        order = {path: at for at, path in enumerate(self._found)}
        return sorted(self._found.values(), key=lambda each: [order[each.path[: n + 1]] for n in range(len(each.path))])

    def _sample(self) -> None:
        while not self._ended.wait(SAMPLED_EVERY):
            with self._lock:
                self._look()

    def _look(self) -> int:
        held = int(self._process.memory_info().rss)
        for each in self._open:
            each.peak = max(each.peak, held)
        return held
