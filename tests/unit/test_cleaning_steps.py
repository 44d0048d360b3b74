"""Cleaning steps, one by one: rows that are collected and requests that are served are repaired alike."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from expectations.errors import PartError, TrainingError
from expectations.parts import CleaningStep, FeatureStep, Repaired
from expectations.slots import CLEANING, FEATURES
from tasks.cleaning.repair import repair, repair_stored
from tasks.preprocessing.fitting import fit_program
from tasks.preprocessing.program import FeatureProgram
from tasks.stores.lake import Lake
from tasks.stores.stored_rows import StoredRows

CLEANINGS = TypeAdapter(tuple[Annotated[CleaningStep, CLEANING], ...])
STEPS = TypeAdapter(tuple[Annotated[FeatureStep, FEATURES], ...])


def cleaned(step: dict[str, Any], frame: pl.DataFrame, features: list[dict[str, Any]]) -> tuple[pl.DataFrame, Repaired]:
    """Repair rows, after a program did the same to them as requests."""
    declared = CLEANINGS.validate_json(json.dumps([step]))
    clean, (done,) = repair(frame, declared, [])
    program = fit_program(STEPS.validate_json(json.dumps(features)), clean, declared).program
    assert FeatureProgram.from_json(program.to_json()) == program
    expected = program.transform(clean, repaired=True)
    np.testing.assert_array_equal(program.transform(frame), expected)
    np.testing.assert_array_equal(program.compile().matrix(frame.to_dicts()), expected)
    return clean, done


TEXTS = [" a", "A\t", "a", "\u00a0Straße\n", "STRASSE", "  ", "", None]


@pytest.mark.parametrize(
    ("fold", "expected", "changed"),
    [
        (False, ["a", "A", "a", "Straße", "STRASSE", "", "", None], 4),
        (True, ["a", "a", "a", "strasse", "strasse", "", "", None], 5),
    ],
)
def test_spaces_around_texts_and_their_case_are_none(fold: bool, expected: list[str | None], changed: int) -> None:
    frame = pl.DataFrame({"t": TEXTS})
    clean, done = cleaned({"trim": ["t"], "fold_case": fold}, frame, [{"encode": ["t"]}])
    assert clean["t"].to_list() == expected
    assert done == Repaired("trim(t)", 0, changed)


def test_numbers_have_nothing_to_trim() -> None:
    frame = pl.DataFrame({"n": [1, 2, None]})
    clean, done = cleaned({"trim": ["n"], "fold_case": True}, frame, [{"encode": ["n"]}])
    assert clean.equals(frame)
    assert done.values_changed == 0


@pytest.mark.parametrize("dtype", [pl.Float64, pl.Int64])
def test_values_out_of_bounds_are_missing_and_the_bounds_are_not(dtype: Any) -> None:
    frame = pl.DataFrame({"x": [-3, -2, 0, 10, 11, None]}, schema={"x": dtype})
    clean, done = cleaned({"bounds": {"columns": ["x"], "min": -2, "max": 10}}, frame, [{"numeric": ["x"]}])
    assert clean["x"].to_list() == [None, -2, 0, 10, None, None]
    assert clean.schema["x"] == dtype
    assert done == Repaired("bounds(x)", 0, 2)
    above, _ = cleaned({"bounds": {"columns": ["x"], "min": 0.5}}, frame, [{"numeric": ["x"]}])
    assert above["x"].to_list() == [None, None, None, 10, 11, None]


@pytest.mark.parametrize(
    ("bounds", "said"), [({}, "needs min, max or both"), ({"min": 2, "max": 1}, "min 2.0 is above max 1.0")]
)
def test_bounds_that_bound_nothing_are_said_to(bounds: dict[str, float], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        CLEANINGS.validate_json(json.dumps([{"bounds": {"columns": ["x"], **bounds}}]))


def test_halves_are_rounded_to_the_even_digit_and_integers_to_tens() -> None:
    frame = pl.DataFrame({"x": [0.125, 0.375, -0.001, 1e300, None], "n": [14, 15, 25, -26, None]})
    fine, done = cleaned({"round": ["x", "n"], "digits": 2}, frame, [{"numeric": ["x", "n"]}])
    assert fine["x"].to_list() == [0.12, 0.38, 0.0, 1e300, None]
    assert fine["n"].equals(frame["n"])
    assert done == Repaired("round(x, n)", 0, 3)
    coarse, _ = cleaned({"round": ["x", "n"], "digits": -1}, frame, [{"numeric": ["x", "n"]}])
    assert coarse["n"].to_list() == [10.0, 20.0, 20.0, -30.0, None]


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20), st.integers(-12, 12))
@example([4503599627370495.5, 5e-324, -0.0, 1.005, 2.675], 2)
@example([1.7976931348623157e308], -6)
def test_rounding_is_that_of_numpy_to_the_last_bit(values: list[float], digits: int) -> None:
    frame = pl.DataFrame({"x": values}, schema={"x": pl.Float64})
    clean, _ = cleaned({"round": ["x"], "digits": digits}, frame, [{"numeric": ["x"]}])
    few = [value for value in values if abs(value) < 1e3]
    rounded = [found for value, found in zip(values, clean["x"], strict=True) if abs(value) < 1e3]
    np.testing.assert_array_equal(rounded, np.round(few, digits))


@pytest.mark.parametrize(
    ("step", "read"),
    [
        ({"clip": {"columns": ["n"], "max": 2}}, {"encode": ["n"]}),
        ({"round": ["n"], "digits": 0}, {"frequency": ["n"]}),
        ({"bounds": {"columns": ["n"], "max": 2}}, {"one_hot": ["n"]}),
    ],
)
def test_what_requests_could_not_be_repaired_of_is_refused(step: dict[str, Any], read: dict[str, Any]) -> None:
    """Numbers that are read as categories were repaired in training rows alone, and nothing said so."""
    frame = pl.DataFrame({"n": [1.0, 2.0, 3.0], "x": [1.0, 2.0, 3.0]})
    declared, name = CLEANINGS.validate_json(json.dumps([step])), next(iter(step))
    features = STEPS.validate_json(json.dumps([read]))
    with pytest.raises(TrainingError, match=rf"read n as the number that `{name}` repairs.*read as a text"):
        fit_program(features, frame, declared)
    fit_program(STEPS.validate_json(json.dumps([{"numeric": ["x"]}])), frame, declared)  # not read at all


def test_what_has_nothing_to_repair_in_numbers_is_not_refused_for_them() -> None:
    frame = pl.DataFrame({"n": [1, 2, 3], "t": [" a", "b", "c"]})
    cleaned({"trim": ["t", "n"]}, frame, [{"numeric": ["n"]}, {"encode": ["t"]}])


class Alone(CleaningStep):
    """Do something to rows, by its own columns alone as it says."""

    own_columns: ClassVar = True

    alone: str
    how: Callable[[pl.DataFrame], pl.DataFrame]

    def reads(self) -> tuple[str, ...]:
        return (self.alone,)

    def repair(self, rows: pl.DataFrame, keys: Sequence[str]) -> tuple[pl.DataFrame, Repaired]:
        return self.how(rows), Repaired("alone")


@pytest.mark.parametrize(
    ("how", "found"),
    [
        (lambda rows: rows.filter(pl.col("t") == "a"), 'unable to find column "t"'),
        (lambda rows: rows.with_columns(more=pl.col("x")), "it adds or removes more"),
        (lambda rows: rows.select("k", "x"), "it adds or removes _position"),
    ],
)
def test_a_step_that_looks_at_more_columns_than_it_says_is_named_and_loses_nothing(
    lake: Lake, how: Callable[[pl.DataFrame], pl.DataFrame], found: str
) -> None:
    """What such a step added was lost, and what it looked for was an error of polars."""
    lake.append("raw", pl.DataFrame({"k": [1, 2], "x": [1.0, None], "t": ["a", "b"]}), transactions={"collect": 1})
    rows = StoredRows.of(lake, "raw", lake.scan("raw"))
    with pytest.raises(PartError, match=f"Alone, whose `own_columns` is true.*{found}.*leave `own_columns` out"):
        repair_stored(rows, [Alone(alone="x", how=how)], ["k"])
    with pytest.raises(pl.exceptions.ColumnNotFoundError):  # the table lacks it: no fault of the step
        repair_stored(rows, [Alone(alone="nosuch", how=lambda frame: frame.drop_nulls("nosuch"))], ["k"])
