"""Which features a model is asked about together: runs of neighbours, where there are too many to ask about each."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

CONTRIBUTIONS_ALONE = 1024
"""Features whose contributions are sampled one by one; of more, as of pixels, neighbours enter together."""
PIXEL_CONTRIBUTIONS_ALONE = 128
"""The same where features are the pixels of a picture, whose neighbours show alike."""
CONTRIBUTION_RUNS = 128
"""So many of these neighbours there are then."""
IMPORTANCE_ALONE = 512
"""Features whose importance is measured one by one: each takes a prediction of all rows it is measured over."""
PIXEL_IMPORTANCE_ALONE = 64
"""The same of a backbone, which takes long for a picture."""
IMPORTANCE_RUNS = 64


def feature_groups(width: int, *, alone: int, runs: int) -> list[npt.NDArray[np.intp]]:
    """Return the places of features that are asked about together.

    Parameters
    ----------
    width : int
        How many features there are.
    alone : int
        So many are asked about one by one; more in runs of neighbours, each about as long as the others.
    runs : int

    Returns
    -------
    list of ndarray
        Of one group each; in order, and every feature is in one.
    """
    return np.array_split(np.arange(width), width if width <= alone else runs)
