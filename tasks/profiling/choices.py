"""What is chosen for a use case to begin with, and what is suspected of its columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from expectations.families import Task
from tasks.profiling.suspicions import Leak

PERSONAL, LEAKS = "personal data?", "leaks the label?"
"""What is suspected of a column that is looked at again, by whoever may know more of it."""


@dataclass(frozen=True)
class Suspicion:
    """What may be wrong with a column, and what was done about it."""

    column: str
    what: str
    said: str


@dataclass(frozen=True)
class Target:
    """What is to be predicted.

    Attributes
    ----------
    positive : str or None
        The value that counts as 1, as the use case writes it; None where the column holds 0 and 1 or amounts.
    share : float or None
        Of the positive rows in the sample.
    classes : tuple of str
        Where there are more than two.
    joined : mapping of str to str
        Classes too rare to be learnt -> the one they are counted as.
    """

    column: str
    task: Task
    positive: str | None = None
    numeric: bool = True
    share: float | None = None
    classes: tuple[str, ...] = ()
    joined: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Clocked:
    """The column of event times, and others that could be it; None where rows are taken in the order they come."""

    column: str | None
    others: tuple[str, ...]
    said: str


@dataclass(frozen=True)
class Keyed:
    """What identifies rows.

    Attributes
    ----------
    shared : int
        Rows that share their keys with another one.
    made : bool
        Whether no column does: the source makes one of what a row holds.
    """

    columns: tuple[str, ...]
    shared: int = 0
    made: bool = False


@dataclass(frozen=True)
class Windows:
    """How long a window is, as the use case writes it, and about how many rows it has."""

    every: str
    rows: int


@dataclass(frozen=True)
class FirstModel:
    """A first model: learnt from the older rows of the sample, scored on the newest.

    Attributes
    ----------
    metric : str
        That of the kind of problem (`first_score`).
    error : float
        Root mean squared error; of a classifier NaN.
    """

    metric: str
    value: float
    error: float
    rows: int


@dataclass(frozen=True)
class Choices:
    """All that is chosen."""

    name: str
    target: Target
    clock: Clocked
    keyed: Keyed
    numeric: tuple[str, ...]
    encoded: tuple[str, ...]
    calendar: tuple[str, ...]
    left_out: Mapping[str, str]
    personal: Mapping[str, str]
    """Column -> drop or hash."""
    leaks: tuple[Leak, ...]
    suspicions: tuple[Suspicion, ...]
    windows: Windows
    available_after: str
    min_rows: int
    start: datetime | None
    trial: FirstModel | None = field(default=None)
    first: str = ""
    """What is written of an adopted model under `model.first`; nothing without one."""
    proof: str = ""
    """How that was held against its own library."""

    @property
    def keys(self) -> tuple[str, ...]:
        """What identifies rows."""
        return self.keyed.columns

    @property
    def row_key(self) -> str | None:
        """The key that the source makes of what a row holds, where no columns identify rows."""
        return self.keyed.columns[0] if self.keyed.made else None

    @property
    def forbidden(self) -> tuple[str, ...]:
        """Columns that leak the label."""
        return tuple(dict.fromkeys(name for leak in self.leaks for name in leak.columns))
