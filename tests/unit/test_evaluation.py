"""Metrics agree with scikit-learn; intervals and gates follow their laws."""

import math
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
from scipy import stats
from sklearn import metrics as reference

from expectations.gates import Interval
from expectations.metrics import metrics_of
from expectations.slots import PROBLEMS
from tasks.evaluation.floors import least_loss
from tasks.evaluation.gates import AbsoluteGate, ComparisonGate, passed
from tasks.evaluation.interval import paired_interval, time_blocks
from tasks.evaluation.losses import hourly_losses
from tasks.evaluation.metrics import Scored, losses, resampled, score

RANDOM = np.random.default_rng(3)
LABEL = (RANDOM.random(4000) < 0.3).astype(float)
CHANCE = np.clip(LABEL * 0.3 + RANDOM.random(4000) * 0.7, 0.001, 0.999).round(2)  # with ties
TRUTH = RANDOM.normal(50, 20, 4000)
GUESS = TRUTH + RANDOM.normal(2, 8, 4000)
CALLED = CHANCE >= 0.5


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("roc_auc", reference.roc_auc_score(LABEL, CHANCE)),
        ("average_precision", reference.average_precision_score(LABEL, CHANCE)),
        ("accuracy", reference.accuracy_score(LABEL, CALLED)),
        ("precision", reference.precision_score(LABEL, CALLED)),
        ("recall", reference.recall_score(LABEL, CALLED)),
        ("f1", reference.f1_score(LABEL, CALLED)),
        ("log_loss", reference.log_loss(LABEL, CHANCE)),
        ("brier", reference.brier_score_loss(LABEL, CHANCE)),
        ("balanced_accuracy", reference.balanced_accuracy_score(LABEL, CALLED)),
        ("specificity", reference.recall_score(1 - LABEL, ~CALLED)),
        ("matthews", reference.matthews_corrcoef(LABEL, CALLED)),
        ("cohen_kappa", reference.cohen_kappa_score(LABEL, CALLED.astype(float))),
        ("kolmogorov_smirnov", stats.ks_2samp(CHANCE[LABEL == 1], CHANCE[LABEL == 0]).statistic),
    ],
)
def test_classification_metrics_are_scikit_learns(metric: str, expected: float) -> None:
    assert score(metric, Scored(LABEL, CHANCE)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("rmse", reference.root_mean_squared_error(TRUTH, GUESS)),
        ("mae", reference.mean_absolute_error(TRUTH, GUESS)),
        ("r2", reference.r2_score(TRUTH, GUESS)),
        ("mape", reference.mean_absolute_percentage_error(TRUTH, GUESS)),
        ("wape", np.abs(TRUTH - GUESS).sum() / np.abs(TRUTH).sum()),
        ("median_absolute_error", reference.median_absolute_error(TRUTH, GUESS)),
    ],
)
def test_regression_metrics_are_scikit_learns(metric: str, expected: float) -> None:
    assert score(metric, Scored(TRUTH, GUESS)) == pytest.approx(expected, rel=1e-9)


def test_logarithmic_errors_are_scikit_learns_and_not_defined_below_zero() -> None:
    expected = reference.root_mean_squared_log_error(np.abs(TRUTH), np.abs(GUESS))
    assert score("rmsle", Scored(np.abs(TRUTH), np.abs(GUESS))) == pytest.approx(expected, rel=1e-9)
    assert math.isnan(score("rmsle", Scored(np.array([1.0, 2.0]), np.array([1.0, -0.1]))))


def test_probabilities_that_come_true_have_no_calibration_error() -> None:
    rows = Scored(np.array([1.0, 0, 0, 0] * 10), np.full(40, 0.25))
    assert score("calibration_error", rows) == pytest.approx(0.0, abs=1e-12)
    twice = Scored(rows.label, np.full(40, 0.55))
    assert score("calibration_error", twice) == pytest.approx(0.3)


@pytest.mark.parametrize("metric", ["mape", "wape", "rmsle"])
def test_errors_in_shares_of_the_label_show_no_less_than_a_millionth_whatever_its_unit(metric: str) -> None:
    assert least_loss(metric, 1e9 * TRUTH) == least_loss(metric, TRUTH) == 1e-6


def test_the_worked_examples_follow_the_mathematics() -> None:
    assert 1 / (1 + math.exp(-2)) == pytest.approx(0.881, abs=5e-4)
    two_thirds = Scored(np.array([1.0, 0.0]), np.array([0.65, 0.35]))
    assert score("log_loss", two_thirds) == pytest.approx(0.431, abs=5e-4)


@pytest.mark.parametrize("metric", metrics_of("binary_classification"))
def test_a_weighted_resample_is_the_metric_of_the_repeated_rows(metric: str) -> None:
    rows = Scored(LABEL[:300], CHANCE[:300])
    blocks = np.arange(300) // 30
    weights = np.array([[2, 0, 1, 1, 0, 3, 1, 0, 1, 1]], dtype=float)
    repeated = np.concatenate([np.flatnonzero(blocks == b) for b in range(10) for _ in range(int(weights[0, b]))])
    by_weight = resampled(metric, rows, blocks, 10, weights)[0]
    assert by_weight == pytest.approx(score(metric, Scored(LABEL[repeated], CHANCE[repeated])), rel=1e-9)


@pytest.mark.parametrize(
    ("task", "metric"), [(task, metric) for task in sorted(PROBLEMS.names()) for metric in metrics_of(task)]
)
def test_without_rows_a_metric_is_no_number(task: str, metric: str) -> None:
    width = (0, 3) if task == "multiclass_classification" else (0,)
    assert math.isnan(score(metric, Scored(np.empty(0), np.empty(width))))


def test_one_class_has_no_area_under_roc() -> None:
    assert math.isnan(score("roc_auc", Scored(np.ones(5), np.linspace(0, 1, 5))))


def interval(challenger: Scored, champion: Scored, metric: str = "roc_auc", *, better: bool = True) -> Interval:
    blocks = time_blocks(np.arange(len(champion.label)) * 600.0, 86400.0)
    return paired_interval(
        metric, challenger, champion, blocks, greater_is_better=better, resamples=300, confidence=0.95, seed=1
    )


def test_a_model_gains_nothing_over_itself() -> None:
    rows = Scored(LABEL, CHANCE)
    assert interval(rows, rows) == Interval(0.0, 0.0, 0.0)


def test_a_better_model_gains_whatever_the_direction_of_the_metric() -> None:
    worse = Scored(TRUTH, GUESS + RANDOM.normal(0, 10, 4000))
    gain = interval(Scored(TRUTH, GUESS), worse, "rmse", better=False)
    assert 0 < gain.lower < gain.point < gain.upper


def test_different_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="same rows"):
        interval(Scored(LABEL, CHANCE), Scored(1 - LABEL, CHANCE))


def test_the_interval_covers_the_truth_when_errors_come_in_days() -> None:
    """Both models are equally good, days are shared causes: a 90 % interval excludes zero about once in ten."""
    excluded = 0
    for seed in range(60):
        random = np.random.default_rng(seed)
        day = np.repeat(random.normal(0, 1, (40, 2)), 50, axis=0)
        truth = random.normal(0, 1, 2000)
        one, other = (Scored(truth, truth + day[:, i] + random.normal(0, 0.2, 2000)) for i in (0, 1))
        blocks = np.repeat(np.arange(40), 50)
        found = paired_interval(
            "mae", one, other, blocks, greater_is_better=False, resamples=300, confidence=0.9, seed=seed
        )
        excluded += not found.lower <= 0 <= found.upper
    assert excluded <= 15


@pytest.mark.parametrize(
    ("gate", "expected"),
    [
        (AbsoluteGate(metric="roc_auc", min=0.6), "pass"),
        (AbsoluteGate(metric="roc_auc", min=0.8), "fail"),
        (AbsoluteGate(metric="brier", max=0.1), "fail"),
        (AbsoluteGate(metric="f1", min=0.1), "unknown"),
        (ComparisonGate(metric="roc_auc", versus="champion", margin=0.01), "pass"),
        (ComparisonGate(metric="roc_auc", versus="champion", margin=0.001), "fail"),
        (ComparisonGate(metric="roc_auc", versus="champion", margin=0.001, require="point"), "pass"),
    ],
)
def test_gates(gate: AbsoluteGate | ComparisonGate, expected: str) -> None:
    metrics = {"roc_auc": 0.7, "brier": 0.2, "f1": math.nan}
    result = gate.check(metrics, {"roc_auc": Interval(0.002, -0.005, 0.01)})
    assert result.outcome == expected
    assert result.rationale
    assert passed((result,)) == (expected == "pass")


def test_the_first_model_is_not_compared() -> None:
    gate = ComparisonGate(metric="roc_auc", versus="champion")
    assert gate.check({"roc_auc": 0.5}, None).outcome == "pass"


@pytest.mark.parametrize("metric", ["roc_auc", "average_precision", "accuracy", "precision", "log_loss", "brier"])
def test_a_classifier_shows_no_less_than_half_a_row(metric: str) -> None:
    assert least_loss(metric, LABEL) == 1 / 8000
    assert least_loss(metric, LABEL[:0]) > 0


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_a_regression_shows_no_less_than_a_millionth_of_the_labels_spread(scale: float) -> None:
    for metric in ("rmse", "mae"):
        assert least_loss(metric, scale * TRUTH) == pytest.approx(scale * 1e-6 * TRUTH.std(), rel=1e-9)
        assert least_loss(metric, np.append(TRUTH, math.nan)) == least_loss(metric, TRUTH)
        assert least_loss(metric, np.full(30, scale * 0.1)) == pytest.approx(1e-7 * scale)  # no spread but rounding
        for nothing in (np.zeros(30), np.empty(0), np.full(3, math.nan)):
            assert least_loss(metric, nothing) > 0
    assert least_loss("r2", scale * TRUTH) == pytest.approx((least_loss("rmse", TRUTH) / TRUTH.std()) ** 2)


@pytest.mark.parametrize("metric", ["roc_auc", "accuracy", "f1", "log_loss", "brier"])
def test_the_least_loss_lies_below_what_one_wrong_row_shows(metric: str) -> None:
    wrong = LABEL.copy()
    wrong[0] = 1 - wrong[0]
    assert least_loss(metric, LABEL) <= losses(metric, np.array([score(metric, Scored(LABEL, wrong))]))[0]


def test_an_error_that_cannot_be_squared_is_no_loss() -> None:
    times = pl.Series([datetime(2026, 1, 1, hour, tzinfo=UTC) for hour in (0, 0, 1, 2)])
    label = pl.Series([1.0, None, 1e200, None], dtype=pl.Float64)
    found = hourly_losses(times, (label - pl.Series([0.5, 0.5, 0.0, 0.0])) ** 2)
    assert found["loss"].to_list() == [0.25, None, None]
    assert found["coverage"].to_list() == [0.5, 1.0, 0.0]
