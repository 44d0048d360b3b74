"""One specification, two executors: equal on whatever rows come, over every step kind."""

import ast
import json
import math
from datetime import UTC, datetime
from functools import cache
from typing import Annotated

import numpy as np
import polars as pl
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from expectations import parts
from expectations.errors import TrainingError
from expectations.slots import CLEANING, FEATURES
from tasks.cleaning.repair import repair
from tasks.preprocessing.fitting import fit_program
from tasks.preprocessing.pictures import PictureShape
from tasks.preprocessing.program import FeatureProgram
from tests.conftest import examples

FeatureStep = Annotated[parts.FeatureStep, FEATURES]
CleaningStep = Annotated[parts.CleaningStep, CLEANING]
NUMBERS = st.one_of(
    st.none(), st.integers(-3, 3).map(float), st.floats(-1e6, 1e6), st.sampled_from([0.0, -0.0, 1e300, 5e-324])
)
TEXTS = st.one_of(st.none(), st.sampled_from(["a", "b", "ß", "", "7", "a b"]))
INSTANTS = st.one_of(
    st.none(),
    st.datetimes(datetime(1990, 1, 1), datetime(2040, 1, 1)).map(  # noqa: DTZ001 - a zone is set below
        lambda moment: moment.replace(microsecond=0, tzinfo=UTC)
    ),
)
PICTURES = st.one_of(st.none(), st.binary(min_size=2, max_size=2).map(PictureShape(2, 1, 1).header.__add__))
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "x": NUMBERS,
            "y": NUMBERS,
            "n": st.one_of(st.none(), st.integers(-5, 5)),
            "t": TEXTS,
            "when": INSTANTS,
            "p": PICTURES,
        }
    ),
    min_size=3,
    max_size=12,
)
SCHEMA = {
    "x": pl.Float64,
    "y": pl.Float64,
    "n": pl.Int64,
    "t": pl.String,
    "when": pl.Datetime("us", "UTC"),
    "p": pl.Binary,
}
BLACK = PictureShape(2, 1, 1).header + bytes(2)
SURE = [  # rows that make every column fit to be learnt from
    {"x": 1.0, "y": 2.0, "n": 1, "t": "a", "when": datetime(2013, 1, 1, tzinfo=UTC), "p": BLACK},
    {"x": 2.0, "y": 5.0, "n": 2, "t": "b", "when": datetime(2013, 6, 1, 12, 30, tzinfo=UTC), "p": BLACK},
]

KNOWN = parts.FitContext(label=pl.Series([0.0, 1.0]), task="binary_classification")
REPAIRS = TypeAdapter(tuple[CleaningStep, ...]).validate_json(
    '[{"clip": {"columns": ["x"], "min": -2, "max": 1000}},'
    ' {"map": {"column": "t", "values": {"a b": "b", "7": null}}}]'
)
DEPTH = 4
"""How deep expressions are at most: without a bound most examples are given up for growing for ever."""


@cache
def numbers(depth: int = DEPTH) -> st.SearchStrategy[str]:
    """Return expressions of a number."""
    leaves = st.sampled_from(["x", "y", "n", "2.5", "0", "-1", "60.0", "1e-320"])
    if not depth:
        return leaves
    inner, asked = numbers(depth - 1), conditions(depth - 1)
    return st.one_of(
        leaves,
        st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda p: f"({p[0]} {p[1]} {p[2]})"),
        st.tuples(st.sampled_from(["abs", "sqrt", "log", "log1p", "exp", "floor"]), inner).map(
            lambda p: f"{p[0]}({p[1]})"
        ),
        st.tuples(st.sampled_from(["min", "max", "coalesce"]), inner, inner).map(lambda p: f"{p[0]}({p[1]}, {p[2]})"),
        st.tuples(inner, asked, inner).map(lambda p: f"({p[0]} if {p[1]} else {p[2]})"),
    )


@cache
def conditions(depth: int = DEPTH) -> st.SearchStrategy[str]:
    """Return expressions of a truth."""
    leaves = st.sampled_from(
        ["t == 'a'", "t != 'b'", "t in ['a', 'ß']", "t not in ['', '7']", "is_missing(t)", "n in [1, 2]"]
    )
    if not depth:
        return leaves
    inner, counted = conditions(depth - 1), numbers(depth - 1)
    return st.one_of(
        leaves,
        st.tuples(counted, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), counted).map(
            lambda p: f"({p[0]} {p[1]} {p[2]})"
        ),
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda p: f"({p[0]} {p[1]} {p[2]})"),
        inner.map(lambda c: f"(not {c})"),
        counted.map(lambda e: f"is_missing({e})"),
    )


EXAMPLES = [
    (dict(example), TypeAdapter(FeatureStep).validate_json(json.dumps(example)))
    for name in FEATURES.names()
    if (part := FEATURES.find(name))
    for example in part.examples
]
EXAMPLES = [(example, step) for example, step in EXAMPLES if step.reads({}).get("n") != "text"]  # others read numbers
LAST = [  # these leave numbers where texts were, which no step after them may read
    example for example, step in EXAMPLES if "t" in step.makes() and step.makes_categories is not None
]


def of_a_column(expression: str, instead: str) -> str:
    """Return an expression that names a column, as one has to: as it is, or with what is added to it."""
    named = {node.id for node in ast.walk(ast.parse(expression)) if isinstance(node, ast.Name)}
    return expression if named & SCHEMA.keys() else f"({expression} {instead})"


STEPS = st.lists(
    st.one_of(
        st.sampled_from([example for example, _ in EXAMPLES if example not in LAST]),
        numbers().map(lambda e: {"expression": of_a_column(e, "+ x"), "name": "made"}),
        conditions().map(lambda e: {"expression": of_a_column(e, "and x > 0"), "name": "held"}),
    ),
    min_size=1,
    max_size=5,
)


@examples(300)
@given(steps=STEPS, last=st.sampled_from(LAST), rows=ROWS)
def test_the_two_executors_agree_to_the_last_bit(
    steps: list[dict[str, object]], last: dict[str, object], rows: list[dict[str, object]]
) -> None:
    declared = TypeAdapter(tuple[FeatureStep, ...]).validate_json(json.dumps([*steps, last]))
    try:
        program = fit_program(declared, pl.DataFrame(SURE, schema=SCHEMA), REPAIRS, KNOWN).program
    except TrainingError as error:
        # two rows of few features tell trees nothing of the label, and both lie outside of quantiles between them
        assume("a feature that trees gain something by" not in str(error))
        emptied = any("outliers" in step and step.get("to") == "missing" for step in steps)
        assume(not (emptied and "missing in all training rows" in str(error)))
        raise
    assert FeatureProgram.from_json(program.to_json()) == program

    batch = program.transform(pl.DataFrame(rows, schema=SCHEMA))
    executor = program.compile()
    single = np.array([executor.one(row) for row in rows])

    np.testing.assert_array_equal(batch, single)
    np.testing.assert_array_equal(batch, executor.matrix(rows))


SERVED = [
    dict(example)
    for name in CLEANING.names()
    if (part := CLEANING.find(name)) and part.fitted is not None
    for example in part.examples
]


@examples(150)
@given(cleaning=st.lists(st.sampled_from(SERVED), min_size=1, max_size=4), rows=ROWS)
def test_a_request_is_repaired_as_the_rows_that_were_learnt_from(
    cleaning: list[dict[str, object]], rows: list[dict[str, object]]
) -> None:
    declared = TypeAdapter(tuple[CleaningStep, ...]).validate_json(json.dumps(cleaning))
    features = TypeAdapter(tuple[FeatureStep, ...]).validate_json('[{"numeric": ["x", "y"]}, {"encode": ["t"]}]')
    raw = pl.DataFrame([*SURE, *rows], schema=SCHEMA)
    clean, _ = repair(raw, declared, ["n"])
    program = fit_program(features, clean, declared).program
    assert FeatureProgram.from_json(program.to_json()) == program
    expected = program.transform(clean, repaired=True)
    np.testing.assert_array_equal(program.transform(raw), expected)
    np.testing.assert_array_equal(program.compile().matrix(raw.to_dicts()), expected)


@given(st.lists(st.one_of(st.floats(), st.integers(-(2**60), 2**60), st.booleans(), st.none()), max_size=5))
def test_numbers_from_requests_are_read_alike(values: list[object]) -> None:
    declared = TypeAdapter(tuple[FeatureStep, ...]).validate_json('[{"numeric": ["x"]}]')
    program = fit_program(declared, pl.DataFrame({"x": [1.0]})).program
    one = program.compile().one
    floats = [None if value is None else float(value) for value in values]
    batch = program.transform(pl.DataFrame({"x": pl.Series(floats, dtype=pl.Float64)}))[:, 0]
    for value, seen in zip(values, batch, strict=True):
        found = one({"x": value})[0]
        assert found == seen or (math.isnan(found) and math.isnan(seen))


def test_unseen_and_missing_categories_are_minus_one() -> None:
    declared = TypeAdapter(tuple[FeatureStep, ...]).validate_json('[{"encode": ["t", "n"], "max_categories": 2}]')
    frame = pl.DataFrame({"t": ["b", "a", "a", "c", "b", None], "n": [1, 1, 2, 2, 3, None]})
    program = fit_program(declared, frame).program
    assert program.transform(frame)[:, 0].tolist() == [1, 0, 0, -1, 1, -1]
    assert program.compile().one({"t": "z", "n": 1.0}) == [-1.0, 0.0]
    assert program.categorical == ("t", "n")


def test_a_calendar_over_a_filled_column_may_be_missing_again() -> None:
    declared = (
        '[{"numeric": ["when_hour"]}, {"impute": {"columns": ["when_hour"], "with": 0}},'
        ' {"calendar": "when", "parts": ["hour"], "timezone": "UTC"}]'
    )
    frame = pl.DataFrame({"when_hour": [1.0, None], "when": [SURE[0]["when"], None]})
    program = fit_program(TypeAdapter(tuple[FeatureStep, ...]).validate_json(declared), frame).program
    executor = program.compile()
    np.testing.assert_array_equal(program.transform(frame), executor.matrix(frame.to_dicts()))
    assert math.isnan(executor.matrix(frame.to_dicts())[1, 0])


@given(st.sampled_from([3.5, 3.0, -2.0]))
def test_a_number_filled_into_texts_is_a_text(number: float) -> None:
    declared = f'[{{"impute": {{"columns": ["t"], "with": {number}}}}}, {{"encode": ["t"]}}]'
    frame = pl.DataFrame({"t": ["a", "3.5", None, "3", "-2"]})
    program = fit_program(TypeAdapter(tuple[FeatureStep, ...]).validate_json(declared), frame).program
    np.testing.assert_array_equal(program.transform(frame), program.compile().matrix(frame.to_dicts()))


def test_the_two_hours_of_a_clock_change_are_told_apart() -> None:
    declared = '[{"calendar": "when", "parts": ["hour"], "timezone": "UTC"}]'
    hours = [datetime(2020, 11, 1, hour, 30, tzinfo=UTC) for hour in (4, 5, 6, 7)]
    frame = pl.DataFrame({"when": hours}).with_columns(pl.col("when").dt.convert_time_zone("America/New_York"))
    program = fit_program(TypeAdapter(tuple[FeatureStep, ...]).validate_json(declared), frame).program
    assert program.transform(frame)[:, 0].tolist() == [4, 5, 6, 7]
    assert program.compile().matrix(frame.to_dicts())[:, 0].tolist() == [4, 5, 6, 7]


def test_an_instant_read_for_its_calendar_alone_may_be_a_text() -> None:
    declared = (
        '[{"calendar": "when", "parts": ["hour", "weekday"], "timezone": "America/New_York"},'
        ' {"calendar": "then", "parts": ["hour"], "timezone": "UTC"},'
        ' {"expression": "1 if is_missing(then) else 0", "name": "open"}]'
    )
    hours = [datetime(2020, 11, 1, hour, 30, tzinfo=UTC) for hour in (4, 5, 6, 7)]
    frame = pl.DataFrame({"when": [*hours, None], "then": [*hours, None]})
    program = fit_program(TypeAdapter(tuple[FeatureStep, ...]).validate_json(declared), frame).program
    assert program.calendar_only == {"when"}
    texts = [hour.strftime("%Y-%m-%dT%H:%M:%S.000000Z") for hour in hours]
    rows = [{"when": text, "then": hour} for text, hour in zip([*texts, None], [*hours, None], strict=True)]
    found = program.compile({"when": "row['when']"}).matrix(rows)
    np.testing.assert_array_equal(program.transform(frame), found)
    assert found[:4, 0].tolist() == [0, 1, 1, 2]


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=50, max_size=50),
    st.sampled_from(["(1 + 2)", "log(10)", "sqrt(9)", "abs(-3)", "(1 / 3)", "min(1e-320, 5)", "(1 / 0)", "(3 > 2)"]),
)
def test_a_divisor_without_columns_divides_alike(values: list[float], divisor: str) -> None:
    declared = TypeAdapter(tuple[FeatureStep, ...]).validate_python([{"expression": f"x / {divisor}", "name": "made"}])
    frame = pl.DataFrame({"x": values})
    program = fit_program(declared, frame).program
    np.testing.assert_array_equal(program.transform(frame), program.compile().matrix(frame.to_dicts()))


def test_numbers_beyond_64_bits_are_no_categories() -> None:
    frame = pl.DataFrame({"n": [1.0, 2.0**63, -(2.0**70), 2.5]})
    program = fit_program(TypeAdapter(tuple[FeatureStep, ...]).validate_json('[{"encode": ["n"]}]'), frame).program
    assert program.transform(frame)[:, 0].tolist() == [0, -1, -1, 1]
    assert program.compile().matrix(frame.to_dicts())[:, 0].tolist() == [0, -1, -1, 1]


@given(st.lists(st.floats(-1e17, 1e17).filter(lambda x: x != 0) | st.floats(1e-12, 1e-3), min_size=3, max_size=30))
def test_numbers_of_any_size_are_the_same_categories_in_both_executors(numbers: list[float]) -> None:
    frame = pl.DataFrame({"n": numbers})
    program = fit_program(TypeAdapter(tuple[FeatureStep, ...]).validate_json('[{"encode": ["n"]}]'), frame).program
    assert (program.transform(frame) >= 0).all()
    np.testing.assert_array_equal(program.transform(frame), program.compile().matrix(frame.to_dicts()))


def test_a_row_is_divided_alike_whatever_the_others_of_its_batch_are() -> None:
    declared = TypeAdapter(tuple[FeatureStep, ...]).validate_json(
        '[{"impute": {"columns": ["y"], "with": 3.5}}, {"expression": "(x + 2.5) / y", "name": "filled"},'
        ' {"expression": "(x + 2.5) / coalesce(z, 3.5)", "name": "chosen"}]'
    )
    schema = {"x": pl.Float64, "y": pl.Float64, "z": pl.Float64}
    program = fit_program(declared, pl.DataFrame({"x": [1.0, 3.0], "y": [1.0, 2.0], "z": [1.0, 2.0]})).program
    row = {"x": 0.0, "y": None, "z": None}
    expected = program.compile().one(row)
    assert expected[1:] == [2.5 / 3.5] * 2
    for rows in ([row], [row] * 3, [row, {"x": 0.0, "y": 3.5, "z": 3.5}], [row, {"x": 1.0, "y": 2.0, "z": 2.0}]):
        assert program.transform(pl.DataFrame(rows, schema=schema))[0].tolist() == expected


def test_a_condition_on_a_column_of_nothing_but_missing_values_is_missing() -> None:
    declared = TypeAdapter(tuple[FeatureStep, ...]).validate_json(
        '[{"expression": "1 if 2.5 < x else 2", "name": "made"}]'
    )
    program = fit_program(declared, pl.DataFrame({"x": [1.0, 3.0]})).program
    frame = pl.DataFrame({"x": [None, None, None]}, schema={"x": pl.Float64})
    assert np.isnan(program.transform(frame)).all()
    assert np.isnan(program.compile().matrix(frame.to_dicts())).all()


def test_a_long_sum_takes_no_longer_than_its_length() -> None:
    names = [f"c{number}" for number in range(100)]
    frame = pl.DataFrame({name: [1.0, None, 3.0] for name in names})
    chosen = "min(c0, " * 40 + "c1" + ")" * 40
    declared = json.dumps(
        [{"expression": text, "name": name} for text, name in ((" + ".join(names), "sum"), (chosen, "least"))]
    )
    program = fit_program(TypeAdapter(tuple[FeatureStep, ...]).validate_json(declared), frame).program
    found = program.transform(frame)
    np.testing.assert_array_equal(found, [[100.0, 1.0], [math.nan, math.nan], [300.0, 3.0]])
    np.testing.assert_array_equal(found, program.compile().matrix(frame.to_dicts()))
