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
import numpy.typing as npt
import polars as pl

from expectations.metrics import Array

Mask = npt.NDArray[np.bool_]
FaultKind = Literal["missing", "unseen", "range", "unit", "swapped", "stuck"]

_MIN_SHARE = 0.005
"""Least share of rows that counts as a fault."""
_MIN_ROWS = 10
_OFTEN = 2.0
"""Times the usual share that a share has to exceed."""
_MARGIN = 0.5
"""Widths of the range earlier numbers lie in that a number may lie beyond it."""
_FAR, _NEAR = 0.5, 0.35
"""Kolmogorov-Smirnov distances: another distribution, and the same one once a unit is undone."""
_CLOSER, _LIKELIER = 0.5, 0.75
"""How much closer a stretch of time has to be for a fault to be found, and for the fault to be there as well."""
_LONGER = 3.0
"""Times the longest run of one value, in time, that a stuck one lasts."""
_PIECES = 12
_PIECE = 50
_SAMPLE = 4000
_IDENTIFIER = 0.5
"""Share of distinct texts from which on they identify rows: new ones are no fault."""
_DISTINCT = 5
_ALIKE = 0.9
"""Share of strange texts of a column that the other one knows, where the two are swapped."""
_MANY = 0.2
_GAP, _MOST = 2, 0.6
_UNITS: tuple[tuple[str, float, float], ...] = (
    *((f"times {factor:g}", float(factor), 0.0) for factor in (10, 60, 100, 1000, 3600, 1_000_000)),
    *((f"divided by {factor:g}", 1.0 / factor, 0.0) for factor in (10, 60, 100, 1000, 3600, 1_000_000)),
    ("in °C in place of °F", 1 / 1.8, -32 / 1.8),
    ("in °F in place of °C", 1.8, 32.0),
    ("in K in place of °C", 1.0, 273.15),
    ("in °C in place of K", 1.0, -273.15),
    ("in mm in place of inches", 25.4, 0.0),
    ("in inches in place of mm", 1 / 25.4, 0.0),
    ("in km/h in place of m/s", 3.6, 0.0),
    ("in m/s in place of km/h", 1 / 3.6, 0.0),
    ("in pounds in place of kg", 2.20462, 0.0),
    ("in kg in place of pounds", 1 / 2.20462, 0.0),
    ("in km in place of miles", 1.609344, 0.0),
    ("in miles in place of km", 1 / 1.609344, 0.0),
    ("with its sign turned", -1.0, 0.0),
)
"""What numbers became, with factor and offset."""


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
        odd = list(_odd_numbers(name, known, new, pieces)) if name not in exchanged else []
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


def _known(values: Array) -> Array:
    known = values[~np.isnan(values)]
    step = max(1, len(known) // _SAMPLE)
    return np.sort(known[::step])


def distance(a: Array, b: Array) -> float:
    """Kolmogorov-Smirnov distance of two sorted samples; one where either is empty."""
    if not (len(a) and len(b)):
        return 1.0
    places = np.concatenate([a, b])
    gaps = np.searchsorted(a, places, "right") / len(a) - np.searchsorted(b, places, "right") / len(b)
    return float(np.abs(gaps).max())


def _swapped(numbers: dict[str, tuple[Array, Array]], pieces: Sequence[slice]) -> Iterator[Fault]:
    """Yield pairs of columns of numbers that look like each other, and not like themselves."""
    many = {
        name: (_known(known), [_known(new[piece]) for piece in pieces])
        for name, (known, new) in numbers.items()
        if len(np.unique(known[~np.isnan(known)])) >= _DISTINCT
    }
    itself = {name: [distance(known, new) for new in parts] for name, (known, parts) in many.items()}
    for one, other in combinations(many, 2):
        size = len(numbers[one][1])
        sure, likely = False, np.zeros(len(pieces), dtype=np.bool_)
        for place in range(len(pieces)):
            straight = itself[one][place], itself[other][place]
            if sum(straight) < _NEAR or not (len(many[one][1][place]) and len(many[other][1][place])):
                continue
            crossed = (
                distance(many[one][0], many[other][1][place]),
                distance(many[other][0], many[one][1][place]),
            )
            near = max(crossed) < _NEAR and min(straight) > _NEAR / 2
            sure |= near and sum(crossed) < _CLOSER * sum(straight)
            likely[place] = sum(crossed) < _LIKELIER * sum(straight)
        rows = _bridged(likely, pieces, size) if sure else np.zeros(size, dtype=np.bool_)
        if _counts(rows):
            yield Fault((one, other), "swapped", "swapped", rows)


def _odd_numbers(name: str, known: Array, new: Array, pieces: Sequence[slice]) -> Iterator[Fault]:
    """Yield numbers in another unit, and those far out of range."""
    earlier = _known(known)
    if len(np.unique(earlier)) < 2:
        return
    recent = _known(known[-max(_PIECE * 4, len(known) // 8) :])
    low, high = float(np.nanmin(known)), float(np.nanmax(known))
    margin = _MARGIN * (high - low)
    beyond = (new < low - margin) | (new > high + margin)  # comparisons with NaN are false
    found = _unit(earlier, recent, new, pieces) if len(np.unique(earlier)) >= _DISTINCT else None
    if found is not None and _counts(found[1]):
        yield Fault((name,), "unit", found[0], found[1])
        beyond &= ~found[1]
    if not _counts(beyond):
        return
    strange = np.sort(new[beyond])
    undone = [(what, (strange - offset) / factor) for what, factor, offset in _UNITS]
    likely = [(distance(np.sort(values), earlier), what) for what, values in undone] if len(strange) > 1 else []
    best = min(likely, default=(1.0, ""))
    if best[0] < _NEAR:
        yield Fault((name,), "unit", best[1], beyond)
    else:
        yield Fault((name,), "range", f"out of range (earlier {low:g} to {high:g})", beyond)


def _unit(earlier: Array, recent: Array, new: Array, pieces: Sequence[slice]) -> tuple[str, Mask] | None:
    """Find the unit that undoes what became of most pieces."""
    votes: dict[str, float] = {}
    likely = {what: np.zeros(len(pieces), dtype=np.bool_) for what, _, _ in _UNITS}
    for place, piece in enumerate(pieces):
        values = _known(new[piece])
        if len(np.unique(values)) < 2:
            continue
        apart = min(distance(values, earlier), distance(values, recent))
        if apart < _NEAR:
            continue
        for what, factor, offset in _UNITS:
            undone = np.sort((values - offset) / factor)
            left = min(distance(undone, earlier), distance(undone, recent))
            if apart > _FAR and left < _NEAR and left < _CLOSER * apart:
                votes[what] = votes.get(what, 0.0) + apart - left
            if left < _LIKELIER * apart:
                likely[what][place] = True
    if not votes:
        return None
    what = max(votes, key=lambda name: votes[name])
    return what, _bridged(likely[what], pieces, len(new)) & ~np.isnan(new)


def _bridged(likely: Mask, pieces: Sequence[slice], size: int) -> Mask:
    """Return the rows of stretches with a fault; a gap of two in them is taken to have it too, as noise hides it."""
    found = likely.copy()
    places = np.flatnonzero(likely)
    for before, after in pairwise(places):
        if after - before <= _GAP + 1:
            found[before:after] = True
    if len(places) and likely.mean() > _MOST:  # at the ends only where nearly all have it: it may begin or end there
        first, last = places[0], places[-1]
        found[: first if first <= _GAP else 0] = True
        found[last if len(likely) - 1 - last <= _GAP else len(found) :] = True
    rows = np.zeros(size, dtype=np.bool_)
    for piece, faulty in zip(pieces, found, strict=True):
        rows[piece] = bool(faulty)
    return rows


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
        if dtype.is_numeric() or not len(known) or known.n_unique() > _IDENTIFIER * len(known):
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
