"""Where releases were placed in a past: what each placement lost beyond fresh models, and the best one in hindsight."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def triangle(losses: Callable[[int, int], float], windows: int) -> Array:
    """Return the logarithm of the loss of each window's model in it and in each later window, NaN below the diagonal.

    Parameters
    ----------
    losses : callable
        (model, window) -> logarithm of the loss.
    """
    found = np.full((windows, windows), np.nan)
    for model in range(windows):
        for window in range(model, windows):
            found[model, window] = losses(model, window)
    return found


def excess(table: Array, charge: Sequence[int]) -> Array:
    """Return what a placement lost in each window beyond a fresh model, shape (n_windows,); 0 where unknown."""
    fresh = np.diagonal(table)
    return np.nan_to_num(table[list(charge), range(len(charge))] - fresh)


def charge_of(windows: int, released: Sequence[int]) -> list[int]:
    """Return the model in charge of each window, released before these; the first model is 0."""
    charge, current, at = [], 0, set(released)
    for window in range(windows):
        current = window if window in at else current
        charge.append(current)
    return charge


def _ahead(table: Array) -> Array:
    """Return [model, end]: what a model loses beyond fresh ones from its own window up to another, not included."""
    windows = len(table)
    ahead = np.zeros((windows, windows + 1))
    np.cumsum(np.nan_to_num(np.triu(table - np.diagonal(table))), axis=1, out=ahead[:, 1:])
    return ahead


def best_placement(table: Array, release_cost: float, releases: int | None = None) -> tuple[float, list[int]]:
    """Find the windows before which to release at the least cost in hindsight, by dynamic programming.

    Parameters
    ----------
    releases : int, optional
        Exactly so many, in O(releases × n_windows²); as many as pay where not given, in O(n_windows²).
    """
    windows, ahead = len(table), _ahead(table)
    # least[model]: the least that is lost before a model's own window, releases before it paid; the end counts as one
    if releases is None:
        least = np.zeros(windows + 1)
        came = np.zeros(windows + 1, dtype=np.int64)
        for end in range(1, windows + 1):
            options = least[:end] + ahead[:end, end]
            came[end] = np.argmin(options)
            least[end] = options[came[end]] + (release_cost if end < windows else 0.0)
        placed, end = [], int(came[windows])
        while end:
            placed.append(end)
            end = int(came[end])
        return float(least[windows]), placed[::-1]
    least = np.full(windows + 1, np.inf)
    least[0] = 0.0
    earlier = []
    later = np.tril_indices(windows, -1, windows + 1)  # a model answers one window at least: none ends where it begins
    steps = ahead.copy()
    steps[np.diag_indices(windows)] = steps[later] = np.inf
    for _ in range(releases + 1):
        options = least[:windows, None] + steps
        earlier.append(np.argmin(options, axis=0))
        least = options.min(axis=0)
    placed, end = [], windows
    for came in earlier[:0:-1]:
        end = int(came[end])
        placed.append(end)
    return float(least[windows]) + release_cost * releases, placed[::-1]


def schedule_curve(table: Array) -> list[tuple[float, float]]:
    """Return (releases, excess loss a window) of every k-th window, each a mean over its phases; rarest first."""
    windows, ahead = len(table), _ahead(table)
    curve = [(0.0, float(ahead[0, windows]) / windows)]
    placed = np.arange(1, windows)
    for every in range(windows - 1, 0, -1):  # over all phases each window is released before once
        lost = ahead[placed, np.minimum(placed + every, windows)].sum() + ahead[0, 1 : every + 1].sum()
        curve.append(((windows - 1) / every, float(lost) / every / windows))
    return curve


def on_curve(curve: Sequence[tuple[float, float]], releases: float) -> float:
    """Return the excess loss of schedules at a number of releases, between their points."""
    return float(np.interp(releases, [each for each, _ in curve], [lost for _, lost in curve]))


def beaten_placements(table: Array, releases: int, lost: float, *, draws: int = 300, seed: int = 0) -> float:
    """Return the share of random placements of as many releases that lose more, ties counting one half."""
    random, windows = np.random.default_rng(seed), len(table)
    found = [
        float(excess(table, charge_of(windows, (1 + random.permutation(windows - 1)[:releases]).tolist())).mean())
        for _ in range(draws)
    ]
    return float(np.mean([(each > lost) + 0.5 * (each == lost) for each in found]))
