"""When a row was, and what tells it apart from others: the clock and the keys of a table."""

from __future__ import annotations

from itertools import combinations

from expectations.errors import SourceError
from tasks.profiling.choices import Clocked, Keyed, Target
from tasks.profiling.profile import Profile
from tasks.profiling.suspicions import is_identifier, is_personal, named_like_key
from tasks.stores.progress import doing

ROW_KEY = "row_key"
_PAIRS_LOOKED_AT = 30


def choose_clock(profile: Profile, target: str, asked: str | None) -> Clocked:
    """Choose the column of event times.

    Parameters
    ----------
    asked : str, optional
        The one that the user named.

    Raises
    ------
    SourceError
        If the named one holds no instants.
    """
    if asked is not None:
        column = profile.columns[asked]
        if column.kind != "instant":
            raise SourceError(
                f"instants in the clock {asked!r}: 2024-01-31, or 2024-01-31T06:00Z",
                "; ".join(column.notes) or f"{column.kind}s"
                if column.kind != "text" or column.notes
                else "other texts",
                "Write its instants so, or name another column",
            )
        lost = f"; {column.missing:,} rows have none and are lost" if column.missing else ""
        return Clocked(asked, (), f"as you said{lost}")
    possible = [
        name
        for name, column in profile.columns.items()
        if column.kind == "instant" and not column.missing and column.distinct > 1 and name != target
        and not is_personal(column, profile.sample[name])
    ]  # fmt: skip
    if not possible:
        odd = [f"{name}: {note}" for name, each in profile.columns.items() for note in each.notes if "dates" in note]
        gaps = [
            f"{name} is missing in {each.missing:,} rows"
            for name, each in profile.columns.items()
            if each.kind == "instant" and each.missing
        ]
        said = "no column has an instant, such as 2024-01-31 or 2024-01-31T06:00Z, in every row"
        return Clocked(None, (), f"none: {'; '.join([*odd, *gaps]) or said}")
    # a row's own time comes before those of what followed
    order = sorted(possible, key=lambda name: (not profile.sample[name].is_sorted(), profile.sample[name].mean()))
    first, *others = order
    grows = profile.sample[first].is_sorted()
    said = (
        "the only column with an instant in every row"
        if not others
        else "the earliest of those with an instant in every row"
    )
    if others and grows and not all(profile.sample[name].is_sorted() for name in others):
        said = "it grows from row to row"
    return Clocked(first, tuple(others), said)


def choose_keys(profile: Profile, target: Target, clock: Clocked, asked: tuple[str, ...]) -> Keyed:
    """Choose the columns that identify rows; where none do, one is to be made.

    Parameters
    ----------
    asked : tuple of str
        Those that the user named.

    Raises
    ------
    SourceError
        If the named ones hold the target, or lack values.
    """
    if asked:
        if target.column in asked:
            raise SourceError("keys that are known before the target", target.column, "Name other columns by --key")
        if empty := [
            f"{name} in {profile.columns[name].missing:,} rows" for name in asked if profile.columns[name].missing
        ]:
            raise SourceError("a value in every key", f"none of {', '.join(empty)}", "Name other columns by --key")
        return Keyed(asked, profile.rows - profile.exact_distinct(asked)[0])
    doing("looking for columns that identify rows")
    possible = [
        name
        for name, column in profile.columns.items()
        if name != target.column and not column.missing and column.kind in ("integer", "text", "instant")
    ]
    by_name = [(name,) for name in possible if named_like_key(name)]
    others = sorted((name for name in possible if name != clock.column), key=lambda n: (profile.columns[n].distinct, n))
    singles = [(name,) for name in possible if is_identifier(profile.columns[name])]
    timed: list[tuple[str, ...]] = [(clock.column,)] if clock.column in possible and clock.column else []
    pairs = [(*each, name) for each in timed for name in others]
    triples = [(*each, *pair) for each in timed for pair in combinations(others[:10], 2)]
    for sets in (by_name, timed, singles, pairs, triples):
        unique = [each for each in sets if profile.sample.select(each).is_unique().all()][:_PAIRS_LOOKED_AT]
        for each, distinct in zip(unique, profile.exact_distinct(*unique), strict=True):
            if distinct == profile.rows:
                return Keyed(each)
    name = ROW_KEY
    while name.lower() in {each.lower() for each in profile.columns}:
        name += "_"
    return Keyed((name,), made=True)
