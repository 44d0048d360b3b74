"""Guardrails: what a candidate did beside the champion, and whether that may go on. Pure functions of evidence."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from typing import Literal

import numpy as np

from expectations.families import Scores, Vector
from expectations.metrics import Blocks, Scored
from expectations.problems import Problem
from expectations.production import Release
from expectations.usecase import UseCase
from tasks.evaluation.drift import judge
from tasks.evaluation.interval import paired_interval, unpaired_interval
from tasks.evaluation.pairs import Compared
from tasks.evaluation.sketches import sketch

Status = Literal["good", "violated", "unknown"]
FindingStatus = Literal["good", "violated", "unknown", "undefined"]


@dataclass(frozen=True)
class Traffic:
    """What one bundle did in a step, by the service's own counts.

    Attributes
    ----------
    skipped : int
        Requests a shadow was too slow to score.
    seconds : float
        Processor time it took to score.
    expected : float
        Processor time the champion was measured, when it was loaded, to take for as many requests of as many rows.
    """

    requests: int = 0
    failures: int = 0
    skipped: int = 0
    seconds: float = 0.0
    expected: float = 0.0

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def __sub__(self, other: Traffic) -> Traffic:
        return Traffic(*(max(0, a - b) for a, b in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True)
class Evidence:
    """What is known of a step.

    Attributes
    ----------
    champion, candidate : ndarray of shape (n_rows,) or (n_rows, n_classes)
        Predictions, of either in the order of the champion's classes; of the same rows in a shadow, of different
        entities in a canary.
    champion_label, candidate_label : ndarray of shape (n_rows,)
        Labels of those rows, NaN where not ripe.
    paired : bool
        Whether both scored the same rows.
    """

    champion: Scores
    candidate: Scores
    champion_label: Vector
    candidate_label: Vector
    champion_traffic: Traffic
    candidate_traffic: Traffic
    paired: bool


@dataclass(frozen=True)
class Deviation:
    """How one guardrail stands.

    Attributes
    ----------
    value : float or None
        Missing where it is unknown.
    status : {"good", "violated", "unknown", "undefined"}
        Unknown while labels or requests are too few; undefined where what there is gives no finite number. The first
        holds nothing up, the second does: a step with it is not known to be good.
    """

    guardrail: str
    value: float | None
    limit: float
    status: FindingStatus

    def __str__(self) -> str:
        if self.status == "undefined":
            return f"{self.guardrail} is no finite number"
        shown = "not known" if self.value is None else f"{self.value:.3g}"
        return f"{self.guardrail} {shown} (limit {self.limit:g})"


def _hold(guardrail: str, value: float, limit: float, *, violated: bool) -> Deviation:
    if not (math.isfinite(value) and math.isfinite(limit)):
        return Deviation(guardrail, None, limit, "undefined")
    return Deviation(guardrail, value, limit, "violated" if violated else "good")


@dataclass(frozen=True)
class StepVerdict:
    """Whether a step was kept: violated by any guardrail, unknown with too few rows or numbers, good otherwise."""

    status: Status
    rows: int
    findings: tuple[Deviation, ...]

    @property
    def summary(self) -> str:
        """Say it in words."""
        if self.status == "violated":
            return ", ".join(str(each) for each in self.findings if each.status == "violated")
        undefined = [str(each) for each in self.findings if each.status == "undefined"]
        if undefined:
            return ", ".join(undefined)
        if self.status == "unknown":
            return f"only {self.rows} rows of it or of the champion to judge it by"
        return f"{self.rows} rows, " + ", ".join(str(each) for each in self.findings if each.value is not None)


def judge_step(evidence: Evidence, spec: UseCase, plan: Release) -> StepVerdict:
    """Hold what happened in a step against the guardrails.

    Failures count from the first request on, everything else from `plan.min_rows` rows of either model on: a candidate
    nothing can be held against is not known to be good. Scoring time counts from a hundred requests on either side.
    """
    rows = min(len(evidence.candidate), len(evidence.champion))
    enough = rows >= plan.min_rows
    with np.errstate(over="ignore", invalid="ignore"):  # a finding on what is no number says so
        findings = (_failures(evidence, plan), *(_comparisons(evidence, spec, plan) if enough else ()))
    if any(each.status == "violated" for each in findings):
        return StepVerdict("violated", rows, findings)
    defined = all(each.status != "undefined" for each in findings)
    return StepVerdict("good" if enough and defined else "unknown", rows, findings)


_MIN_REQUESTS = 100
_RESAMPLES, _RUNS = 400, 100
_DRIFT_ALPHA = 0.001
_CONFIDENCE = 0.98
"""Of the interval of a loss, both ends together: a step is looked at several times."""


def _failures(evidence: Evidence, plan: Release) -> Deviation:
    limit, traffic = plan.guardrails.max_failures, evidence.candidate_traffic
    tried = traffic.requests + traffic.failures
    if not tried:
        return Deviation("share of failures", None, limit, "unknown")
    share = traffic.failures / tried
    return Deviation("share of failures", share, limit, "violated" if share > limit else "good")


def _comparisons(evidence: Evidence, spec: UseCase, plan: Release) -> Iterator[Deviation]:
    rails = plan.guardrails
    theirs, own = evidence.champion_traffic, evidence.candidate_traffic
    if min(theirs.requests, own.requests) >= _MIN_REQUESTS and min(theirs.seconds, theirs.expected, own.expected) > 0:
        # each against what its own requests should take, as a canary and the champion have requests of other sizes
        ratio = (own.seconds / own.expected) / (theirs.seconds / theirs.expected)
        name = "scoring time against the champion's"
        yield _hold(name, ratio, rails.max_latency, violated=ratio > rails.max_latency)
    problem = spec.problem
    distance = problem.distance(evidence.champion, evidence.candidate)
    far = distance > rails.max_drift and (evidence.paired or _differ(problem, evidence))
    yield _hold("distance of the predictions", distance, rails.max_drift, violated=far)
    if evidence.paired:
        share = problem.agreement(evidence.champion, evidence.candidate, spec.threshold)
        if own.skipped:  # reported, and no fault: what it did score is what it is judged by
            left_out = own.skipped / (own.requests + own.failures + own.skipped)
            yield Deviation("share of requests it was too slow for", left_out, 1.0, "good")
        yield _hold("agreement", share, rails.min_agreement, violated=share < rails.min_agreement)
    yield _loss(evidence, spec, plan)


def _differ(problem: Problem, evidence: Evidence) -> bool:
    """Whether predictions for different entities differ by more than chance.

    Both answered in the same minutes, so that rows of one are no more alike than those of both: in random order.
    """
    random = np.random.default_rng(0)
    classes = [str(place) for place in range(evidence.champion.shape[-1])] if evidence.champion.ndim > 1 else ()
    both = [problem.columns(random.permutation(each), classes) for each in (evidence.champion, evidence.candidate)]
    found = judge([Compared(sketch(both[0]), both[1], independent=True)], alpha=_DRIFT_ALPHA)
    return any(each.drifted for each in found)


def _loss(evidence: Evidence, spec: UseCase, plan: Release) -> Deviation:
    """Hold the realised metric against the champion's: violated where the loss is beyond doubt more than allowed."""
    rules = spec.monitoring.performance
    metric = rules[0].metric if rules else ""
    declared = plan.guardrails.max_loss
    limit = declared if declared is not None else rules[0].drop if rules else 0.0
    unknown = Deviation(f"loss of {metric}", None, limit, "unknown")
    scored = []
    for predictions, labels in (
        (evidence.candidate, evidence.candidate_label),
        (evidence.champion, evidence.champion_label),
    ):
        known = np.isfinite(labels)
        if not metric or known.sum() < plan.min_rows:
            return unknown
        scored.append(Scored(labels[known], predictions[known], spec.threshold))
    own, theirs = scored
    gain = (paired_interval if evidence.paired else unpaired_interval)(
        metric,
        own,
        theirs,
        *(_runs(rows) for rows in ((own,) if evidence.paired else (own, theirs))),
        greater_is_better=spec.greater_is_better[metric],
        resamples=_RESAMPLES,
        confidence=_CONFIDENCE,
        seed=spec.model.seed,
    )
    if np.isfinite(gain.point) and not np.isfinite(gain.upper):  # a resample may lack a class: nothing is beyond doubt
        return unknown
    return _hold(f"loss of {metric}", -gain.point, limit, violated=-gain.upper > limit)


def _runs(rows: Scored) -> Blocks:
    """Cut rows, in the order they were asked, into runs: neighbours share their causes."""
    return np.arange(len(rows.label)) * min(_RUNS, len(rows.label)) // len(rows.label)
