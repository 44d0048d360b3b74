"""Numbers that came in another unit, and how far samples lie apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from expectations.metrics import Array

Mask = npt.NDArray[np.bool_]
_FAR, NEAR = 0.5, 0.35
"""Kolmogorov-Smirnov distances: another distribution, and the same one once a unit is undone."""
CLOSER, LIKELIER = 0.5, 0.75
"""How much closer a stretch of time has to be for a fault to be found, and for the fault to be there as well."""
_ALIKE, _MIN_SINGLY, _MOST, _PARTS, _AMONG = 0.2, 30, 0.7, 3, 0.5
"""Where rows singly came in another unit: the distance within which values are alike, how many tell it, which share of
those beyond the earlier range it brings back, parts of the window in all of which there are some, and how often they
and others take turns, as a share of how often they would by chance."""
_SAMPLE = 4000
_GAP, _NEARLY_ALL = 2, 0.6
UNITS: tuple[tuple[str, float, float], ...] = (
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


def known_values(values: Array) -> Array:
    """Return the values that are there, sorted; of many every k-th."""
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


def unit_of(
    earlier: Array,
    recent: Array,
    new: Array,
    pieces: Sequence[slice],
    breaking: Callable[[Mask, float, float], Mask],
) -> tuple[str, Mask] | None:
    """Find the unit that undoes what became of most pieces.

    Parameters
    ----------
    breaking : callable
        Told rows, a factor and an offset: returns those of them at whose ends values leave their course
        (`tasks.evaluation.unit_steps`).
    """
    votes: dict[str, float] = {}
    likely = {what: np.zeros(len(pieces), dtype=np.bool_) for what, _, _ in UNITS}
    for place, piece in enumerate(pieces):
        values = known_values(new[piece])
        if len(np.unique(values)) < 2:
            continue
        apart = min(distance(values, earlier), distance(values, recent))
        if apart < NEAR:
            continue
        for what, factor, offset in UNITS:
            undone = np.sort((values - offset) / factor)
            left = min(distance(undone, earlier), distance(undone, recent))
            if apart > _FAR and left < NEAR and left < CLOSER * apart:
                votes[what] = votes.get(what, 0.0) + apart - left
            if left < LIKELIER * apart:
                likely[what][place] = True
    if not votes:
        return None
    what = max(votes, key=lambda name: votes[name])
    rows = bridged(likely[what], pieces, len(new)) & ~np.isnan(new)
    factor, offset = next((factor, offset) for name, factor, offset in UNITS if name == what)
    return what, breaking(rows, factor, offset)


def singly_of(new: Array, beyond: Mask) -> tuple[str, Mask] | None:
    """Find the unit that rows here and there came in, all through a window, between others that did not.

    A season moves all rows, and those beyond the earlier range are its extremes. So these have to be distributed as
    those within it are, once the unit is undone; and they have to lie among those as by chance, where nights of frost
    after an autumn without lie side by side, though with their sign turned they would be as warm as the days.

    Parameters
    ----------
    new : ndarray
        Values of the window in order of time; NaN where there is none.
    beyond : ndarray of bool
        Those beyond the earlier range.

    Returns
    -------
    tuple of (str, ndarray of bool) or None
        What numbers became, and the rows it brings back.
    """
    inside = known_values(new[~beyond])
    if min(len(inside), beyond.sum()) < _MIN_SINGLY:
        return None
    if min(part.mean() for part in np.array_split(beyond, _PARTS)) < beyond.mean() / 2:
        return None
    if _switches(beyond[~np.isnan(new)]) < _AMONG:
        return None
    nearest, found = _ALIKE, None
    for what, factor, offset in UNITS:
        undone = (new - offset) / factor
        back = beyond & (undone >= inside[0]) & (undone <= inside[-1])
        if back.sum() < _MIN_SINGLY or back.sum() <= _MOST * beyond.sum():
            continue
        apart = distance(known_values(undone[back]), inside)
        if apart < nearest:
            nearest, found = apart, (what, back)
    return found


def _switches(some: Mask) -> float:
    """Return how often rows follow that are not alike, as a share of what it would be in an order of chance."""
    share = some.mean()
    return float((some[1:] != some[:-1]).mean() / (2 * share * (1 - share)))


def bridged(likely: Mask, pieces: Sequence[slice], size: int) -> Mask:
    """Return the rows of stretches with a fault; a gap of two in them is taken to have it too, as noise hides it."""
    found = likely.copy()
    places = np.flatnonzero(likely)
    for before, after in pairwise(places):
        if after - before <= _GAP + 1:
            found[before:after] = True
    if len(places) and likely.mean() > _NEARLY_ALL:  # at the ends only then: it may begin or end there
        first, last = places[0], places[-1]
        found[: first if first <= _GAP else 0] = True
        found[last if len(likely) - 1 - last <= _GAP else len(found) :] = True
    rows = np.zeros(size, dtype=np.bool_)
    for piece, faulty in zip(pieces, found, strict=True):
        rows[piece] = bool(faulty)
    return rows
