"""Names of columns that a table cannot hold together, or keeps something of its own under."""

from __future__ import annotations

from collections.abc import Sequence, Set

from expectations.data import EVENT_TIME
from expectations.errors import SourceError
from tasks.stores.lake import RESERVED


def names_alike(columns: Sequence[str], read: Set[str]) -> list[tuple[list[str], str]]:
    """Return the names to leave out as they differ from another's in capitals alone, each time with a sentence.

    Those that are `read` stay, and where none is, the first; if several are, `refuse_names` refuses them.
    """
    alike: dict[str, list[str]] = {}
    for column in columns:
        alike.setdefault(column.lower(), []).append(column)
    left_out = []
    for names in alike.values():
        kept = [name for name in names if name in read] or names[:1]
        if gone := [name for name in names if name not in kept]:
            left_out.append((gone, f"{', '.join(gone)} left out: a table cannot tell it from {', '.join(kept)}"))
    return left_out


def refuse_names(columns: Sequence[str], *, clock: bool = True) -> None:
    """Refuse names of columns that a table cannot hold, or keeps something of its own under.

    Parameters
    ----------
    clock : bool
        Whether the use case has one.

    Raises
    ------
    SourceError
    """
    reserved = RESERVED if clock else RESERVED | {EVENT_TIME}
    kept = [column for column in columns if column.lower() in reserved]
    seen: dict[str, str] = {}
    alike = [f"{seen[key]} and {name}" for name in columns if seen.setdefault(key := name.lower(), name) != name]
    if kept or alike:
        raise SourceError(
            f"columns that differ in more than capitals, and none of {', '.join(sorted(reserved))}",
            ", ".join(kept + alike),
            "Rename them in the source; of two sources one may get a `prefix`. What nothing reads is left out",
        )
