"""A suite is data: nothing in it runs as code, reaches another machine or takes for ever."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from expectations.errors import UseCaseError
from expectations.loading import ExpectationSpec, LoadedUseCase
from tasks.cleaning import lake_types
from tasks.cleaning.suite import Outcome, build_suite, validate
from tests.conftest import examples

ROWS = pl.DataFrame({"a": [1, 2, 3, 4], "a b": [1, 2, 3, 4], "s": ["x", "y", "x", "z"], "t": ["1a", "b2", None, "3"]})


def with_suite(bikes: LoadedUseCase, *specs: tuple[str, dict[str, object]]) -> LoadedUseCase:
    suite = tuple(ExpectationSpec(name, kwargs, {}, line=7) for name, kwargs in specs)
    return LoadedUseCase(bikes.spec, bikes.folder, suite, bikes.digest)


def judge(bikes: LoadedUseCase, name: str, rows: pl.DataFrame = ROWS, **kwargs: object) -> Outcome:
    (outcome,) = validate(with_suite(bikes, (name, kwargs)), rows)
    return outcome


def test_several_expectations_of_a_type_on_one_column_are_all_judged_in_their_order(bikes: LoadedUseCase) -> None:
    """Great Expectations keeps the last one alone of a suite that is added to: the others judged nothing."""
    between, mean = "expect_column_values_to_be_between", "expect_column_mean_to_be_between"
    bounds = [
        (between, {"max_value": 2}),
        (mean, {"min_value": 5}),
        (between, {"min_value": 2}),
        (mean, {"max_value": 5}),
    ]
    bounds.append(bounds[0])
    outcomes = validate(with_suite(bikes, *((name, {"column": "a", **kwargs}) for name, kwargs in bounds)), ROWS)
    assert [outcome.name for outcome in outcomes] == [f"{name}(a)" for name, _ in bounds]
    assert [outcome.failing.tolist() for outcome in outcomes] == [[2, 3], [], [0], [], [2, 3]]
    assert [outcome.success for outcome in outcomes] == [False, False, False, True, False]


@pytest.mark.slow
def test_threads_that_judge_at_once_each_judge_their_own_rows(bikes: LoadedUseCase) -> None:
    """One was given what another's rows gave: what is judged has one name in the context that all share."""
    between = ("expect_column_values_to_be_between", {"column": "a", "min_value": 0})
    suite = with_suite(bikes, between, ("expect_column_max_to_be_between", {"column": "a", "min_value": 5}), between)

    def failing(bad: int) -> list[int]:
        rows = pl.DataFrame({"a": [-1] * bad + [5] * (500 - bad)})
        return [len(outcome.failing) for _ in range(4) for outcome in validate(suite, rows)]

    with ThreadPoolExecutor(3) as threads:
        assert list(threads.map(failing, (0, 7, 300))) == [[bad, 0, bad] * 4 for bad in (0, 7, 300)]


@pytest.mark.slow
def test_of_many_rows_each_expectation_by_itself_says_what_all_of_them_say_together(
    bikes: LoadedUseCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = ROWS.with_columns(gaps=pl.Series([2**53 + 1, None, 1, 1]), odd=pl.Series([1.0, None, float("nan"), 2.0]))
    suite = with_suite(
        bikes,
        ("expect_table_row_count_to_equal", {"value": 4}),
        ("expect_table_columns_to_match_ordered_list", {"column_list": ["a", "a b", "s", "t", "gaps", "odd"]}),
        ("expect_column_to_exist", {"column": "t", "column_index": 3}),
        ("expect_compound_columns_to_be_unique", {"column_list": ["s", "gaps"]}),
        ("expect_multicolumn_sum_to_equal", {"column_list": ["a", "gaps"], "sum_total": 4}),
        ("expect_column_pair_values_to_be_equal", {"column_A": "a", "column_B": "absent"}),
        ("expect_column_values_to_be_between", {"column": "gaps", "max_value": 2**53}),
        ("expect_column_values_to_be_between", {"column": "a", "max_value": 3, "row_condition": "odd > 1"}),
        ("expect_column_values_to_not_be_null", {"column": "odd"}),
        ("expect_column_values_to_be_in_set", {"column": "s", "value_set": ["x"]}),
    )
    together = validate(suite, rows)
    monkeypatch.setattr("tasks.cleaning.suite._MANY", 0)
    apart = validate(suite, rows)
    said = [[{**vars(each), "failing": each.failing.tolist()} for each in found] for found in (together, apart)]
    assert said[0] == said[1]
    assert [each.success for each in together] == [True, True, True, True, False, False, False, False, False, False]


def test_an_expectation_that_fails_without_a_word_holds_the_batch(
    bikes: LoadedUseCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr("great_expectations.expectations.core.ExpectColumnValuesToNotBeNull._validate", fail)
    (found,) = validate(with_suite(bikes, ("expect_column_values_to_not_be_null", {"column": "a"})), ROWS)
    assert found.error == "Great Expectations says no more than that it failed"
    assert found.holds


def test_great_expectations_is_given_the_columns_alone_that_the_suite_reads(
    bikes: LoadedUseCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pandas holds each text of a large table as an object: most of the memory and of the time of a large delivery."""
    given: list[list[str]] = []

    def to_pandas(rows: pl.DataFrame, *, exactly: bool) -> pd.DataFrame:
        given.append(rows.columns)
        return lake_types.to_pandas(rows, exactly=exactly)

    monkeypatch.setattr("tasks.cleaning.suite.to_pandas", to_pandas)
    null = ("expect_column_values_to_not_be_null", {"column": "t"})
    pair = ("expect_column_pair_values_to_be_equal", {"column_A": "a", "column_B": "a b"})
    together = ("expect_compound_columns_to_be_unique", {"column_list": ["s", "t"]})
    height = ("expect_table_row_count_to_equal", {"value": 4})
    absent = ("expect_column_values_to_not_be_null", {"column": "no such"})
    ordered = "expect_table_columns_to_match_ordered_list"
    for suite, columns, verdicts in [
        ([null], ["t"], [False]),
        ([null, pair], ["a", "a b", "t"], [False, True]),
        ([together, height], ["s", "t"], [True, True]),
        ([height], ["a"], [True]),
        ([absent, null], ["t"], [False, False]),
        ([null, ("expect_table_column_count_to_equal", {"value": 4})], ROWS.columns, [False, True]),
        ([(null[0], {"column": "t", "row_condition": "a > 3"})], ROWS.columns, [True]),
        ([(height[0], {"value": 1, "row_condition": "a > 3"})], ROWS.columns, [True]),
        ([null, (ordered, {"column_list": ["a", "t"]})], ROWS.columns, [False, False]),
        ([null, (ordered, {"column_list": ROWS.columns})], ROWS.columns, [False, True]),
        ([("expect_column_to_exist", {"column": "t", "column_index": 3})], ROWS.columns, [True]),
        ([(null[0], {"column": "t"}), ("expect_table_column_count_to_equal", {"value": 1})], ROWS.columns, [False] * 2),
    ]:
        given.clear()
        assert [outcome.success for outcome in validate(with_suite(bikes, *suite), ROWS)] == verdicts
        assert given == [columns]
    monkeypatch.setattr("tasks.cleaning.suite._MANY", len(ROWS) - 1)  # of many rows each has its own alone
    given.clear()
    suite = [null, pair, null, together, height, absent, (height[0], {"value": 1, "row_condition": "a > 3"})]
    assert [outcome.success for outcome in validate(with_suite(bikes, *suite), ROWS)] == [
        False, True, False, True, True, False, True,
    ]  # fmt: skip
    assert given == [["t"], ["a", "a b"], ["s", "t"], ["a"], ROWS.columns]


# --- conditions of rows -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "condition",
    [
        {"row_condition": "a > 2", "condition_parser": "pandas"},
        {"row_condition": "a > 2 and s != 'y'"},
        {"row_condition": {"type": "comparison", "column": {"name": "a b"}, "operator": ">", "parameter": 2}},
        {
            "row_condition": {
                "type": "or",
                "conditions": [
                    {"type": "comparison", "column": {"name": "a"}, "operator": "IN", "parameter": [3]},
                    {"type": "comparison", "column": {"name": "s"}, "operator": "==", "parameter": "z"},
                ],
            }
        },
    ],
)
def test_a_condition_of_rows_sets_apart_exactly_the_rows_it_names(
    bikes: LoadedUseCase, condition: dict[str, object]
) -> None:
    found = judge(bikes, "expect_column_values_to_be_in_set", column="s", value_set=["y"], **condition)
    assert (found.failing.tolist(), found.error) == ([2, 3], None)


TRACE = "@pd.io.common.os.system('touch {}')"


@pytest.mark.parametrize("name", ["expect_column_values_to_be_in_set", "expect_column_min_to_be_between"])
@pytest.mark.parametrize(
    "condition",
    [
        {"row_condition": f"{TRACE} == 0"},
        {"row_condition": f"{TRACE} == 0", "condition_parser": "pandas"},
        {"row_condition": f"a > 0 and {TRACE} == 0", "condition_parser": "python"},
        {"row_condition": f"s == '''\n{TRACE} == 0\n'''"},
        {"row_condition": f"s == '''\u2028{TRACE} == 0\u2028'''"},
        {"row_condition": {"type": "pass_through", "pass_through_filter": f"{TRACE} == 0"}},
        {
            "row_condition": {
                "type": "and",
                "conditions": [{"type": "pass_through", "pass_through_filter": f"{TRACE} == 0"}],
            }
        },
        {"row_condition": {"type": "nullity", "column": {"name": f"a` > 0 or {TRACE} == 0 or `a"}, "is_null": False}},
        {
            "row_condition": {
                "type": "comparison",
                "column": {"name": f"a` > 0 or {TRACE} == 0 or `a"},
                "operator": "==",
                "parameter": 1,
            }
        },
        {"row_condition": f'col("a` > 0 or {TRACE} == 0 or `a") > 1', "condition_parser": "great_expectations"},
        {"row_condition": "a.__class__ == 1"},
        {"row_condition": "`a b` > 1"},
        {"row_condition": f"`a` > 0 or `{TRACE} == 0 or `a` > 0"},
        {"row_condition": f"s == '`{TRACE} == 0`'"},
        {"row_condition": "a + 1"},
        {"row_condition": "not a condition"},
    ],
)
@pytest.mark.filterwarnings("ignore:.*deprecated as of GX Core:DeprecationWarning")
def test_a_condition_that_is_code_is_a_problem_and_does_not_run(
    bikes: LoadedUseCase, tmp_path: Path, name: str, condition: dict[str, object]
) -> None:
    def planted(value: object) -> object:
        if isinstance(value, dict):
            return {key: planted(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [planted(inner) for inner in value]
        return value.format(tmp_path / "ran") if isinstance(value, str) else value

    arguments = {"value_set": ["x"]} if name.endswith("set") else {"min_value": 0}
    kwargs = {"column": "s" if name.endswith("set") else "a", **arguments, **planted(condition)}  # type: ignore[dict-item]
    with pytest.raises(UseCaseError, match=r"suite\.yaml:7: 0: "):
        validate(with_suite(bikes, (name, kwargs)), ROWS)
    assert not (tmp_path / "ran").exists()


# --- patterns -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "arguments", "failing"),
    [
        ("expect_column_values_to_match_regex", {"regex": "^[0-9]"}, [1]),
        ("expect_column_values_to_not_match_regex", {"regex": "^[0-9]"}, [0, 3]),
        ("expect_column_values_to_match_regex_list", {"regex_list": ["^1", "b"]}, [3]),
        ("expect_column_values_to_match_regex_list", {"regex_list": ["^[0-9]", "a"], "match_on": "all"}, [1, 3]),
        ("expect_column_values_to_not_match_regex_list", {"regex_list": ["^1", "b"]}, [0, 1]),
    ],
)
def test_patterns_judge_as_great_expectations_says(
    bikes: LoadedUseCase, name: str, arguments: dict[str, object], failing: list[int]
) -> None:
    found = judge(bikes, name, column="t", **arguments)
    assert (found.failing.tolist(), found.error) == (failing, None)


def test_numbers_are_matched_as_they_are_written(bikes: LoadedUseCase) -> None:
    assert judge(bikes, "expect_column_values_to_match_regex", column="a", regex="^[12]$").failing.tolist() == [2, 3]


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|a)*$", "(.*)*x", "^(([a-z])+.)+[A-Z]([a-z])+$", "(a|aa)+$"])
@pytest.mark.parametrize("name", ["expect_column_values_to_match_regex", "expect_column_values_to_not_match_regex"])
def test_a_catastrophic_pattern_ends(bikes: LoadedUseCase, name: str, pattern: str) -> None:
    rows = pl.DataFrame({"t": ["a" * 100_000 + "!"] * 5})  # of as few as 40, Python's engine would try for hours
    found = judge(bikes, name, rows, column="t", regex=pattern)
    assert found.error is None
    assert len(found.failing) in (0, 5)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(?<!a)b", "no look-around"),
        (r"(a)\1", "no look-around"),
        ("(", "unclosed group"),
        (5, "must be a text"),
        ("((a{1000}){1000}){1000}", "size limit"),
    ],
)
def test_a_pattern_that_cannot_be_is_a_problem_with_its_line(
    bikes: LoadedUseCase, pattern: object, message: str
) -> None:
    for name, arguments in (("regex", {"regex": pattern}), ("regex_list", {"regex_list": ["a", pattern]})):
        with pytest.raises(UseCaseError, match=message) as caught:
            build_suite(with_suite(bikes, (f"expect_column_values_to_match_{name}", {"column": "t", **arguments})))
        assert caught.value.problems[0].line == 7


@examples(50)
@given(
    st.lists(st.none() | st.text(max_size=8), min_size=1, max_size=6), st.sampled_from(["a", "^$", "\\d", "é|ß", "."])
)
def test_what_matches_and_what_does_not_is_all_there_is(
    bikes: LoadedUseCase, texts: list[str | None], pattern: str
) -> None:
    rows = pl.DataFrame({"t": texts}, schema={"t": pl.String})
    match = judge(bikes, "expect_column_values_to_match_regex", rows, column="t", regex=pattern).failing
    other = judge(bikes, "expect_column_values_to_not_match_regex", rows, column="t", regex=pattern).failing
    assert sorted([*match, *other]) == [at for at, text in enumerate(texts) if text is not None]


# --- whatever else ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kwargs", "message"),
    [
        ("expect_table_row_count_to_equal", {"value": {"$PARAMETER": "9^9^9^9"}}, "not filled in here"),
        ("expect_column_values_to_be_in_set", {"column": "s", "value_set": {"$PARAMETER": "x"}}, "not filled in here"),
        ("expect_column_values_to_be_in_set", {"column": "s", "value_set": [], "meta": {}}, "no argument"),
        (
            "expect_column_values_to_be_in_set",
            {"column": "s", "value_set": [], "catch_exceptions": False},
            "no argument",
        ),
        (
            "expect_column_values_to_be_in_set",
            {"column": "s", "value_set": [], "result_format": "BASIC"},
            "no argument",
        ),
        ("expect_column_values_to_match_strftime_format", {"column": "s", "strftime_format": "%Y%Y"}, "redefinition"),
        (
            "expect_column_values_to_match_json_schema",
            {"column": "s", "json_schema": {"$ref": "http://x/"}},
            "into the schema",
        ),
        (
            "expect_column_values_to_match_json_schema",
            {"column": "s", "json_schema": {"anyOf": [{"items": {"pattern": "(a+)+$"}}]}},
            "may take for ever",
        ),
        ("os.system", {}, "not found"),
        ("tests.unit.test_suite.Evil", {}, "not found"),
        ("expectation", {}, "not found"),
    ],
)
def test_what_could_run_or_never_end_is_a_problem(
    bikes: LoadedUseCase, name: str, kwargs: dict[str, object], message: str
) -> None:
    with pytest.raises(UseCaseError, match=message):
        build_suite(with_suite(bikes, (name, kwargs)))
