"""Whether scores of a window are larger than chance, by dealing stretches of time to it and its reference anew."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Blocks = npt.NDArray[np.int64]

_PERMUTATIONS = 1999
_CHUNK = 200


def half_of(blocks: Blocks) -> Blocks:
    """Return which half of time each row lies in: halves that alternate would have a neighbour at each border."""
    return np.asarray(blocks > blocks.max() // 2, dtype=np.int64)


def least_chance(blocks: tuple[Blocks, Blocks], halves: tuple[Blocks, Blocks]) -> float:
    """Return the chance of the largest difference there can be: of all deals of both halves' stretches it is one.

    Deals of both halves are paired by their size, so that the half of which there are more deals has the say.
    """
    deals = 1
    for fold in (0, 1):
        old, new = (len(np.unique(each[side == fold])) for each, side in zip(blocks, halves, strict=True))
        deals = max(deals, math.comb(old + new, new))
    return max(1 / deals, 1 / (_PERMUTATIONS + 1))


def permutation_test(
    scores: Sequence[Array],
    blocks: tuple[Blocks, Blocks],
    halves: tuple[Blocks, Blocks],
    random: np.random.Generator,
) -> tuple[float, float]:
    """Return the mean area of both halves, and its chance where stretches of time are dealt to the sides anew."""
    found, drawn = [], []
    for fold in (0, 1):
        sides = [each == fold for each in halves]
        both = np.concatenate([score[side] for score, side in zip(scores, sides, strict=True)])
        order = np.argsort(both, kind="stable")
        ordered = both[order]
        low, high = np.searchsorted(ordered, both, "left"), np.searchsorted(ordered, both, "right")
        ranks = (low + high + 1) / 2
        first, second = (
            np.unique(each[side], return_inverse=True)[1] for each, side in zip(blocks, sides, strict=True)
        )
        of_row = np.concatenate([first, second + first.max() + 1])
        sums, sizes = (np.asarray(each, dtype=np.float64) for each in (np.bincount(of_row, ranks), np.bincount(of_row)))
        number = int(second.max()) + 1
        found.append(_areas(sums[None, -number:], sizes[None, -number:], len(both))[0])
        drawn.append(_permuted(sums, sizes, number, len(both), random))
    area = float(np.mean(found))
    # where halves of the window are alike by chance, both areas are large: draws that are so together, too
    chance = np.mean(np.sort(drawn, axis=1), axis=0)
    return area, float((1 + (chance >= area - 1e-12).sum()) / (1 + len(chance)))


def _permuted(sums: Array, sizes: Array, number: int, rows: int, random: np.random.Generator) -> Array:
    """Return areas where other stretches are the window."""
    areas = []
    for start in range(0, _PERMUTATIONS, _CHUNK):
        draws = min(_CHUNK, _PERMUTATIONS - start)
        chosen = np.argpartition(random.random((draws, len(sums))), number - 1, axis=1)[:, :number]
        areas.append(_areas(sums[chosen], sizes[chosen], rows))
    return np.concatenate(areas)


def _areas(sums: Array, sizes: Array, rows: int) -> Array:
    """Return the area under the curve where these stretches are the window, shape (n_draws,), by sums of ranks."""
    mine = sizes.sum(1)
    return np.asarray((sums.sum(1) / mine - (mine + 1) / 2) / np.maximum(rows - mine, 1))
