"""Intervals and sets hold the truth so often as declared, and are as narrow as errors let them."""

import time

import numpy as np
import pytest

from expectations.loading import load_use_case
from tasks.modelling.intervals import Intervals
from tasks.modelling.learning_intervals import LEVELS, Relearnt, learn_again, next_level
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


@pytest.mark.slow
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


def test_each_side_apart_is_narrower_where_predictions_came_to_lie_too_low() -> None:
    value = RANDOM.uniform(0, 100, 20_000)
    label = value + 50 + RANDOM.normal(0, 5, 20_000)
    either, apart = (Intervals.learn(label[:10_000], value[:10_000], 0.9, classifies=False, apart=a) for a in (0, 1))
    assert either is not None
    assert apart is not None
    for each in (either, apart):
        assert each.holds(label[10_000:], value[10_000:]).mean() == pytest.approx(0.9, abs=0.015)
    low, high = apart.around(10.0)
    assert 10 < low < 60 < high  # the prediction itself lies outside: it is known to be too low
    assert (high - low) * 4 < np.subtract(*either.around(10.0)[::-1])
    held = [low <= true <= high for true, (low, high) in zip(label, map(apart.around, value.tolist()), strict=True)]
    assert np.array_equal(held, apart.holds(label, value))
    assert Intervals.learn(label[:38], value[:38], 0.95, classifies=False, apart=True) is None  # 39 rows a side


def test_the_level_follows_what_was_covered_and_stays_where_quantiles_can_be_taken() -> None:
    assert next_level(0.9, 0.9, 0.8) == pytest.approx(0.91)
    assert next_level(0.9, 0.9, 0.95) == pytest.approx(0.895)
    assert next_level(0.9, 0.9, None) == 0.9
    assert next_level(0.988, 0.9, 0.0) == LEVELS[1]
    assert next_level(0.501, 0.6, 1.0) == LEVELS[0]


def test_intervals_that_learn_again_hold_as_declared_while_errors_grow_and_frozen_ones_do_not() -> None:
    random = np.random.default_rng(4)
    value = random.uniform(0, 10, (100, 200))
    label = value + np.arange(100)[:, None] / 10 + random.normal(0, 1, (100, 200))  # each day a little higher
    frozen = Intervals.learn(label[0], value[0], 0.9, classifies=False)
    assert frozen is not None
    now, level, held = frozen, 0.9, [0.9]
    for day in range(1, 100):
        rows = slice(max(0, day - 10), day)
        level = next_level(level, 0.9, held[-1])
        found = learn_again(label[rows].ravel(), value[rows].ravel(), 0.9, level, before=now, classifies=False)
        now = found.intervals if isinstance(found, Relearnt) else now
        held.append(float(now.holds(label[day], value[day]).mean()))
    assert now.coverage == 0.9  # the declared one, whatever the level
    assert np.mean(held[10:]) == pytest.approx(0.9, abs=0.01)
    assert np.mean([frozen.holds(label[day], value[day]).mean() for day in range(10, 100)]) < 0.4


def test_what_goes_astray_on_the_newest_rows_does_not_replace_what_answers() -> None:
    random = np.random.default_rng(5)
    value, off = np.zeros(1000), random.normal(0, 1, 1000)
    good = Intervals.learn(off, value, 0.9, classifies=False)
    off[:700] += 20  # the older rows are of another world: what they teach holds nothing of the newest
    found = learn_again(off, value, 0.9, 0.9, before=good, classifies=False)
    assert isinstance(found, str)
    assert "holds 0.0% of the newest truths" in found
    assert isinstance(learn_again(off[700:], value[700:], 0.9, 0.9, before=good, classifies=False), Relearnt)
    assert "too few" in str(learn_again(off[:20], value[:20], 0.9, 0.9, before=None, classifies=False))
