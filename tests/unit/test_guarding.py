"""Guardrails are a pure function of what two bundles did."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from expectations.loading import LoadedUseCase, load_use_case
from expectations.usecase import Release
from tasks.deployment.guarding import Evidence, Traffic, judge_step

PLAN = Release(strategy="canary", min_rows=100)
RANDOM = np.random.default_rng(1)
PREDICTED = RANDOM.normal(0.5, 0.1, 500)
UNKNOWN = np.full(500, np.nan)


@pytest.fixture(scope="module")
def flights() -> LoadedUseCase:
    return load_use_case("flights")


def evidence(**changes: object) -> Evidence:
    same = Evidence(
        champion=PREDICTED,
        candidate=RANDOM.permutation(PREDICTED),
        champion_label=UNKNOWN,
        candidate_label=UNKNOWN,
        champion_traffic=Traffic(100, 0, 0.001),
        candidate_traffic=Traffic(100, 0, 0.001),
        paired=False,
    )
    return replace(same, **changes)


def broken(found: Evidence, usecase: LoadedUseCase) -> list[str]:
    return [each.guardrail for each in judge_step(found, usecase.spec, PLAN).findings if each.status == "violated"]


def test_a_candidate_like_the_champion_is_good(flights: LoadedUseCase) -> None:
    assert judge_step(evidence(), flights.spec, PLAN).status == "good"


def test_too_few_rows_are_no_verdict(flights: LoadedUseCase) -> None:
    few = evidence(candidate=PREDICTED[:99], candidate_label=UNKNOWN[:99])
    assert judge_step(few, flights.spec, PLAN).status == "unknown"


def test_failures_break_it_before_there_are_rows(flights: LoadedUseCase) -> None:
    failing = evidence(candidate=np.empty(0), candidate_label=np.empty(0), candidate_traffic=Traffic(0, 12, 0.0))
    assert judge_step(failing, flights.spec, PLAN).status == "violated"
    assert broken(failing, flights) == ["share of failures"]


@pytest.mark.parametrize(
    ("changes", "guardrail"),
    [
        ({"candidate_traffic": Traffic(100, 0, 0.01)}, "scoring time against the champion's"),
        ({"candidate": PREDICTED + 0.2}, "distance of the predictions"),
        ({"paired": True, "candidate": RANDOM.permutation(PREDICTED)}, "agreement"),
    ],
)
def test_each_guardrail_breaks_alone(flights: LoadedUseCase, changes: dict, guardrail: str) -> None:
    assert broken(evidence(**changes), flights) == [guardrail]


def test_ripe_labels_judge_the_realised_metric(flights: LoadedUseCase) -> None:
    label = (RANDOM.random(500) < PREDICTED).astype(float)
    honest = evidence(champion=label * 0.1 + PREDICTED, champion_label=label, candidate_label=label)
    assert broken(honest, flights) == ["loss of roc_auc"]
    assert broken(evidence(champion_label=label, candidate_label=label, candidate=PREDICTED), flights) == []
