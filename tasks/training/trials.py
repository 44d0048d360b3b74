"""A trial of a search, as a job: what was drawn is learnt, scored, and ended early where it goes worse than most."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from pydantic import ValidationError

from expectations.errors import TrainingError
from expectations.families import Family, Report
from expectations.searching import changed
from tasks.stores.progress import doing
from tasks.stores.unfinished import keeping_in

STARTUP, WARMUP_STEPS = 5, 3
"""Trials that are drawn at random and never ended early, and steps of each before it may be."""

#: Learns a candidate, reports as it learns, and returns its score.
TryOne = Callable[[Family, Report], float]


@dataclass(frozen=True)
class Trials:
    """What the trials of a search share.

    Attributes
    ----------
    sign : float
        What a score is multiplied by so that smaller is better.
    clock : callable
        What time is measured by, in seconds.
    """

    candidate: Family
    try_one: TryOne
    sign: float
    clock: Callable[[], float]


@dataclass(frozen=True)
class DrawnTrial:
    """What is a trial's own.

    Attributes
    ----------
    title : str
        What it is called as it begins.
    folder : str
        Where it keeps its own state; see `keeping_in`.
    medians : mapping of int to float, optional
        Step -> what a trial ends by that was never better; None where none ends early.
    """

    title: str
    values: Mapping[str, object]
    folder: str
    medians: Mapping[int, float] | None


@dataclass(frozen=True)
class TrialResult:
    """What came of a trial.

    Attributes
    ----------
    value : float
        Its score, smaller where it is better; NaN where it was not reached.
    losses : mapping of int to float
        Step -> how it went, where trials may end early.
    """

    state: Literal["complete", "pruned", "failed"]
    value: float
    seconds: float
    losses: Mapping[int, float] = field(default_factory=dict)


class _EndedError(Exception):
    """A trial goes worse than most did at the same step."""


def run_trial(shared: Trials, drawn: DrawnTrial, hear: Report) -> TrialResult:
    """Learn what was drawn, and score it."""
    doing(drawn.title)
    began, losses = shared.clock(), dict[int, float]()
    value = math.nan
    state: Literal["complete", "pruned", "failed"] = "failed"
    try:
        candidate = _with_values(shared.candidate, drawn.values)
        report = hear if drawn.medians is None else _pruning(candidate, drawn.medians, losses, hear)
        with keeping_in(drawn.folder):
            value = shared.sign * shared.try_one(candidate, report)
    except _EndedError:
        state = "pruned"
    except TrainingError as error:  # what was drawn cannot be learnt: the next one may
        doing(str(error))
    if math.isfinite(value):
        state = "complete"
    return TrialResult(state, value, shared.clock() - began, losses)


def medians_of(complete: Iterable[Mapping[int, float]]) -> dict[int, float]:
    """Return the median over the trials that came to their end, at each step that one reported.

    Optuna's `MedianPruner` holds a trial's best value so far against the same (Golovin et al. 2017, "Google Vizier");
    here the trials before a batch decide, so that a trial ends at the same step wherever it runs.

    Parameters
    ----------
    complete : iterable of mapping
        Of each of those trials, step -> how it went.
    """
    at: dict[int, list[float]] = {}
    count = 0
    for losses in complete:
        count += 1
        for step, loss in losses.items():
            at.setdefault(step, []).append(loss)
    if count < STARTUP:
        return {}
    return {step: float(np.percentile(found, 50)) for step, found in at.items() if step >= WARMUP_STEPS}


def _with_values(candidate: Family, values: Mapping[str, object]) -> Family:
    """Return a candidate with what was drawn.

    Raises
    ------
    TrainingError
        If it can have each of these values, but not all of them.
    """
    try:
        made: Family = changed(candidate, values)
    except ValidationError as error:
        raise TrainingError(
            f"values that {candidate.family} can have together",
            f"{', '.join(f'{field} {value!r}' for field, value in values.items())}: {error.errors()[0]['msg']}",
            "Narrow `model.search.ranges` if too many trials are spent so",
        ) from error
    return made


def _pruning(candidate: Family, medians: Mapping[int, float], losses: dict[int, float], hear: Report) -> Report:
    """Return what ends a trial that goes worse than most did at the same step."""

    def report(step: int, values: Mapping[str, float]) -> None:
        hear(step, values)
        loss = candidate.progress(values)
        if loss is None or not math.isfinite(loss):
            return
        losses.setdefault(step, float(loss))
        if step in medians and min(losses.values()) > medians[step]:
            raise _EndedError

    return report
