"""Bit vectors say what LightGBM says, to the last bit, or are not used."""

import logging
import math
from typing import Any

import lightgbm
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from expectations.errors import BundleError
from tasks.modelling import predictors, quickscorer
from tasks.modelling.predictors import TreePredictor
from tasks.modelling.quickscorer import QuickScorer
from tests.conftest import examples

TINY = 1e-35
ODD = [math.nan, math.inf, -math.inf, 0.0, -0.0, 1e-300, -1e-300, TINY, -TINY, 2 * TINY, 5e-324, 1e300, -1e300]
CODES = [-1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 6.999, 7.0, 40.0, 2.0**31, 1e18, math.nan, math.inf, -math.inf]


def learn(rounds: int = 30, rows: int = 3000, scale: float = 1.0, **settings: Any) -> lightgbm.Booster:
    """Learn from three numbers, one of them mostly zero or missing, and two codes of categories."""
    random = np.random.default_rng(7)
    matrix = np.column_stack(
        [
            random.normal(size=rows),
            np.where(random.random(rows) < 0.4, random.choice([0.0, math.nan, 3e-36], rows), random.normal(size=rows)),
            random.integers(-3, 3, rows) * 1e-20,
            random.integers(0, 40, rows).astype(float),
            random.integers(0, 3, rows).astype(float),
        ]
    )
    raw = matrix[:, 0] + np.nan_to_num(matrix[:, 1]) + np.sin(matrix[:, 3]) + 1e20 * matrix[:, 2]
    value = scale * (raw + random.normal(size=rows))
    binary = settings.get("objective") in ("binary", "cross_entropy")
    if settings.get("objective") in ("poisson", "gamma", "tweedie"):
        value = np.exp(0.3 * value) + 0.1
    label = (value > 0).astype(float) if binary else value
    data = lightgbm.Dataset(matrix, label, categorical_feature=[3, 4], params={"max_cat_to_onehot": 2})
    fixed = {"verbosity": -1, "seed": 1, "min_data_in_leaf": 5, "num_threads": 1}
    return lightgbm.train({**fixed, **settings}, data, rounds)


def odd_rows(quick: QuickScorer, count: int) -> np.ndarray:
    """Rows at the thresholds, mixed with values that are none, too close to zero, or beyond all."""
    random = np.random.default_rng(count)
    rows = quick.probes(count)[:count]
    rows[:, :3] = np.where(random.random((count, 3)) < 0.3, random.choice(ODD, (count, 3)), rows[:, :3])
    rows[:, 3:] = np.where(random.random((count, 2)) < 0.5, random.choice(CODES, (count, 2)), rows[:, 3:])
    return rows


KINDS: dict[str, dict[str, Any]] = {
    "binary": {"objective": "binary"},
    "a steep sigmoid": {"objective": "binary", "sigmoid": 3.7},
    "values": {"objective": "regression"},
    "absolute error": {"objective": "regression_l1"},
    "a quantile": {"objective": "quantile", "alpha": 0.9},
    "huber": {"objective": "huber"},
    "counts": {"objective": "poisson"},
    "positive values": {"objective": "gamma"},
    "positive values and zeros": {"objective": "tweedie", "tweedie_variance_power": 1.3},
    "only up": {"objective": "regression", "monotone_constraints": [1, -1, 0, 0, 0]},
    "zero is missing": {"objective": "regression", "zero_as_missing": True},
    "nothing is missing": {"objective": "regression", "use_missing": False},
    "stumps": {"objective": "binary", "num_leaves": 2},
    "17 leaves": {"objective": "binary", "num_leaves": 17},
    "64 leaves": {"objective": "regression", "num_leaves": 64},
    "dropped trees": {"objective": "binary", "boosting": "dart"},
    "few columns a tree": {"objective": "regression", "feature_fraction": 0.3, "num_leaves": 4},
}


@pytest.mark.parametrize("kind", KINDS)
def test_equal_to_the_last_bit(kind: str) -> None:
    booster = learn(**KINDS[kind])
    quick = QuickScorer.of(booster.model_to_string())
    assert quick is not None
    for count in (1, 7, 2500):  # one row, all features at once, several blocks
        rows = odd_rows(quick, count)
        np.testing.assert_array_equal(quick.scores(rows), booster.predict(rows, raw_score=True))
        np.testing.assert_array_equal(quick.predict(rows), booster.predict(rows))
    assert [quick.predict_row(row) for row in rows.tolist()] == booster.predict(rows).tolist()
    assert quick.predict(rows[:0]).shape == (0,)


def test_a_tree_without_a_split_adds_its_one_leaf() -> None:
    random = np.random.default_rng(3)
    matrix = random.normal(size=(500, 5))
    data = lightgbm.Dataset(matrix, matrix[:, 0] + 7, free_raw_data=False)
    fixed = {"verbosity": -1, "seed": 1, "num_threads": 1, "objective": "regression"}
    alone = lightgbm.train({**fixed, "min_data_in_leaf": 400}, data, 1)
    booster = lightgbm.train({**fixed, "min_data_in_leaf": 5}, data, 10, init_model=alone)
    text = booster.model_to_string()
    assert "num_leaves=1\n" in text
    quick = QuickScorer.of(text)
    assert quick is not None
    rows = odd_rows(quick, 300)
    np.testing.assert_array_equal(quick.predict(rows), booster.predict(rows))
    assert quick.predict_row(rows[0].tolist()) == booster.predict(rows[:1])[0]


def test_every_threshold_is_proved() -> None:
    quick = QuickScorer.of(learn(rounds=200, objective="regression", num_leaves=31).model_to_string())
    assert quick is not None
    rows = quick.probes(1)
    for feature, bounds in zip(quick._features, quick._bounds, strict=True):
        assert np.isin(bounds[:-1], rows[:, feature]).all()
        assert np.isnan(rows[:, feature]).any()
    with pytest.raises(BundleError, match="5 features"):
        quick.predict(rows[:, :4])


@pytest.mark.slow
def test_hundreds_of_trees_are_added_in_their_order() -> None:
    booster = learn(rounds=700, objective="regression", learning_rate=0.5, scale=1e6)
    quick = QuickScorer.of(booster.model_to_string())
    assert quick is not None
    rows = odd_rows(quick, 300)
    np.testing.assert_array_equal(quick.scores(rows), booster.predict(rows, raw_score=True))
    assert quick.predict_row(rows[0].tolist()) == booster.predict(rows[:1])[0]


def test_scores_beyond_what_a_sigmoid_can_take() -> None:
    booster = learn(objective="binary")
    text = booster.model_to_string().replace("sigmoid:1", "sigmoid:900")
    steep, quick = lightgbm.Booster(model_str=text), QuickScorer.of(text)
    assert quick is not None
    rows = odd_rows(quick, 500)
    np.testing.assert_array_equal(quick.predict(rows), steep.predict(rows))
    assert quick.predict(rows).min() == 0.0


def test_logarithms_beyond_what_a_number_can_be() -> None:
    booster = learn(objective="poisson", learning_rate=0.5)
    lines = booster.model_to_string().splitlines()
    large = [
        "leaf_value=" + " ".join(f"{800 * float(value):.17g}" for value in line[11:].split())
        if line.startswith("leaf_value=")
        else line
        for line in lines
        if not line.startswith("tree_sizes=")
    ]
    text = "\n".join([*large, ""])
    loaded, quick = lightgbm.Booster(model_str=text), QuickScorer.of(text)
    assert quick is not None
    rows = odd_rows(quick, 500)
    np.testing.assert_array_equal(quick.predict(rows), loaded.predict(rows))
    assert np.isinf(quick.predict(rows)).any()


@pytest.mark.parametrize(
    "settings",
    [
        {"objective": "regression", "linear_tree": True},
        {"objective": "regression", "min_data_in_leaf": 2900},  # of a single leaf each
        {"objective": "regression", "reg_sqrt": True},
        {"objective": "cross_entropy"},
        {"objective": "regression", "num_leaves": 65, "min_data_in_leaf": 1},
        {"objective": "binary", "boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5},
    ],
)
def test_trees_of_another_kind_are_left_to_lightgbm(settings: dict[str, Any]) -> None:
    booster = learn(**settings)
    text = booster.model_to_string()
    assert QuickScorer.of(text) is None
    predictor = TreePredictor(text)
    rows = np.random.default_rng(0).normal(size=(20, 5))
    np.testing.assert_array_equal(predictor.predict(rows), booster.predict(rows))
    assert not predictor.holds_interpreter


def test_too_large_a_table_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    text = learn(objective="binary").model_to_string()
    table = QuickScorer.of(text)
    assert table is not None
    monkeypatch.setattr(quickscorer, "MAX_BYTES", table._table.nbytes // 2)
    assert QuickScorer.of(text) is None


@pytest.mark.slow
def test_the_quicker_one_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    text = learn(rounds=300, objective="binary").model_to_string()
    seconds = iter([1.0, 2.0, 2.0, 1.0, 2.0, 1.0, 1.0, 2.0])
    monkeypatch.setattr(predictors, "processor_seconds", lambda _: next(seconds))
    many, one = TreePredictor(text), TreePredictor(text)
    assert many.quick is not None
    assert many.holds_interpreter
    assert many.predict == many.quick.predict
    assert many.predict_row == many.native.predict_row
    assert one.quick is None
    assert not one.holds_interpreter
    assert one.predict == one.native.predict
    assert isinstance(one.predict_row.__self__, QuickScorer)  # type: ignore[attr-defined]


def test_where_they_differ_lightgbm_answers_and_it_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    booster = learn(objective="binary")
    honest = QuickScorer.scores
    monkeypatch.setattr(QuickScorer, "scores", lambda self, rows: honest(self, rows) + 1e-16)
    with caplog.at_level(logging.ERROR):
        predictor = TreePredictor(booster.model_to_string())
    assert "differ on the same trees" in caplog.text
    assert predictor.quick is None
    rows = np.random.default_rng(0).normal(size=(20, 5))
    np.testing.assert_array_equal(predictor.predict(rows), booster.predict(rows))


numbers = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False), st.integers(-50, 50).map(float), st.floats(-1e-3, 1e-3)
)


@pytest.mark.slow
@examples(300)
@given(st.lists(st.lists(numbers, min_size=1, max_size=40, unique=True), min_size=1, max_size=4), st.data())
def test_places_are_those_bisection_finds(thresholds: list[list[float]], data: Any) -> None:
    bounds = [np.array([*sorted(each), math.inf]) for each in thresholds]
    columns = []
    for each in bounds:
        near = [*each, *(math.nextafter(bound, side) for bound in each for side in (-math.inf, math.inf)), *ODD]
        columns.append(data.draw(st.lists(st.one_of(st.sampled_from(near), numbers), min_size=30, max_size=30)))
    features = list(range(len(bounds)))
    found = quickscorer._Places(features, bounds).of(np.array(columns).T)
    start = 0
    for each, column, places in zip(bounds, columns, found, strict=True):
        assert (places - start).tolist() == np.searchsorted(each, column).tolist()  # NaN comes last there
        start += len(each) + 1
