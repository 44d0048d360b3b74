"""Guardrails are a pure function of what two bundles did."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from expectations.loading import LoadedUseCase, load_use_case
from expectations.production import Release
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
        champion_traffic=Traffic(100, 0, 0, 0.1, 0.1),
        candidate_traffic=Traffic(100, 0, 0, 0.1, 0.1),
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
    failing = evidence(candidate=np.empty(0), candidate_label=np.empty(0), candidate_traffic=Traffic(0, 12))
    assert judge_step(failing, flights.spec, PLAN).status == "violated"
    assert broken(failing, flights) == ["share of failures"]


@pytest.mark.parametrize(
    ("changes", "guardrail"),
    [
        ({"candidate_traffic": Traffic(100, 0, 0, 0.6, 0.1)}, "scoring time against the champion's"),
        # a canary whose requests hold a twentieth of the champion's rows, and take as long
        ({"candidate_traffic": Traffic(100, 0, 0, 0.1, 0.006)}, "scoring time against the champion's"),
        ({"candidate": PREDICTED + 0.2}, "distance of the predictions"),
        ({"paired": True, "candidate": RANDOM.permutation(PREDICTED)}, "agreement"),
    ],
)
def test_each_guardrail_breaks_alone(flights: LoadedUseCase, changes: dict, guardrail: str) -> None:
    assert broken(evidence(**changes), flights) == [guardrail]


def test_smaller_requests_are_no_faster_model(flights: LoadedUseCase) -> None:
    canary = evidence(candidate_traffic=Traffic(100, 0, 0, 0.01, 0.006))
    (found,) = [each for each in judge_step(canary, flights.spec, PLAN).findings if "scoring time" in each.guardrail]
    assert found.value == pytest.approx(0.01 / 0.006)


def test_a_worker_that_began_anew_in_between_tells_no_time(flights: LoadedUseCase) -> None:
    found = judge_step(evidence(champion_traffic=Traffic(100, 0, 0, 0.1, 0.0)), flights.spec, PLAN)
    assert not [each for each in found.findings if "scoring time" in each.guardrail]


def test_a_candidate_nothing_can_be_held_against_is_not_good(flights: LoadedUseCase) -> None:
    alone = evidence(champion=PREDICTED[:50], champion_label=UNKNOWN[:50], candidate=PREDICTED + 0.4)
    assert judge_step(alone, flights.spec, PLAN).status == "unknown"


def test_what_a_shadow_left_out_is_told(flights: LoadedUseCase) -> None:
    slow = evidence(paired=True, candidate=PREDICTED, candidate_traffic=Traffic(100, 0, 300, 0.1, 0.1))
    verdict = judge_step(slow, flights.spec, PLAN)
    assert verdict.status == "good"
    assert "too slow for 0.75" in verdict.summary


def test_traffic_of_a_step_is_what_came_after_its_beginning() -> None:
    assert Traffic(5, 1, 0, 2.0, 1.0) - Traffic(3, 1, 0, 0.5, 1.0) == Traffic(2, 0, 0, 1.5, 0.0)
    assert Traffic(5, 1) + Traffic(1, 1, 2, 3.0, 4.0) == Traffic(6, 2, 2, 3.0, 4.0)


def labelled(random: np.random.Generator, rows: int, better: float = 0.0) -> dict[str, np.ndarray]:
    """Predictions of two models on rows of their own; the candidate's are `better` nearer to the truth."""
    found = {}
    for name, extra in (("champion", 0.0), ("candidate", better)):
        chance = random.beta(2, 5, rows)
        label = (random.random(rows) < chance).astype(float)
        found[name] = np.clip(chance + random.normal(0, 0.1, rows) + extra * (label - 0.5), 0, 1)
        found[f"{name}_label"] = label
    return found


@pytest.mark.slow
@pytest.mark.parametrize("rows", [200, 4000])
def test_models_that_are_alike_do_not_lose_against_each_other(flights: LoadedUseCase, rows: int) -> None:
    random = np.random.default_rng(3)
    lost = sum("loss of roc_auc" in broken(evidence(**labelled(random, rows)), flights) for _ in range(60))
    assert lost <= 2


@pytest.mark.slow
@pytest.mark.parametrize("paired", [True, False])
def test_a_few_positive_rows_are_no_doubtless_loss(flights: LoadedUseCase, paired: bool) -> None:
    random, lost = np.random.default_rng(5), 0
    for _ in range(60):
        label = (random.random(300) < 0.008).astype(float)
        one, other = (np.clip(0.1 + random.normal(0, 0.05, 300), 0, 1) for _ in range(2))
        found = evidence(champion=one, candidate=other, champion_label=label, candidate_label=label, paired=paired)
        lost += "loss of roc_auc" in broken(found, flights)
    assert lost <= 2


def test_a_loss_beyond_doubt_is_found(flights: LoadedUseCase) -> None:
    random = np.random.default_rng(4)
    found = sum("loss of roc_auc" in broken(evidence(**labelled(random, 2000, -0.15)), flights) for _ in range(10))
    assert found == 10


def test_ripe_labels_judge_the_realised_metric_of_the_same_rows(flights: LoadedUseCase) -> None:
    label = (RANDOM.random(500) < PREDICTED).astype(float)
    honest = evidence(
        champion=label * 0.1 + PREDICTED, candidate=PREDICTED, champion_label=label, candidate_label=label, paired=True
    )
    assert broken(honest, flights) == ["loss of roc_auc"]
    same = evidence(champion_label=label, candidate_label=label, candidate=PREDICTED, paired=True)
    assert broken(same, flights) == []
    allowed = PLAN.model_copy(update={"guardrails": PLAN.guardrails.model_copy(update={"max_loss": 0.9})})
    assert judge_step(honest, flights.spec, allowed).status == "good"
