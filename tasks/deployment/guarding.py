"""Guardrails: what a candidate did beside the champion, and whether that may go on. Pure functions of evidence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from expectations.usecase import Release, UseCase
from tasks.evaluation.metrics import Scored, score
from tasks.modelling.family import Vector
from tasks.monitoring.drift import profile_column, score_window

Status = Literal["good", "violated", "unknown"]


@dataclass(frozen=True)
class Traffic:
    """What one bundle did in a step, by the service's own counts.

    Attributes
    ----------
    p99 : float
        Processor time to score a request, in seconds.
    """

    requests: int = 0
    failures: int = 0
    p99: float = 0.0


@dataclass(frozen=True)
class Evidence:
    """What is known of a step.

    Attributes
    ----------
    champion, candidate : ndarray of shape (n_rows,)
        Predictions; of the same rows in a shadow, of different entities in a canary.
    champion_label, candidate_label : ndarray of shape (n_rows,)
        Labels of those rows, NaN where not ripe.
    paired : bool
        Whether both scored the same rows.
    """

    champion: Vector
    candidate: Vector
    champion_label: Vector
    candidate_label: Vector
    champion_traffic: Traffic
    candidate_traffic: Traffic
    paired: bool


@dataclass(frozen=True)
class Finding:
    """How one guardrail stands; `value` is missing where it cannot be told yet."""

    guardrail: str
    value: float | None
    limit: float
    status: Status

    def __str__(self) -> str:
        shown = "not known" if self.value is None else f"{self.value:.3g}"
        return f"{self.guardrail} {shown} (limit {self.limit:g})"


@dataclass(frozen=True)
class StepVerdict:
    """Whether a step was kept: violated by any guardrail, unknown with too few rows, good otherwise."""

    status: Status
    rows: int
    findings: tuple[Finding, ...]

    @property
    def summary(self) -> str:
        """Say it in words."""
        if self.status == "violated":
            return ", ".join(str(each) for each in self.findings if each.status == "violated")
        if self.status == "unknown":
            return f"only {self.rows} rows to judge it by"
        return f"{self.rows} rows, " + ", ".join(str(each) for each in self.findings if each.value is not None)


def judge_step(evidence: Evidence, spec: UseCase, plan: Release) -> StepVerdict:
    """Hold what happened in a step against the guardrails.

    Failures count from the first request on, everything else from `plan.min_rows` rows, scoring time from a hundred
    requests on either side: below that its 99th percentile is but the slowest one.
    """
    rows = len(evidence.candidate)
    enough = rows >= plan.min_rows
    findings = (_failures(evidence, plan), *(_comparisons(evidence, spec, plan) if enough else ()))
    if any(each.status == "violated" for each in findings):
        return StepVerdict("violated", rows, findings)
    return StepVerdict("good" if enough else "unknown", rows, findings)


_FEWEST_REQUESTS = 100


def _failures(evidence: Evidence, plan: Release) -> Finding:
    limit, traffic = plan.guardrails.max_failures, evidence.candidate_traffic
    tried = traffic.requests + traffic.failures
    if not tried:
        return Finding("share of failures", None, limit, "unknown")
    share = traffic.failures / tried
    return Finding("share of failures", share, limit, "violated" if share > limit else "good")


def _comparisons(evidence: Evidence, spec: UseCase, plan: Release) -> Iterator[Finding]:
    rails = plan.guardrails
    theirs, own = evidence.champion_traffic, evidence.candidate_traffic
    if min(theirs.requests, own.requests) >= _FEWEST_REQUESTS and theirs.p99:
        ratio = own.p99 / theirs.p99
        yield Finding(
            "scoring time against the champion's",
            ratio,
            rails.max_latency,
            "violated" if ratio > rails.max_latency else "good",
        )
    if len(evidence.champion) >= plan.min_rows:
        profile = profile_column(pl.Series("prediction", evidence.champion))
        window = pl.DataFrame({"prediction": evidence.candidate})
        drifted = score_window({"prediction": profile}, window, alpha=0.001, min_effect=rails.max_drift)[0]
        yield Finding(
            "distance of the predictions",
            drifted.score,
            drifted.threshold,
            "violated" if drifted.score > drifted.threshold else "good",
        )
    if evidence.paired:
        share = agreement(evidence.champion, evidence.candidate, spec)
        yield Finding("agreement", share, rails.min_agreement, "violated" if share < rails.min_agreement else "good")
    yield _loss(evidence, spec, plan)


def agreement(champion: Vector, candidate: Vector, spec: UseCase) -> float:
    """Return the share of rows on which two models say the same.

    The same label; for a regression, values within half a standard deviation of the champion's predictions.
    """
    if spec.task == "binary_classification":
        threshold = spec.evaluation.threshold
        return float(np.mean((champion >= threshold) == (candidate >= threshold)))
    return float(np.mean(np.abs(champion - candidate) <= np.std(champion) / 2))


def _loss(evidence: Evidence, spec: UseCase, plan: Release) -> Finding:
    limit = plan.guardrails.max_loss
    metric = spec.monitoring.performance[0].metric if spec.monitoring.performance else ""
    unknown = Finding(f"loss of {metric}", None, limit, "unknown")
    found = []
    for predictions, labels in (
        (evidence.champion, evidence.champion_label),
        (evidence.candidate, evidence.candidate_label),
    ):
        known = np.isfinite(labels)
        if not metric or known.sum() < plan.min_rows:
            return unknown
        found.append(score(metric, Scored(labels[known], predictions[known], spec.evaluation.threshold)))
    loss = (found[0] - found[1]) * (1 if spec.greater_is_better[metric] else -1)
    if not np.isfinite(loss):
        return unknown
    return Finding(f"loss of {metric}", float(loss), limit, "violated" if loss > limit else "good")
