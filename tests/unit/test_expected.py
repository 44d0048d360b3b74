"""What a metric is without labels: right where labels follow as they did, and not trusted where they do not."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import asdict

from expectations.loading import load_use_case
from expectations.metrics import Array
from tasks.bundles.bundle import EXPECTED, load_bundle
from tasks.bundles.manifest import seal
from tasks.evaluation.estimates.estimating import estimate
from tasks.evaluation.estimates.expectation import Expectation
from tasks.evaluation.estimates.learning import learn_expectation
from tasks.evaluation.estimates.levels import MAX_WINDOWS, Earlier
from tasks.evaluation.metrics import Scored, score
from tasks.stores.plain import to_json
from tests.unit.test_training import released, rows

HOUR = 3600.0


def chances(matrix: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-1.5 * matrix[:, 0] + 0.5)))


def classified(number: int, seed: int, *, shift: float = 0.0) -> tuple[Array, Array, Array]:
    """Rows with a true chance, what an overconfident model says of them, and labels."""
    random = np.random.default_rng(seed)
    matrix = random.normal(shift, 1.0, (number, 2))
    chance = chances(matrix)
    said = 1 / (1 + np.exp(-2 * np.log(chance / (1 - chance))))
    return said, (random.random(number) < chance).astype(float), matrix


def measured(number: int, seed: int, *, shift: float = 0.0, worse: float = 1.0) -> tuple[Array, Array, Array]:
    """Rows of a regression whose error grows with the first feature."""
    random = np.random.default_rng(seed)
    matrix = random.normal(shift, 1.0, (number, 2))
    said = 10 * matrix[:, 1]
    return said, said + worse * np.exp(matrix[:, 0] / 2) * random.normal(size=number), matrix


def learnt(task: str, said: Array, label: Array, matrix: Array) -> Expectation:
    metrics = ["brier", "roc_auc", "accuracy"] if task == "binary_classification" else ["rmse", "mae", "r2"]
    found = learn_expectation(task, said, label, matrix, np.arange(len(label)) * HOUR, metrics=metrics)
    assert found is not None
    return Expectation.from_dict(json.loads(to_json(found.to_dict())))  # as a bundle keeps it


@functools.cache
def binary() -> Expectation:
    """What a bundle knows of 4,000 rows; learnt by the first test that asks."""
    return learnt("binary_classification", *classified(4000, 0))


@functools.cache
def numbers() -> Expectation:
    return learnt("regression", *measured(4000, 0))


@pytest.mark.parametrize("metric", ["brier", "log_loss", "roc_auc", "accuracy", "f1", "average_precision"])
@pytest.mark.parametrize("shift", [0.0, 0.7])
def test_drawn_labels_give_the_metric_whatever_it_is(metric: str, shift: float) -> None:
    said, label, matrix = classified(20_000, 1, shift=shift)
    found = estimate(metric, binary(), said, matrix, np.full(len(label), np.nan))
    truth = score(metric, Scored(label, said))
    assert found.value == pytest.approx(truth, rel=0.08)
    assert found.low < truth < found.high
    assert (found.trusted, found.labels, found.why) == (True, 0, "")


@pytest.mark.parametrize("metric", ["rmse", "mae", "r2"])
@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_the_size_of_errors_is_learnt_from_the_features(metric: str, shift: float) -> None:
    said, label, matrix = measured(20_000, 1, shift=shift)
    found = estimate(metric, numbers(), said, matrix, np.full(len(label), np.nan))
    truth = score(metric, Scored(label, said))
    assert found.value == pytest.approx(truth, rel=0.15)
    assert found.low < truth < found.high


def test_few_labels_move_the_estimate_towards_the_truth_and_all_of_them_are_it() -> None:
    said, label, matrix = measured(2000, 2, worse=1.5)
    truth = score("rmse", Scored(label, said))
    apart, wide = [], []
    for known in (0, 40, 400, 2000):
        seen = np.where(np.arange(2000) < known, label, np.nan)
        found = estimate("rmse", numbers(), said, matrix, seen)
        assert found.labels == known
        apart.append(abs(np.log(found.value / truth)))
        wide.append(found.high - found.low)
    assert apart[0] > apart[1] > apart[2] > apart[3]
    assert apart[3] == pytest.approx(0.0, abs=1e-9)
    assert wide[0] > wide[1] > wide[2] > wide[3]
    assert found.before.value == estimate("rmse", numbers(), said, matrix, np.full(2000, np.nan)).value


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["brier", "roc_auc"])
def test_a_handful_of_labels_does_not_move_what_is_drawn(metric: str) -> None:
    said, label, matrix = classified(4000, 2)
    without = estimate(metric, binary(), said, matrix, np.full(4000, np.nan))
    for known in (1, 2, 3, 5):
        seen = np.where(np.arange(4000) < known, label, np.nan)
        found = estimate(metric, binary(), said, matrix, seen)
        assert found.drawn == pytest.approx(without.drawn)
        assert asdict(found.before) == pytest.approx(asdict(without.before))
        assert found.value == pytest.approx(without.value, rel=0.2)


def test_windows_that_came_set_the_level_and_the_width() -> None:
    said, _, matrix = measured(1000, 3)
    unknown = np.full(1000, np.nan)
    plain = estimate("rmse", numbers(), said, matrix, unknown, champion="b")
    steady = [Earlier("b", 1.0, 1.5)] * 12
    moved = estimate("rmse", numbers(), said, matrix, unknown, champion="b", earlier=steady)
    assert moved.drawn == plain.drawn
    assert moved.value / plain.value == pytest.approx(1.5, rel=0.1)
    jumping = [Earlier("b", 1.0, 3.0 ** (-1) ** place) for place in range(12)]
    assert _width(estimate("rmse", numbers(), said, matrix, unknown, champion="b", earlier=jumping)) > _width(plain)
    assert _width(moved) < _width(plain)


def _width(found: object) -> float:
    return float(np.log(found.high / found.low))  # type: ignore[attr-defined]


@pytest.mark.parametrize("metric", ["roc_auc", "accuracy", "f1", "average_precision"])
def test_a_share_lies_between_nothing_and_all(metric: str) -> None:
    said, label, matrix = classified(40, 5)
    jumping = [Earlier("b", 1.0, 9.0 ** (-1) ** place) for place in range(4)]
    found = estimate(metric, binary(), said, matrix, label * np.nan, champion="b", earlier=jumping)
    assert 0.0 <= found.low <= found.value <= found.high <= 1.0


def test_the_newest_hundred_windows_set_it() -> None:
    said, label, matrix = measured(500, 5)
    nothing = np.full(len(label), np.nan)
    newest = [Earlier("b", 1.0, 1.0 + 0.01 * (place % 7)) for place in range(MAX_WINDOWS)]
    older = [Earlier("b", 1.0, 50.0)] * 30

    def estimated(earlier: list[Earlier]) -> object:
        return estimate("rmse", numbers(), said, matrix, nothing, champion="b", earlier=earlier)

    assert estimated([*older, *newest]) == estimated(newest)
    assert estimated([*newest, *older]) != estimated(newest)


def test_the_same_seed_gives_the_same_and_another_a_little_else() -> None:
    said, label, matrix = classified(500, 4)
    one, same, other = (estimate("brier", binary(), said, matrix, label * np.nan, seed=seed) for seed in (1, 1, 2))
    assert one == same
    assert one.value != other.value
    assert one.value == pytest.approx(other.value, rel=0.05)


@pytest.mark.slow
def test_a_bundle_keeps_it_and_one_from_before_has_none(make_use_case: Callable[..., Path], tmp_path: Path) -> None:
    usecase = load_use_case(str(make_use_case()))
    bundle, judged, _ = released(usecase, rows(usecase, "2011-03-01"), tmp_path / "b")
    content = bundle.expected()
    assert content is not None
    assert Expectation.from_dict(content).rows == len(judged.holdout)
    (bundle.folder / EXPECTED).unlink()
    older = load_bundle(bundle.folder, seal(bundle.folder, bundle.manifest))
    assert older.expected() is None


def test_a_planted_concept_is_not_trusted_and_rows_as_before_are() -> None:
    trusted = []
    for worse in (1.0, 1.5):
        said, label, matrix = measured(1000, 5, worse=worse)
        seen = np.where(np.arange(1000) % 5 == 0, label, np.nan)  # 200 of them
        trusted.append(estimate("rmse", numbers(), said, matrix, seen))
    assert [each.trusted for each in trusted] == [True, False]
    assert "labels that came" in trusted[1].why
    said, label, matrix = classified(1000, 6)
    seen = np.where(np.arange(1000) % 5 == 0, 1 - label, np.nan)
    assert not estimate("brier", binary(), said, matrix, seen).trusted


def test_rows_beyond_the_known_range_are_not_trusted() -> None:
    said, _, matrix = measured(500, 7)
    matrix[:, 0] += 50
    found = estimate("rmse", numbers(), said, matrix, np.full(500, np.nan))
    assert not found.trusted
    assert "beyond the range" in found.why
    assert math.isfinite(found.value)


@pytest.mark.parametrize("task", ["binary_classification", "regression"])
def test_what_is_no_number_is_said_and_never_written(task: str) -> None:
    rare = learnt(task, np.full(200, 0.001), np.arange(200) % 200 == 7, np.zeros((200, 1)))
    for said in (np.full(20, 0.001), np.full(20, np.nan), np.empty(0), np.full(20, 1e300)):
        found = estimate(
            "roc_auc" if task == "binary_classification" else "r2", rare, said, np.zeros((len(said), 1)), said
        )
        json.dumps(found.to_dict(), allow_nan=False)
        assert found.value is not None or found.why


@pytest.mark.parametrize(
    ("task", "label"),
    [
        ("binary_classification", np.zeros(14)),
        ("regression", np.full(100, np.nan)),
        ("regression", np.full(100, 0.25)),
    ],
)
def test_where_there_is_nothing_to_learn_from_there_is_no_expectation(task: str, label: Array) -> None:
    said = np.full(len(label), 0.25)
    assert (
        learn_expectation(task, said, label, np.zeros((len(label), 1)), np.arange(len(label)) * HOUR, metrics=[])
        is None
    )


def test_a_holdout_of_one_class_expects_mostly_that_class() -> None:
    only = learnt("binary_classification", np.full(100, 0.3), np.zeros(100), np.zeros((100, 1)))
    found = estimate("brier", only, np.full(50, 0.3), np.zeros((50, 1)), np.full(50, np.nan))
    assert 0.09 < found.value < 0.15
