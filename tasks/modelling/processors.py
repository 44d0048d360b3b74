"""How many processors this process may use: what a container is given, not what the machine has."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

_GROUPS, _OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")

_limit: ContextVar[int | None] = ContextVar("_limit", default=None)


@contextmanager
def limited_processors(count: int) -> Iterator[None]:
    """Let what is done in this block use so many processors at most: others work beside it."""
    token = _limit.set(count)
    try:
        yield
    finally:
        _limit.reset(token)


def are_processors_limited() -> bool:
    """Whether others work beside what is done now: it is one of several jobs."""
    return _limit.get() is not None


def available_processors(groups: Path = _GROUPS, own: Path = _OWN) -> int:
    """Return the processors it may run on, or fewer where a control group grants less time; at least one.

    Parameters
    ----------
    groups : Path
        Where control groups are mounted, of version 1 or 2.
    own : Path
        File that says which of them the process is in.
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = _limit.get()
    return max(1, min([count, *map(int, _quotas(groups, own)), *([] if limit is None else [limit])]))


def _quotas(groups: Path, own: Path) -> list[float]:
    """Return the processors' worth of time that its control groups grant, where they limit it."""
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except OSError:  # no Linux
        return []
    found = []
    for line in lines:
        _, names, path = line.split(":", 2)
        if names and "cpu" not in names.split(","):
            continue
        root = groups / "cpu" if names else groups
        inside = root / path.strip("/")
        for folder in (inside, *inside.parents):
            granted = _numbers(folder, ("cpu.cfs_quota_us", "cpu.cfs_period_us") if names else ("cpu.max",))
            if len(granted) == 2 and granted[0] > 0:
                found.append(granted[0] / granted[1])
            if folder == root:
                break
    return found


def _numbers(folder: Path, names: tuple[str, ...]) -> list[float]:
    """Return the numbers in files; fewer where one is absent or says `max`."""
    try:
        words = [word for name in names for word in (folder / name).read_text(encoding="utf-8").split()]
    except OSError:
        return []
    return [float(word) for word in words if word != "max"]
