"""What the watched metrics of a window are expected to be before its labels come."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import polars as pl

from expectations.families import Scores
from expectations.usecase import UseCase
from expectations.windows import Window
from tasks.bundles.bundle import Bundle
from tasks.evaluation.estimates.estimate import Estimate, Expected
from tasks.evaluation.estimates.estimating import estimate
from tasks.evaluation.estimates.expectation import Expectation
from tasks.evaluation.estimates.levels import Earlier
from tasks.stores.measurements import Measurement


def estimate_window(
    window: Window,
    spec: UseCase,
    champion: Bundle,
    rows: pl.DataFrame,
    scores: Scores,
    labels: pl.Series,
    past: Sequence[Measurement],
) -> tuple[Estimate, ...]:
    """Estimate the watched metrics over the champion's own predictions; nothing is decided by it."""
    learnt = champion.expected()
    if learnt is None or rows.is_empty() or "estimates" in champion.manifest.problem.unwatched:
        return ()
    expected, matrix = Expectation.from_dict(learnt), champion.program.transform(rows)
    truth = labels.cast(pl.Float64).fill_null(math.nan).to_numpy().astype(np.float64)
    start, past = window.start, sorted(past, key=lambda each: each.start)
    own = [each for each in past if each.start < start and each.champion == champion.digest]
    found = []
    for rule in spec.monitoring.performance:
        earlier = _earlier(rule.metric, [each for each in past if each.end <= start])
        known = [each for each in own if _earlier(rule.metric, [each])]
        behind = 1 + sum(not known or each.start > known[-1].start for each in own)
        made = estimate(
            rule.metric,
            expected,
            scores if scores.ndim == 1 else scores[:, : len(champion.classes)],
            matrix,
            truth,
            threshold=champion.manifest.threshold,
            champion=champion.digest,
            earlier=earlier,
            behind=behind,
            seed=spec.model.seed,
        )
        found.append(made.keeping(_first_estimate(rule.metric, window, champion.digest, past)))
    return tuple(found)


def _earlier(metric: str, past: Sequence[Measurement]) -> list[Earlier]:
    """Windows of which both is known what a metric was expected to be without labels, and what it was."""
    return [
        Earlier(each.champion, expected.drawn, rule.value)
        for each in past
        for expected in each.estimated
        for rule in each.realised
        if rule.metric == expected.metric == metric
        if expected.drawn is not None and rule.value is not None
    ]


def _first_estimate(metric: str, window: Window, champion: str, past: Sequence[Measurement]) -> Expected | None:
    """Return what was first expected of a window without its labels."""
    for each in past:
        if (each.window, each.champion) == (window, champion):
            return next((made.before for made in each.estimated if made.metric == metric), None)
    return None
