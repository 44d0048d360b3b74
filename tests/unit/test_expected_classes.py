"""What a metric of several classes is without labels: right where labels follow as they did, else not trusted."""

from __future__ import annotations

import functools
import json

import numpy as np
import pytest

from expectations.metrics import Array
from tasks.evaluation.estimates.class_labels import ClassLabels
from tasks.evaluation.estimates.estimating import estimate
from tasks.evaluation.estimates.expectation import Expectation
from tasks.evaluation.estimates.label_models import BinaryLabels
from tasks.evaluation.estimates.learning import learn_expectation
from tasks.evaluation.metrics import Scored, score
from tasks.evaluation.scaling import softmax
from tasks.stores.plain import to_json

HOUR = 3600.0
SLOPES = np.array([[1.5, 0.0], [-1.0, 1.0], [0.0, -1.2], [0.2, 0.2]])
METRICS = ["log_loss", "brier", "accuracy", "f1_macro", "roc_auc_ovr"]


def classified(number: int, seed: int, *, shift: float = 0.0) -> tuple[Array, Array, Array]:
    """What an overconfident model says of rows, their labels by the true chances, and features."""
    random = np.random.default_rng(seed)
    matrix = random.normal(shift, 1.0, (number, 2))
    chance = softmax(matrix @ SLOPES.T + np.array([0.0, 0.5, 0.0, -0.5]))
    label = (chance.cumsum(axis=1) < random.random((number, 1))).sum(axis=1).astype(float)
    return softmax(2 * np.log(chance)), label, matrix


def learnt(said: Array, label: Array, matrix: Array) -> Expectation:
    times = np.arange(len(label)) * HOUR
    found = learn_expectation("multiclass_classification", said, label, matrix, times, metrics=METRICS)
    assert found is not None
    return Expectation.from_dict(json.loads(to_json(found.to_dict())))  # as a bundle keeps it


@functools.cache
def expectation() -> Expectation:
    """What a bundle knows of 8,000 rows; learnt by the first test that asks."""
    return learnt(*classified(8000, 8))


@pytest.mark.slow
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("shift", [0.0, 0.7])
def test_drawn_classes_give_the_metric_whatever_it_is(metric: str, shift: float) -> None:
    said, label, matrix = classified(8000, 1, shift=shift)
    found = estimate(metric, expectation(), said, matrix, np.full(len(label), np.nan))
    truth = score(metric, Scored(label, said))
    assert found.value == pytest.approx(truth, rel=0.08)
    assert found.low < truth < found.high
    assert (found.trusted, found.labels, found.why) == (True, 0, "")


def test_that_a_model_is_too_sure_of_itself_is_learnt() -> None:
    assert expectation().classes == 4
    assert expectation().line[-1] == pytest.approx(0.5, abs=0.05)  # it says the square of the chances
    assert np.abs(expectation().line[:-1]).max() < 0.2


def test_of_two_classes_the_line_is_that_of_a_binary_model() -> None:
    random = np.random.default_rng(2)
    chance = random.uniform(0.01, 0.99, 300)
    label = (random.random(300) < chance**2).astype(float)
    wide = np.column_stack([1 - chance, chance])
    one, two = BinaryLabels(), ClassLabels(2)
    single, several = one.fit_line(chance, label), two.fit_line(wide, label)
    odds = one.start(single.parameters, chance)
    scores = two.start(several.parameters, wide)
    np.testing.assert_allclose(scores[:, 1] - scores[:, 0], odds, atol=1e-6)
    assert several.covariance[-1] == pytest.approx(single.covariance[-1], rel=1e-6)  # variance of the slope


@pytest.mark.slow
def test_few_labels_move_the_estimate_and_all_of_them_are_the_metric() -> None:
    said, label, matrix = classified(2000, 3)
    worse = np.where(np.random.default_rng(0).random(2000) < 0.3, (label + 1) % 4, label)
    truth = score("log_loss", Scored(worse, said))
    apart = []
    for known in (0, 40, 400, 2000):
        seen = np.where(np.arange(2000) < known, worse, np.nan)
        found = estimate("log_loss", expectation(), said, matrix, seen)
        assert found.labels == known
        apart.append(abs(np.log(found.value / truth)))
    assert apart[0] > apart[1] > apart[2] > apart[3]
    assert apart[3] == pytest.approx(0.0, abs=1e-9)


@pytest.mark.slow
def test_what_a_feature_says_beyond_the_probabilities_is_learnt() -> None:
    random = np.random.default_rng(4)
    flat, feature = np.full((3000, 3), 1 / 3), random.normal(size=(3000, 1))
    label = np.digitize(feature[:, 0] + 0.3 * random.normal(size=3000), [-0.4, 0.4]).astype(float)
    expected = learnt(flat, label, feature)
    assert expected.trees
    drawn = expected.draw(flat, feature, random, 20)
    assert (drawn == label).mean() > 0.6  # a third by the probabilities alone


@pytest.mark.slow
def test_a_planted_concept_is_not_trusted_and_rows_as_before_are() -> None:
    said, label, matrix = classified(1000, 5)
    some = np.arange(1000) % 5 == 0  # 200 of them
    turned = np.where(matrix[:, 0] > 0, (label + 2) % 4, label)
    for metric in ("log_loss", "brier", "accuracy"):
        assert estimate(metric, expectation(), said, matrix, np.where(some, label, np.nan)).trusted
        found = estimate(metric, expectation(), said, matrix, np.where(some, turned, np.nan))
        assert not found.trusted
        assert "labels that came" in found.why


def test_labels_of_a_class_that_was_never_seen_are_a_contradiction() -> None:
    said, label, matrix = classified(500, 6)
    label[::4] = 4.0  # the place after the last
    found = estimate("log_loss", expectation(), said, matrix, label)
    assert found.value == pytest.approx(score("log_loss", Scored(label, said)))
    assert not found.trusted
    again = learn_expectation(
        "multiclass_classification", said, label, matrix, np.arange(500) * HOUR, metrics=["log_loss"]
    )
    assert again is not None
    assert again.rows == 375  # nothing is known of such rows


@pytest.mark.slow
@pytest.mark.parametrize("classes", [2, 30, 100])
def test_many_classes_of_few_rows_are_drawn_in_bounds(classes: int) -> None:
    random = np.random.default_rng(7)
    said = softmax(random.normal(size=(60, classes)))
    label = random.integers(0, classes, 60).astype(float)
    expected = learnt(said, label, np.zeros((60, 1)))
    for metric in METRICS:
        found = estimate(metric, expected, said, np.zeros((60, 1)), np.full(60, np.nan))
        json.dumps(found.to_dict(), allow_nan=False)
        assert found.value is not None
        assert found.low <= found.value <= found.high


@pytest.mark.parametrize("rows", [0, 20])
def test_rows_without_probabilities_are_said(rows: int) -> None:
    found = estimate("log_loss", expectation(), np.full((rows, 4), np.nan), np.zeros((rows, 2)), np.full(rows, np.nan))
    assert found.value is None
    assert found.why


def test_an_expectation_of_before_is_read() -> None:
    content = {name: value for name, value in expectation().to_dict().items() if name != "classes"}
    assert Expectation.from_dict(content).classes == 0


@pytest.mark.parametrize("times", [2, 4, 6])
def test_a_model_that_is_far_too_sure_is_read_rightly(times: int) -> None:
    random = np.random.default_rng(0)
    chance = random.uniform(0.02, 0.98, 4000)
    label = (random.random(4000) < chance).astype(float)
    said = 1 / (1 + (1 / chance - 1) ** times)
    model = BinaryLabels()
    line = model.fit_line(said, label).parameters
    expected = 1 / (1 + np.exp(-model.start(line, said)))
    assert np.abs(expected - chance).mean() < 0.06  # a full step of Newton's method goes back and forth for ever
