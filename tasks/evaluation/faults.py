"""Rows that break what earlier rows never broke: missing, unseen, out of range, in another unit, swapped or stuck.

A fault is one of the data's path, not of the world: a sensor that died, a column in another unit. What earlier rows
do among themselves is no fault: one half of them is looked through beside the other half, and what is found there is
usual.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Literal

import numpy as np
import polars as pl

from expectations.metrics import Array
from tasks.evaluation.fault_units import (
    CLOSER,
    LIKELIER,
    NEAR,
    UNITS,
    Mask,
    bridged,
    distance,
    known_values,
    singly_of,
    unit_of,
)
from tasks.evaluation.unit_steps import ColumnCourse

FaultKind = Literal["missing", "unseen", "range", "unit", "swapped", "stuck"]

_MIN_SHARE = 0.005
"""Least share of rows that counts as a fault."""
_MIN_ROWS = 10
_OFTEN = 2.0
"""Times the usual share that a share has to exceed."""
_MARGIN = 0.5
"""Widths of the range earlier numbers lie in that a number may lie beyond it."""
_LONGER = 3.0
"""Times the longest run of one value, in time, that a stuck one lasts."""
_PIECES = 12
_PIECE = 50
_IDENTIFIER = 0.5
"""Share of distinct texts from which on they identify rows: new ones are no fault."""
_DISTINCT = 5
_ALIKE = 0.9
"""Share of strange texts of a column that the other one knows, where the two are swapped."""
_MANY = 0.2


@dataclass(frozen=True)
class Fault:
    """Rows of a window with one fault.

    Attributes
    ----------
    what : str
        The fault in words, without the column: "missing".
    rows : ndarray of shape (n_rows,)
        Where it is.
    """

    columns: tuple[str, ...]
    kind: FaultKind
    what: str
    rows: Mask

    @property
    def share(self) -> float:
        """Share of the window's rows."""
        return float(self.rows.mean())

    def __str__(self) -> str:
        return f"{' and '.join(self.columns)} {self.what} in {self.share:.0%} of rows"


def find_faults(reference: pl.DataFrame, before: Array, window: pl.DataFrame, seconds: Array) -> list[Fault]:
    """Find faults of a window that earlier rows do not have.

    Parameters
    ----------
    reference, window : polars.DataFrame
        Raw inputs of the same columns: numbers, booleans, texts.
    before, seconds : ndarray
        Their event times, in seconds.
    """
    if not reference.width:
        return []
    order, later = np.argsort(before, kind="stable"), np.argsort(seconds, kind="stable")
    reference, window = reference[order], window[later]
    before, seconds = before[order], seconds[later]
    found = list(_faults(reference, before, window, seconds))
    if not found:
        return []
    half = len(reference) // 2
    halves = (reference[:half], before[:half]), (reference[half:], before[half:])
    usual: dict[tuple[tuple[str, ...], str], float] = {}
    for known, new in (halves, halves[::-1]):
        for each in _faults(*known, *new):
            usual[each.columns, each.kind] = max(usual.get((each.columns, each.kind), 0.0), each.share)
    back = np.empty_like(later)
    back[later] = np.arange(len(later))
    return [
        Fault(each.columns, each.kind, each.what, each.rows[back])
        for each in found
        if each.share > _OFTEN * usual.get((each.columns, each.kind), 0.0)
    ]


def _faults(reference: pl.DataFrame, before: Array, window: pl.DataFrame, seconds: Array) -> Iterator[Fault]:
    """Yield all that differs, usual or not; rows lie in order of time."""
    if not (len(reference) and len(window)):
        return
    numbers: dict[str, tuple[Array, Array]] = {}
    for name, dtype in reference.schema.items():
        pair = reference[name], window[name]
        if dtype.is_numeric():
            numbers[name] = _numbers(pair[0]), _numbers(pair[1])
            absent = np.isnan(numbers[name][0]), np.isnan(numbers[name][1])
        else:
            absent = pair[0].is_null().to_numpy(), pair[1].is_null().to_numpy()
        if _counts(absent[1]) and absent[1].mean() > _usual_share(absent[0], len(window)):
            yield Fault((name,), "missing", "missing", absent[1])
    pieces = _pieces(len(window))
    swapped = list(_swapped(numbers, pieces))
    yield from swapped
    exchanged = {name for each in swapped for name in each.columns}
    for name, (known, new) in numbers.items():
        course = ColumnCourse(before, known, seconds, new)
        odd = list(_odd_numbers(name, course, pieces)) if name not in exchanged else []
        yield from odd
        for each in _stuck(name, known, before, new, seconds):
            if not any((each.rows & other.rows).sum() > each.rows.sum() / 2 for other in odd):  # it is that fault
                yield each
    yield from _odd_texts(reference, window)


def _counts(rows: Mask) -> bool:
    return bool(rows.sum() >= min(_MIN_ROWS, len(rows)) and rows.mean() >= _MIN_SHARE)


def _numbers(values: pl.Series) -> Array:
    found = values.cast(pl.Float64).to_numpy().astype(np.float64)
    return np.where(np.isfinite(found), found, np.nan)


def _usual_share(absent: Mask, size: int) -> float:
    """Return the largest share missing that is usual in as many rows: of stretches of the reference."""
    stretches = max(4, len(absent) // max(size, 1))
    shares = np.array([part.mean() for part in np.array_split(absent, stretches) if len(part)])
    return float(max(shares.max(), absent.mean() + 4 * shares.std()) + _MIN_SHARE)


def _pieces(rows: int) -> list[slice]:
    cuts = np.linspace(0, rows, max(1, min(_PIECES, rows // _PIECE)) + 1).astype(int)
    return [slice(start, end) for start, end in pairwise(cuts) if end > start]


def _swapped(numbers: dict[str, tuple[Array, Array]], pieces: Sequence[slice]) -> Iterator[Fault]:
    """Yield pairs of columns of numbers that look like each other, and not like themselves."""
    many = {
        name: (known_values(known), [known_values(new[piece]) for piece in pieces])
        for name, (known, new) in numbers.items()
        if len(np.unique(known[~np.isnan(known)])) >= _DISTINCT
    }
    itself = {name: [distance(known, new) for new in parts] for name, (known, parts) in many.items()}
    for one, other in combinations(many, 2):
        size = len(numbers[one][1])
        sure, likely = False, np.zeros(len(pieces), dtype=np.bool_)
        for place in range(len(pieces)):
            straight = itself[one][place], itself[other][place]
            if sum(straight) < NEAR or not (len(many[one][1][place]) and len(many[other][1][place])):
                continue
            crossed = (
                distance(many[one][0], many[other][1][place]),
                distance(many[other][0], many[one][1][place]),
            )
            near = max(crossed) < NEAR and min(straight) > NEAR / 2
            sure |= near and sum(crossed) < CLOSER * sum(straight)
            likely[place] = sum(crossed) < LIKELIER * sum(straight)
        rows = bridged(likely, pieces, size) if sure else np.zeros(size, dtype=np.bool_)
        if _counts(rows):
            yield Fault((one, other), "swapped", "swapped", rows)


def _odd_numbers(name: str, course: ColumnCourse, pieces: Sequence[slice]) -> Iterator[Fault]:
    """Yield numbers in another unit, and those far out of range."""
    known, new = course.known, course.new
    earlier = known_values(known)
    if len(np.unique(earlier)) < 2:
        return
    recent = known_values(known[-max(_PIECE * 4, len(known) // 8) :])
    low, high = float(np.nanmin(known)), float(np.nanmax(known))
    margin = _MARGIN * (high - low)
    beyond = (new < low - margin) | (new > high + margin)  # comparisons with NaN are false
    varies = len(np.unique(earlier)) >= _DISTINCT
    found = unit_of(earlier, recent, new, pieces, course.breaking) if varies else None
    if varies and (found is None or not _counts(found[1])):
        found = singly_of(new, (new < low) | (new > high))
    if found is not None and _counts(found[1]):
        yield Fault((name,), "unit", found[0], found[1])
        beyond &= ~found[1]
    if not _counts(beyond):
        return
    strange = np.sort(new[beyond])
    undone = [(what, (strange - offset) / factor) for what, factor, offset in UNITS]
    likely = [(distance(np.sort(values), earlier), what) for what, values in undone] if len(strange) > 1 else []
    best = min(likely, default=(1.0, ""))
    if best[0] < NEAR:
        yield Fault((name,), "unit", best[1], beyond)
    else:
        yield Fault((name,), "range", f"out of range (earlier {low:g} to {high:g})", beyond)


def _longest(values: Array, seconds: Array) -> tuple[float, slice]:
    """Return how long the longest run of one value lasts, and where it is among the known ones."""
    if not len(values):
        return 0.0, slice(0, 0)
    starts = np.flatnonzero(np.diff(values, prepend=np.nan) != 0)
    ends = np.append(starts[1:], len(values))
    lasting = seconds[ends - 1] - seconds[starts]
    best = int(np.argmax(lasting))
    return float(lasting[best]), slice(int(starts[best]), int(ends[best]))


def _stuck(name: str, known: Array, before: Array, new: Array, seconds: Array) -> Iterator[Fault]:
    """Yield a run of one value that lasts much longer than any before."""
    there, now = ~np.isnan(known), ~np.isnan(new)
    if len(np.unique(known[there])) < 2:
        return
    lasting, run = _longest(new[now], seconds[now])
    usual, _ = _longest(known[there], before[there])
    if lasting > _LONGER * usual:
        rows = np.zeros(len(new), dtype=np.bool_)
        rows[np.flatnonzero(now)[run]] = True
        if _counts(rows):
            yield Fault((name,), "stuck", "stuck at one value", rows)


def _odd_texts(reference: pl.DataFrame, window: pl.DataFrame) -> Iterator[Fault]:
    """Yield texts that were never seen, and pairs of columns whose texts stand in each other."""
    seen: dict[str, pl.Series] = {}
    unseen: dict[str, Mask] = {}
    for name, dtype in reference.schema.items():
        known = reference[name].drop_nulls()
        if dtype.is_numeric() or dtype == pl.Binary or not len(known) or known.n_unique() > _IDENTIFIER * len(known):
            continue
        seen[name] = known.unique()
        strange = window[name].is_in(seen[name].implode()).fill_null(value=True)
        unseen[name] = ~strange.to_numpy()
    taken: set[str] = set()
    for one, other in combinations(seen, 2):
        if window.schema[one] != window.schema[other]:
            continue
        rows = unseen[one] | unseen[other]
        if not _counts(rows):
            continue
        odd = window.filter(pl.Series(rows))
        crossed = min(_within(odd[one], seen[other]), _within(odd[other], seen[one]))
        if crossed > _ALIKE:
            yield Fault((one, other), "swapped", "swapped", _stretches(rows))
            taken |= {one, other}
    for name, rows in unseen.items():
        if name not in taken and _counts(rows):
            yield Fault((name,), "unseen", "never seen before", rows)


def _within(values: pl.Series, seen: pl.Series) -> float:
    return float(values.is_in(seen.implode()).fill_null(value=False).to_numpy().mean())


def _stretches(rows: Mask) -> Mask:
    """Return the stretches of time in which many rows are swapped: a text that both columns know does not show it."""
    found = rows.copy()
    for piece in _pieces(len(rows)):
        found[piece] |= rows[piece].mean() > _MANY
    return found
