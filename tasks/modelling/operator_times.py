"""Which operators of torch an epoch of a network takes its time in."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.autograd.profiler_util import EventList
    from torch.profiler import profile

SHOWN = 15
"""Operators that a table has."""


@dataclass(frozen=True)
class OperatorTime:
    """What an operator took in one epoch, without those it calls, in seconds.

    Attributes
    ----------
    device_seconds : float
        On the graphics card; 0 where there is none.
    """

    name: str
    calls: int
    cpu_seconds: float
    device_seconds: float


class OperatorTimes:
    """Records one epoch of each torch family, the second that it learns: in the first it warms up.

    Parameters
    ----------
    families : collection of str
        Those that learn by torch.
    step : callable
        Takes the name of what it does itself, so that this is not counted as learning.
    """

    def __init__(self, families: Collection[str], step: Callable[[str], AbstractContextManager[None]]) -> None:
        self._families, self._step = families, step
        self._recorded: dict[str, profile] = {}
        self._added_up: dict[str, EventList] = {}
        self._running = ""

    def round_done(self, family: str) -> None:
        """Begin to record after the first epoch of a family, and end after the second."""
        if self._running:
            self.stop()
        elif family in self._families and family not in self._recorded:
            from torch.cuda import is_available
            from torch.profiler import ProfilerActivity, profile

            on_device = [ProfilerActivity.CUDA] if is_available() else []
            with self._step("recording operators of torch"):
                self._recorded[family] = profile(activities=[ProfilerActivity.CPU, *on_device])
                self._recorded[family].start()
            self._running = family

    def stop(self) -> None:
        """End what is recorded, if anything is."""
        running, self._running = self._running, ""
        if running:
            with self._step("recording operators of torch"):
                self._recorded[running].stop()

    def found(self) -> dict[str, list[OperatorTime]]:
        """Return by family the operators of its epoch, those that took most first."""
        return {family: _operators(self._averages(family)) for family in self._recorded}

    def write(self, folder: Path) -> None:
        """Write a table and a Chrome trace (for ``chrome://tracing`` and Perfetto) of each family into a folder.

        One whose second epoch never came, or was learnt in other processes, has neither.
        """
        for family, recorded in self._recorded.items():
            averages = self._averages(family)
            if not averages:
                continue
            on_device = any(each.self_device_time_total for each in averages)
            by = "self_device_time_total" if on_device else "self_cpu_time_total"
            table = averages.table(sort_by=by, row_limit=50)  # type: ignore[no-untyped-call]
            (folder / f"operators-{family}.txt").write_text(table, encoding="utf-8")
            recorded.export_chrome_trace(str(folder / f"trace-{family}.json.gz"))

    def _averages(self, family: str) -> EventList:
        if family not in self._added_up:
            self._added_up[family] = self._recorded[family].key_averages()
        return self._added_up[family]


def _operators(averages: EventList) -> list[OperatorTime]:
    found = [
        OperatorTime(
            each.key,
            each.count,
            max(0.0, each.self_cpu_time_total / 1e6),
            max(0.0, each.self_device_time_total / 1e6),
        )
        for each in averages
    ]
    return sorted(found, key=lambda each: (-each.device_seconds, -each.cpu_seconds))[:SHOWN]
