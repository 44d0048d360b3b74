"""Independent jobs (candidates, folds, trials, windows of a past): here, one after the other, or on many machines."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol, TypeVar

from expectations.families import Report
from expectations.named_parts import load_address

Shared = TypeVar("Shared")
Item = TypeVar("Item")
Result = TypeVar("Result")
Item_contra = TypeVar("Item_contra", contravariant=True)
Result_co = TypeVar("Result_co", covariant=True)

Work = Callable[[Shared, Item, Report], Result]
"""A job: a function of a module of ours, of what all jobs share, what is its own, and where it reports as it learns."""

Hear = Callable[[int], Report]


@dataclass(frozen=True)
class ComputeSettings:
    """Where jobs run.

    Attributes
    ----------
    name : str
        One of `COMPUTES`.
    address : str
        Of a cluster that is there; empty for one of its own, or where none is needed.
    cores : int
        That each job of a cluster may use.
    """

    name: str = "local"
    address: str = ""
    cores: int = 1


class Jobs(Protocol[Item_contra, Result_co]):
    """Jobs that share something."""

    def map(self, items: Iterable[Item_contra], hear: Hear | None = None) -> Iterator[Result_co]:
        """Yield what comes of each item, in their order.

        Parameters
        ----------
        items : iterable
        hear : callable, optional
            Asked as a job begins for what hears how it goes, by its place among the items.

        Raises
        ------
        DriftwheelError
            What the first job in the order of the items raised that did: the same wherever they run.
        """


class Compute(Protocol):
    """Runs jobs."""

    def jobs(self, work: Work[Shared, Item, Result], shared: Shared) -> Jobs[Item, Result]:
        """Take a function and what all its jobs share, which travels once."""

    def close(self) -> None:
        """Let go of what it holds."""


COMPUTES: Mapping[str, str] = {
    "local": "tasks.compute.local:LocalCompute",
    "ray": "tasks.compute.ray_cluster:RayCompute",
}
"""Setting `compute` -> the class it stands for, made of `ComputeSettings`."""


def known_compute(value: str) -> str:
    """Return a name that stands for a compute.

    Raises
    ------
    ValueError
        If there is none of that name.
    """
    if value not in COMPUTES:
        raise ValueError(f"is none of {', '.join(COMPUTES)}")
    return value


def host_and_port(value: str) -> str:
    """Return an address of a cluster, or nothing.

    Raises
    ------
    ValueError
        If it is something else.
    """
    if value and not re.fullmatch(r"[^\s/@]+:\d{1,5}", value):
        raise ValueError("is no HOST:PORT")
    return value


_current: ContextVar[Compute | None] = ContextVar("_current", default=None)


def open_compute(settings: ComputeSettings) -> Compute:
    """Return the compute of a name, which connects to nothing before there are several jobs at once."""
    found: Compute = load_address(COMPUTES[settings.name])(settings)
    return found


@contextmanager
def computing(settings: ComputeSettings) -> Iterator[None]:
    """Run the jobs of this block where settings say."""
    compute = open_compute(settings)
    token = _current.set(compute)
    try:
        yield
    finally:
        _current.reset(token)
        compute.close()


def current_compute() -> Compute:
    """Return where jobs run now: in this process, where nothing else was said."""
    return _current.get() or open_compute(ComputeSettings())
