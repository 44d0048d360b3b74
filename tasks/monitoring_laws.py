"""What every part of monitoring keeps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from expectations.drift_scores import Binned, DriftScore

BINS = 12


def binned(kind: str, before: list[int], now: list[int]) -> Binned:
    """Return a column of so many rows in each bin."""
    was, became = np.array(before, dtype=np.float64), np.array(now, dtype=np.float64)
    centres = np.zeros(0) if kind == "category" else np.linspace(-1.5, 1.5, len(before))
    return Binned(was, became, centres, centres, np.nan if kind == "category" else 0.8)


def drift_score_laws(score: DriftScore) -> Iterator[tuple[str, bool]]:
    """Hold a drift score against what each keeps."""
    random = np.random.default_rng(4)
    yield (
        "it is of numbers, of categories, or of both",
        0 < len(score.kinds) == len(set(score.kinds) & {"number", "category"}),
    )
    for kind in score.kinds:
        before, now = (random.integers(0, 50, BINS).tolist() for _ in range(2))
        same, apart = binned(kind, before, before), binned(kind, before, now)
        disjoint = binned(kind, [40, *[0] * (BINS - 1)], [*[0] * (BINS - 1), 40])
        yield f"a sample has no distance from itself ({kind})", abs(score.of(same)) < 1e-9
        yield f"what differs has one, finite and above zero ({kind})", 0 < score.of(apart) < np.inf
        yield f"what shares no bin lies further apart ({kind})", score.of(apart) < score.of(disjoint) < np.inf
        more = replace(apart, before=10 * apart.before, now=3 * apart.now)
        yield f"it does not depend on the number of rows ({kind})", bool(np.isclose(score.of(more), score.of(apart)))
