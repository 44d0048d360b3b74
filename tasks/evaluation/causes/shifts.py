"""What a shift of all labels is, whatever kind they are of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from expectations.metrics import Array

STEPS = np.linspace(-1.0, 3.0, 17)
"""Multiples of a label's shift at which its part is known; between them it is interpolated."""


@dataclass(frozen=True)
class LabelShift:
    """A shift of all labels.

    Attributes
    ----------
    lost : ndarray
        What it loses: over all rows, then over each resample.
    words : str
    left : ndarray
        The loss of each row of the window without it.
    unit : ndarray
        How far each label of the window moves by it.
    off, off_now : ndarray
        How far each label lies from its prediction, along the shift: of the earlier rows, and of the window's.
    """

    lost: Array
    words: str
    left: Array
    unit: Array
    off: Array
    off_now: Array


def interpolated(known: Array, steps: Array) -> Array:
    """Read, for each resample, what is known at the steps at its own step."""
    return np.array([np.interp(step, STEPS, known[:, place]) for place, step in enumerate(steps)])
