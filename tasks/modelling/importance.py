"""How much of a model's work each feature does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from expectations.families import Matrix, Scores
from tasks.modelling.feature_groups import IMPORTANCE_RUNS, feature_groups


def shares(weights: Mapping[str, float]) -> dict[str, float]:
    """Scale weights to sum to one, largest first."""
    total = sum(weights.values()) or 1.0
    return {name: value / total for name, value in sorted(weights.items(), key=lambda item: -item[1])}


def permuted(
    predict: Callable[[Matrix], Scores], sample: Matrix, features: Sequence[str], *, alone: int
) -> dict[str, float]:
    """Return each feature's share of how far predictions move where it has another row's value.

    Permutation importance (Breiman 2001), of predictions and not of their error.

    Parameters
    ----------
    sample : ndarray of shape (n_rows, n_features)
    alone : int
        Of more features, as the pixels of a picture, runs of neighbours have another row's values together, and
        each run's features share its distance equally.
    """
    random, number = np.random.default_rng(0), len(features)
    known, moved = predict(sample), dict[str, float]()
    for run in feature_groups(number, alone=alone, runs=IMPORTANCE_RUNS):
        mixed = sample.copy()
        mixed[:, run] = mixed[random.permutation(len(mixed))][:, run]
        distance = float(np.abs(predict(mixed) - known).mean()) / len(run)
        moved |= {features[at]: distance for at in run}
    return shares(moved)
