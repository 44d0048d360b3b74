"""Lines of more points than there are pixels from left to right."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby

Point = tuple[float, float | None]
"""Pixels from the left, and the value there; None where it is not known."""
_MANY = 300
"""Points of a line from which on those of a pixel that holds more than two are thinned."""


def thinned(points: Sequence[Point]) -> Sequence[Point]:
    """Keep the least and the greatest of more than two points in one pixel from left to right: the same line is seen.

    A pixel in which something is not known is kept whole, so that no gap closes. A line of less than two points a
    pixel, as the picture of a metric has over 1,095 windows, is kept as it is.
    """
    if len(points) < _MANY or points[-1][0] - points[0][0] > len(points) / 2:
        return points
    kept: list[Point] = []
    for _, sharing in groupby(points, key=lambda point: int(point[0])):
        there = list(sharing)
        known = [value for _, value in there if value is not None and math.isfinite(value)]
        if len(there) > 2 and len(known) == len(there):
            least, greatest = known.index(min(known)), known.index(max(known))
            kept.append(there[min(least, greatest)])
            if least != greatest:
                kept.append(there[max(least, greatest)])
        else:
            kept += there
    return kept
