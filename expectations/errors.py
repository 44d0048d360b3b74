"""The error tree. Every message says what was expected, what was found, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from expectations.masking import mask


class DriftwheelError(Exception):
    """Base of every error driftwheel raises itself. Logins and tokens in the addresses it names are hidden.

    Parameters
    ----------
    expected : str
        What should have been.
    found : str
        What was there instead, and where. Never a personal value.
    remedy : str
        What the reader can do about it.
    """

    #: Whether running the same thing again can end otherwise without a change of data or configuration.
    transient = False

    def __init__(self, expected: str, found: str, remedy: str) -> None:
        self.expected, self.found, self.remedy = mask(expected), mask(found), mask(remedy)
        super().__init__(f"expected {self.expected}; found {self.found}. {self.remedy}")

    def __reduce__(self) -> tuple[type[DriftwheelError], tuple[str, str, str]]:
        return type(self), (self.expected, self.found, self.remedy)


@dataclass(frozen=True)
class UseCaseProblem:
    """One thing wrong with a use case: where it stands and what to do."""

    file: str
    line: int | None
    path: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return mask(f"{place}: {self.path}: {self.message}" if self.path else f"{place}: {self.message}")


class UseCaseError(DriftwheelError):
    """A use case cannot be used as written. Carries every problem found, not only the first."""

    def __init__(self, name: str, problems: Sequence[UseCaseProblem]) -> None:
        self.name, self.problems = name, tuple(problems)
        listing = "\n".join(f"  {problem}" for problem in self.problems)
        super().__init__(
            f"a valid use case {name!r}",
            f"{len(self.problems)} problem(s):\n{listing}\n",
            "Correct these lines, then run `driftwheel check` again",
        )

    def __reduce__(self) -> tuple[type[UseCaseError], tuple[str, tuple[UseCaseProblem, ...]]]:  # type: ignore[override]
        return type(self), (self.name, self.problems)


class UseCaseNotFoundError(DriftwheelError):
    """A name or path leads to no use case."""


class PartError(DriftwheelError):
    """An installed package offers a part that is none."""


class ExpressionError(DriftwheelError):
    """An expression in a use case cannot be read."""


class InstantError(DriftwheelError):
    """A run was asked for as of an instant that has not come yet."""


class SourceError(DriftwheelError):
    """A source is missing, unreadable, or not what the use case says of it."""


class SourceUnreachableError(SourceError):
    """A source did not answer; it may the next time."""

    transient = True


class JoinError(DriftwheelError):
    """A join would multiply rows or cover too few of them."""


class SeriesError(DriftwheelError):
    """A series of measurements cannot be judged as it is."""


class TrainingError(DriftwheelError):
    """There is nothing sound to train on, or training broke its contract."""


class ComputeError(DriftwheelError):
    """Jobs cannot run where they were to, or the machines that run them died again and again."""


class BundleError(DriftwheelError):
    """A bundle is incomplete, altered, or built for something else."""


class LakeError(DriftwheelError):
    """The lake holds something other than what was asked of it."""


class StorageError(DriftwheelError):
    """A disk, folder or file cannot be read or written: full, read-only, not permitted, in the way, or gone."""

    transient = True


class StateError(DriftwheelError):
    """A file of the platform's own is not what driftwheel writes."""


class DatabaseError(DriftwheelError):
    """The platform database is damaged, or of another version."""


class BusyError(DriftwheelError):
    """Another process holds what is needed for too long."""

    transient = True


class UnreachableError(DriftwheelError):
    """A server that is needed does not answer; running again later heals this."""

    transient = True


class AccessError(DriftwheelError):
    """A server asks for a login or a key other than the one it was given."""


class KeyRefusedError(AccessError):
    """The service does not take the platform's key."""


class TurnTakenError(DriftwheelError):
    """Another process holds the open turn of this use case and is alive."""

    transient = True


class ReleaseError(DriftwheelError):
    """The service would not take a release."""


class OvertakenError(ReleaseError):
    """Another release was asked for meanwhile: that one stands."""


class ReportError(DriftwheelError):
    """A report for people could not be drawn."""


class StackError(DriftwheelError):
    """The local stack could not be started, reached or stopped."""


class BackupError(DriftwheelError):
    """A backup could not be made, or is not what it was."""
