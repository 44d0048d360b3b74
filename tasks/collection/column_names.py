"""Names of columns that a table cannot hold together, or keeps something of its own under."""

from __future__ import annotations

from collections.abc import Sequence, Set

import polars as pl

from expectations.data import EVENT_TIME, SourceContext
from expectations.errors import SourceError
from tasks.stores.lake_tables import RESERVED


def is_pattern(name: str) -> bool:
    """Whether a name cannot be a column's, as expressions read it as a pattern of names, or as all of them."""
    return name == "*" or (name.startswith("^") and name.endswith("$"))


def without_patterns(rows: pl.DataFrame, context: SourceContext) -> pl.DataFrame:
    """Leave out columns of a source by whose names others would be addressed, where nothing reads them.

    Raises
    ------
    SourceError
        If the use case reads one.
    """
    odd = [column for column in rows.columns if is_pattern(column)]
    if not odd:
        return rows
    if read := [column for column in odd if column in {*context.needed, *context.declared}]:
        raise SourceError(
            f"columns in the source {context.name!r} that are not named `*` or as ^these$ are",
            ", ".join(read),
            "Rename them in the source: such a name is read as a pattern of names",
        )
    context.report(left_out_as_patterns(odd))
    return rows[[column for column in rows.columns if column not in odd]]


def left_out_as_patterns(names: Sequence[str]) -> str:
    """Say that columns are left out for their names."""
    return f"{', '.join(names)} left out: such a name is read as a pattern of names"


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
            left_out.append((gone, f"{', '.join(gone)} left out: in a table it would be the same as {', '.join(kept)}"))
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
