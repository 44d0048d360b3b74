"""Lines of more points than there are pixels from left to right."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby, pairwise

Point = tuple[float, float | None]
"""Pixels from the left, and the value there; None where it is not known."""
_MANY = 300
"""Points of a line from which on those of a pixel that holds more than two are thinned."""


def spread(values: Sequence[float | None], first: float, step: float) -> list[Point]:
    """Put values side by side from a pixel on: of more than two in one pixel the least and the greatest alone.

    The same line is seen. A pixel in which something is not known is kept whole, so that no gap closes. A line of less
    than two values a pixel, as the picture of a metric has over 1,095 windows, is kept as it is.

    Parameters
    ----------
    first, step : float
        Pixels from the left of the first value, and from one to the next.
    """
    if len(values) < _MANY or step * (len(values) - 1) > len(values) / 2:
        return [(first + index * step, value) for index, value in enumerate(values)]
    kept: list[int] = []
    for start, end in _pixels(len(values), first, step):
        known = [value for value in values[start:end] if value is not None]
        if len(known) > 2 and len(known) == end - start and math.isfinite(sum(known)):
            least, greatest = start + known.index(min(known)), start + known.index(max(known))
            kept += [least] if least == greatest else [min(least, greatest), max(least, greatest)]
        else:
            kept += range(start, end)
    return [(first + index * step, values[index]) for index in kept]


@lru_cache(maxsize=8)
def _pixels(count: int, first: float, step: float) -> tuple[tuple[int, int], ...]:
    """Return which values lie in each pixel, [start, end): the same for the lines of all columns of a page."""
    ends = [0]
    for _, sharing in groupby(range(count), key=lambda index: int(first + index * step)):
        ends.append(ends[-1] + sum(1 for _ in sharing))
    return tuple(pairwise(ends))
