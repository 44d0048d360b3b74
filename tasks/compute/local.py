"""Jobs in this process, one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Generic

from tasks.compute.compute import ComputeSettings, Hear, Item, Result, Shared, Work


class LocalCompute:
    """Runs jobs in this process, each when its result is asked for."""

    def __init__(self, settings: ComputeSettings) -> None:
        del settings

    def jobs(self, work: Work[Shared, Item, Result], shared: Shared) -> LocalJobs[Shared, Item, Result]:
        """Take a function and what all its jobs share."""
        return LocalJobs(work, shared)

    def close(self) -> None:
        """Hold nothing."""


class LocalJobs(Generic[Shared, Item, Result]):
    """Jobs of one function in this process."""

    def __init__(self, work: Work[Shared, Item, Result], shared: Shared) -> None:
        self._work, self._shared = work, shared

    def map(self, items: Iterable[Item], hear: Hear | None = None) -> Iterator[Result]:
        """Run each item when its result is asked for; see `Jobs.map`."""
        for at, item in enumerate(items):
            yield self._work(self._shared, item, hear(at) if hear else unheard)


def unheard(_: int, __: Mapping[str, float]) -> None:
    """Report to nobody."""
