"""Intervals and sets hold the truth so often as declared, and are as narrow as errors let them."""

import time

import numpy as np
import pytest

from expectations.loading import load_use_case
from tasks.modelling.intervals import Intervals
from tests.unit.test_training import released, rows

RANDOM = np.random.default_rng(2)


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
def test_intervals_of_a_number_hold_the_truth_so_often_and_grow_where_errors_do(coverage: float) -> None:
    value = RANDOM.uniform(0, 100, 20_000)
    label = value + RANDOM.normal(0, 1 + value / 10)
    learnt = Intervals.learn(label[:10_000], value[:10_000], coverage, classifies=False)
    assert learnt is not None
    assert learnt.holds(label[10_000:], value[10_000:]).mean() == pytest.approx(coverage, abs=0.015)
    for low in (0, 80):  # also where errors are small, and where they are large
        some = (value > low) & (value < low + 20)
        assert learnt.holds(label[some], value[some]).mean() == pytest.approx(coverage, abs=0.025)
    (a, b), (c, d) = learnt.around(2.0), learnt.around(98.0)
    assert (b - a) * 4 < d - c
    assert a < 2.0 < b


def test_sets_of_classes_hold_the_truth_so_often_and_name_the_most_probable_one() -> None:
    chances = RANDOM.dirichlet(np.ones(4) * 0.5, 20_000)
    label = (RANDOM.random(20_000)[:, None] > np.cumsum(chances, axis=1)).sum(axis=1).astype(float)
    learnt = Intervals.learn(label[:10_000], chances[:10_000], 0.9, classifies=True)
    assert learnt is not None
    held = learnt.holds(label[10_000:], chances[10_000:])
    assert held.mean() == pytest.approx(0.9, abs=0.015)
    sets = [learnt.among(each, "abcd") for each in chances[10_000:].tolist()]
    inside = ["abcd"[int(true)] in said for true, said in zip(label[10_000:], sets, strict=True)]
    assert np.array_equal(inside, held)
    assert min(map(len, sets)) == 1
    assert learnt.among([0.25] * 4, "abcd") == list("abcd")
    assert not learnt.holds(np.array([4.0]), chances[:1])[0]  # a class that was never seen


def test_a_set_of_two_classes_follows_the_probability() -> None:
    learnt = Intervals(coverage=0.9, rows=100, least=0.3)
    assert learnt.among(0.95, (0, 1)) == [1]
    assert learnt.among(0.5, (0, 1)) == [0, 1]
    assert learnt.among(0.1, (0, 1)) == [0]


def test_a_coverage_that_rows_cannot_give_is_not_promised_and_ranges_are_fewer_for_a_high_one() -> None:
    assert Intervals.learn(np.arange(98.0), np.zeros(98), 0.99, classifies=False) is None
    assert Intervals.learn(np.arange(98.0) % 2, np.full(98, 0.4), 0.99, classifies=True) is None
    all_rows = Intervals.learn(np.arange(99.0), np.zeros(99), 0.99, classifies=False)
    assert all_rows is not None
    assert all_rows.around(0.0)[1] == 98  # the largest of 99, and no larger one is needed
    held = []
    for seed in range(100):
        random = np.random.default_rng(seed)
        value, off = random.uniform(0, 100, 2000), random.normal(0, 1, 2000)
        learnt = Intervals.learn(value[:1000] + off[:1000], value[:1000], 0.995, classifies=False)
        assert learnt is not None
        assert len(learnt.reach) == 5  # 199 rows or more each, not ten of a hundred
        held.append(learnt.holds(value[1000:] + off[1000:], value[1000:]).mean())
    assert np.mean(held) >= 0.9945


def test_too_few_rows_give_none_and_one_prediction_for_all_gives_one_range() -> None:
    assert Intervals.learn(np.zeros(10), np.zeros(10), 0.9, classifies=False) is None
    constant = Intervals.learn(RANDOM.normal(0, 1, 5000), np.zeros(5000), 0.9, classifies=False)
    assert constant is not None
    assert constant.around(0.0)[1] == pytest.approx(1.645, abs=0.1)


def test_an_interval_costs_at_most_three_microseconds_a_row() -> None:
    value = RANDOM.uniform(0, 100, 5000)
    number = Intervals.learn(value + RANDOM.normal(0, 1, 5000), value, 0.9, classifies=False)
    classes = Intervals(coverage=0.9, rows=1, least=0.2)
    assert number is not None
    values, chances = value.tolist(), (value / 100).tolist()
    spent = []
    for _ in range(5):
        begin = time.process_time()
        for one in values:
            number.around(one)
        half = time.process_time()
        for one in chances:
            classes.among(one, (0, 1))
        spent.append((max(half - begin, time.process_time() - half)) / len(values))
    assert min(spent) < 3e-6


def test_a_bundle_carries_its_intervals(make_use_case, tmp_path) -> None:
    usecase = load_use_case(str(make_use_case(changes={"evaluation.coverage": 0.8})))
    frame = rows(usecase, "2011-03-01")
    bundle, judged, _ = released(usecase, frame, tmp_path / "b")
    assert bundle.intervals is not None
    assert bundle.intervals.coverage == 0.8
    scored = judged.scored["challenger"]
    assert bundle.intervals.holds(scored.label, scored.prediction).mean() == pytest.approx(0.8, abs=0.03)
    low, high = bundle.intervals.around(100.0)
    assert low < 100 < high
