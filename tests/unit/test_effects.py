"""Partial dependence and accumulated local effects, held against what is known of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.inspection import partial_dependence
from sklearn.tree import DecisionTreeRegressor

from expectations.errors import DriftwheelError
from expectations.loading import load_use_case
from tasks.evaluation.effects import MAX_VALUES, RANGES, effects_of
from tasks.evaluation.resampling import Resamples

N = 600


def table(seed: int = 0) -> pl.DataFrame:
    """Two numbers that depend on each other, and a text."""
    random = np.random.default_rng(seed)
    x = random.normal(size=N)
    return pl.DataFrame({"x": x, "z": 0.9 * x + 0.3 * random.normal(size=N), "word": random.choice(["a", "b"], N)})


def drawn() -> Resamples:
    return Resamples(np.arange(N) // 20)


def column(answers: pl.Series) -> np.ndarray:
    return answers.to_numpy().reshape(-1, 1)


def test_an_added_term_is_found_as_it_is_whatever_the_other_inputs() -> None:
    (found,) = effects_of(lambda f: column(2 * f["x"] + 3 * f["z"] ** 2), table(), "x", ["y"], drawn())
    values = np.array([point.value for point in found.points])
    accumulated = np.array([point.accumulated.value for point in found.points if point.accumulated is not None])
    dependence = np.array([point.dependence.value for point in found.points])
    assert len(values) == RANGES + 1
    np.testing.assert_allclose(np.diff(accumulated), 2 * np.diff(values), rtol=1e-9)
    np.testing.assert_allclose(np.diff(dependence), 2 * np.diff(values), rtol=1e-9)
    assert abs(accumulated.mean()) < 0.2  # centred over rows


def test_accumulated_effects_ask_about_rows_that_are() -> None:
    """x × z: along x the answer rises by z, which follows x; partial dependence mixes all z and is flat."""
    (found,) = effects_of(lambda f: column(f["x"] * f["z"]), table(), "x", ["y"], drawn())
    ends = found.points[0], found.points[len(found.points) // 2], found.points[-1]
    low, middle, high = (each.accumulated.value for each in ends if each.accumulated is not None)
    assert low - middle > 1 < high - middle  # 0.45 x²
    assert abs(ends[0].dependence.value - ends[1].dependence.value) < 0.3


def test_partial_dependence_is_what_scikit_learn_finds() -> None:
    frame = table()
    inputs = frame.select("x", "z").to_numpy()
    tree = DecisionTreeRegressor(max_depth=4).fit(inputs, frame["x"] * frame["z"])
    (found,) = effects_of(
        lambda f: column(pl.Series(tree.predict(f.select("x", "z").to_numpy()))), frame, "x", ["y"], drawn()
    )
    grid = {0: [point.value for point in found.points]}
    expected = partial_dependence(tree, inputs, [0], custom_values=grid, kind="average", method="brute")["average"][0]
    np.testing.assert_allclose([point.dependence.value for point in found.points], expected, rtol=1e-9)
    assert all(point.dependence.low <= point.dependence.value <= point.dependence.high for point in found.points)


def test_texts_have_no_order_and_each_class_is_an_output() -> None:
    def probabilities(frame: pl.DataFrame) -> np.ndarray:
        first = np.where(frame["word"] == "a", 0.8, 0.3)
        return np.stack([first, 1 - first], axis=1)

    found = effects_of(probabilities, table(), "word", ["no", "yes"], drawn())
    assert [each.output for each in found] == ["no", "yes"]
    values = {point.value: round(point.dependence.value, 9) for point in found[1].points}
    assert values == {"a": 0.2, "b": 0.7}
    assert found[0].points[0].accumulated is None
    many = pl.DataFrame({"word": [str(number % 40) for number in range(N)]})
    (of_many,) = effects_of(lambda f: np.ones((len(f), 1)), many, "word", ["y"], drawn())
    assert len(of_many.points) == MAX_VALUES


@pytest.mark.parametrize("values", [[1.0] * N, [None] * N, [float("nan")] * N])
def test_one_value_has_no_effect(values: list[float | None]) -> None:
    frame = pl.DataFrame({"x": pl.Series(values, dtype=pl.Float64)})
    assert effects_of(lambda f: np.ones((len(f), 1)), frame, "x", ["y"], drawn()) == []


def test_rows_without_a_value_count_in_no_range() -> None:
    frame = table().with_columns(x=pl.when(pl.arange(0, N) % 3 == 0).then(None).otherwise("x"))
    (found,) = effects_of(lambda f: column(f["x"].fill_null(99.0) * 2), frame, "x", ["y"], drawn())
    ends = [each.accumulated.value for each in (found.points[0], found.points[-1]) if each.accumulated is not None]
    assert ends[1] - ends[0] == pytest.approx(2 * (found.points[-1].value - found.points[0].value))


def test_integers_stay_integers_and_few_values_are_all_looked_at() -> None:
    frame = pl.DataFrame({"n": [number % 3 for number in range(N)]})
    (found,) = effects_of(lambda f: column(f["n"] ** 2), frame, "n", ["y"], drawn())
    assert [point.value for point in found.points] == [0, 1, 2]
    assert [point.dependence.value for point in found.points] == [0, 1, 4]


def test_a_rare_value_of_few_is_looked_at_too() -> None:
    frame = pl.DataFrame({"n": [0] * (N - 40) + [1] * 10 + [2] * 10 + [3] * 20})
    (found,) = effects_of(lambda f: column(f["n"] ** 2), frame, "n", ["y"], drawn())
    assert [(point.value, point.dependence.value) for point in found.points] == [(0, 0), (1, 1), (2, 4), (3, 9)]


def test_resamples_without_a_value_of_a_rarely_known_input_bound_nothing() -> None:
    frame = pl.DataFrame({"x": pl.Series([1.0, 3.0] + [None] * (N - 2))})
    with np.errstate(invalid="raise"):
        (found,) = effects_of(lambda f: column(f["x"].fill_null(0.0)), frame, "x", ["y"], drawn())
    curve = [each.accumulated for each in found.points if each.accumulated is not None]
    assert [each.value for each in curve] == [-1.0, 1.0]
    assert all(math.isnan(each.low) and math.isnan(each.high) for each in curve)


@pytest.mark.parametrize(
    ("effects", "message"),
    [
        (["tempp"], r"no feature reads tempp \(did you mean 'temp'\?\)"),
        (["casual"], "no feature reads casual"),
        (["temp", "hum", "temp"], "temp stands there before; leave one out"),
        (["time"], "time is read as an instant; name numbers or texts"),
        (["time_hour"], "time_hour is made by the features; name numbers or texts of the rows"),
    ],
)
def test_an_effect_that_cannot_be_shown_is_refused(
    effects: list[str], message: str, make_use_case: Callable[..., Path]
) -> None:
    with pytest.raises(DriftwheelError, match=f"evaluation.effects: {message}"):
        load_use_case(str(make_use_case(changes={"evaluation.effects": effects})))
