"""Expectations are proposed from history with how often they would have been wrong, and written without harm."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from expectations.errors import DriftwheelError
from expectations.loading import LoadedUseCase, load_use_case
from expectations.protection import Protected
from flows.cli import main
from tasks.cleaning.column_history import RANGE, ColumnHistory, bounds_of, candidates, counted, learn, varied
from tasks.cleaning.suggesting import Suggestion
from tasks.cleaning.suite import build_suite
from tasks.cleaning.suite_writing import add_to_suite, with_expectations
from tasks.collection.collecting import collect_sources
from tasks.stores.lake import Lake
from tests.conftest import at_home, instant
from tests.unit.test_collection import edit

Make = Callable[..., Path]
Call = Callable[..., Result]
COLLECTED = "2011-06-01"
FAULTY_FROM = "2011-05-25T00:00:00Z"
WINDSPEED = "expect_column_values_to_be_between(windspeed)"


# --- what is learnt -----------------------------------------------------------------------------------------------


@given(st.integers(-(10**9), 10**9), st.integers(0, 10**9), st.booleans(), st.sampled_from([1, 7, 1000]))
def test_bounds_hold_what_was_seen_and_keep_its_sign(least: int, span: int, whole: bool, parts: int) -> None:
    low, high = (least, least + span) if whole else (least / parts, (least + span) / parts)
    bounds = bounds_of(low, high, whole=whole)
    assert bounds[0] <= low <= high <= bounds[1]
    assert not (low >= 0 > bounds[0])
    assert not (high <= 0 < bounds[1])
    assert bounds[1] - bounds[0] <= 1.6 * (high - low or abs(high)) + 2


def expected_of(bikes: LoadedUseCase, *parts: pl.DataFrame, late: tuple[str, ...] = (), **personal: str):
    seen: dict[str, ColumnHistory] = {}
    for part in parts:
        learn(seen, part)
    protections = TypeAdapter[Any](dict[str, Protected]).validate_python(personal)
    spec = bikes.spec.model_copy(update={"personal": protections})
    return {
        (each.type.removeprefix("expect_column_").removeprefix("values_to_"), each.kwargs["column"]): {
            name: value for name, value in each.kwargs.items() if name not in ("column", "mostly")
        }
        for each in candidates(spec, seen, late)
    }


def test_each_kind_of_column_has_its_expectations(bikes: LoadedUseCase) -> None:
    def part(shift: int) -> pl.DataFrame:
        numbers = list(range(200))
        return pl.DataFrame(
            {
                "_batch": [1] * 200,
                "amount": [float(each + shift) for each in numbers],
                "odd": [float("nan"), float("inf"), *[1.0] * 198],
                "grade": [each % 3 for each in numbers],
                "town": ["A", "BB"] * 100,
                "note": [f"{each % 60:04}" for each in numbers],
                "id": [each + shift for each in numbers],
                "flag": [None, True] * 100,
                "never": pl.Series([None] * 200, dtype=pl.Float64),
            }
        )

    assert expected_of(bikes, part(0), part(100)) == {
        ("be_between", "amount"): {"min_value": 0, "max_value": 329},
        ("not_be_null", "amount"): {},
        ("proportion_of_non_null_values_to_be_between", "odd"): {"min_value": 0.89},
        ("be_between", "odd"): {"min_value": 0.9, "max_value": 1.11},  # a float just above 1.1, rounded outwards
        ("not_be_null", "grade"): {},
        ("be_in_set", "grade"): {"value_set": [0, 1, 2]},
        ("not_be_null", "town"): {},
        ("be_in_set", "town"): {"value_set": ["A", "BB"]},
        ("not_be_null", "note"): {},
        ("value_lengths_to_be_between", "note"): {"min_value": 4, "max_value": 4},
        ("not_be_null", "id"): {},
        ("be_unique", "id"): {},
        ("proportion_of_non_null_values_to_be_between", "flag"): {"min_value": 0.4},
        ("be_in_set", "flag"): {"value_set": [True]},
    }


def test_nothing_is_said_of_persons_and_no_late_column_is_expected_to_be_there(bikes: LoadedUseCase) -> None:
    rows = pl.DataFrame({"who": ["Ann", "Bob"], "phone": ["1", "2"], "paid": [1.5, 2.5]})
    found = expected_of(bikes, rows, late=("paid",), who="hash", phone="drop")
    assert list(found) == [("not_be_null", "who"), ("be_between", "paid")]
    assert "Ann" not in str(found)


def test_a_column_that_turned_into_texts_is_expected_to_have_a_value_and_no_more(bikes: LoadedUseCase) -> None:
    found = expected_of(bikes, pl.DataFrame({"a": [1, 2]}), pl.DataFrame({"a": ["x", "y"]}))
    assert list(found) == [("not_be_null", "a")]


def test_a_column_that_always_varied_is_expected_to(bikes: LoadedUseCase) -> None:
    """A sensor that is stuck lies within every range that was learnt."""
    seen: dict[str, ColumnHistory] = {}
    steps = range(40)
    for fewer in (1, 2):
        part = {
            "load": [each // fewer / 8 for each in steps],
            "town": [("A", "B", "C")[each % (4 - fewer)] for each in steps],
            "fixed": ["x"] * 40,
            "rain": [each % (8 if fewer == 1 else 2) for each in steps],
            "sometimes": [each % 2 if fewer == 1 else None for each in steps],
            "label": list(steps),
            "who": list(steps),
        }
        learn(seen, pl.DataFrame(part))
    protections = TypeAdapter[Any](dict[str, Protected]).validate_python({"who": "drop"})
    spec = bikes.spec.model_copy(update={"personal": protections})
    assert [(each.type, each.kwargs) for each in varied(spec, seen, ["label"])] == [
        ("expect_column_unique_value_count_to_be_between", {"column": name, "min_value": least})
        for name, least in (("load", 10), ("town", 2))
    ]


@pytest.mark.parametrize("first", [168, 8760])
def test_the_first_batch_tells_nothing_of_how_much_later_ones_vary(bikes: LoadedUseCase, first: int) -> None:
    """It is all of the past: a year in it hid that each week since had as many different values as the others."""
    seen: dict[str, ColumnHistory] = {}
    for number, height in enumerate([first, *[168] * 10]):
        part = pl.DataFrame({"load": [number + each / 8760 for each in range(height)]})
        learn(seen, part, like_later=number > 0)
    assert [each.kwargs for each in varied(bikes.spec, seen)] == [{"column": "load", "min_value": 84}]
    bounds = [each.kwargs for each in candidates(bikes.spec, seen) if each.type == RANGE]
    assert bounds[0]["min_value"] == 0  # what it held is learnt still
    assert bounds[0]["max_value"] >= 10 + 167 / 8760


def test_batches_are_counted() -> None:
    assert counted([100, 300]).kwargs == {"min_value": 50, "max_value": 600}
    assert counted([1]).kwargs == {"min_value": 1, "max_value": 2}


# --- what is written ----------------------------------------------------------------------------------------------

ADDED = [
    Suggestion("expect_column_values_to_be_in_set", {"column": "a: b", "value_set": ["no", "é"]}, 0, 8, 3, 1200),
    Suggestion("expect_table_row_count_to_be_between", {"min_value": 5, "max_value": 9}, 0, 8, 0, 1200),
]
STYLES = {
    "a block": "# mine\n- {type: x, kwargs: {}}  # why\n",
    "no line's end": "- {type: x, kwargs: {}}",
    "windows": "- {type: x, kwargs: {}}\r\n# end\r\n",
    "indented": "# mine\n  - type: x\n    kwargs: {}\n  # end\n",
    "empty": "[]\n",
    "empty with a comment": "# mine\n[]  # nothing yet\n",
    "flow": "[{type: x, kwargs: {}}]  # mine\n",
    "flow with a comma": "[\n  {type: x, kwargs: {}},  # mine\n]\n",
}


@pytest.mark.parametrize("style", STYLES)
def test_expectations_are_added_and_all_else_stays(style: str, tmp_path: Path) -> None:
    before = STYLES[style]
    path = tmp_path / "suite.yaml"
    path.write_bytes(before.encode())
    path.chmod(0o640)
    add_to_suite(path, ADDED)
    after = path.read_bytes().decode()
    assert yaml.safe_load(after) == [
        *yaml.safe_load(before),
        *({"type": each.type, "kwargs": each.kwargs} for each in ADDED),
    ]
    assert [each for each in comments_of(after) if not each.startswith(("# by", "# held"))] == comments_of(before)
    assert path.stat().st_mode & 0o777 == 0o640
    assert ("\r\n" in before) == ("\r\n" in after)
    if "flow" not in style:
        assert "# held 0 of 8, set 3 of 1,200 rows apart" in after


def comments_of(text: str) -> list[str]:
    return re.findall("#.*", text)


def test_a_suite_that_cannot_be_added_to_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text("- {type: x, kwargs: {}}\n...\n")
    with pytest.raises(DriftwheelError, match=r"Write them by hand: .*expect_table_row_count_to_be_between"):
        add_to_suite(path, ADDED)
    assert path.read_text() == "- {type: x, kwargs: {}}\n...\n"
    assert [each.name for each in tmp_path.iterdir()] == ["suite.yaml"]


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"])), st.integers() | st.floats(-1e9, 1e9))
def test_any_name_and_value_comes_back_from_the_yaml(name: str, value: float) -> None:
    each = Suggestion("expect_x", {"column": name, "min_value": value}, 0, 1, 0, 1)
    assert yaml.safe_load(with_expectations("[]", [each])) == [{"type": each.type, "kwargs": each.kwargs}]


# --- the command --------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(make_use_case: Make) -> Path:
    """From the end of May on the wind is measured in another unit."""
    folder = make_use_case(changes={"personal": {"weathersit": "hash"}})
    other = pl.when(pl.col("time") >= FAULTY_FROM).then(pl.lit("9")).otherwise("windspeed").alias("windspeed")
    edit(folder, lambda frame: frame.with_columns(other), "weather")
    return folder


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    return Lake(str(at_home(tmp_path, monkeypatch) / "lake"), "rentals")


@pytest.fixture
def call(folder: Path, lake: Lake) -> Call:
    def run(command: str, *options: str) -> Result:
        return CliRunner().invoke(main, [command, str(folder), *options])

    return run


@pytest.mark.slow
def test_what_would_have_been_wrong_is_left_out_and_the_rest_is_written_once(
    folder: Path, lake: Lake, call: Call
) -> None:
    done = call("suggest")
    assert done.exit_code == 1
    assert "none was collected" in done.output
    assert "Run `driftwheel run collect rentals`" in done.output

    collect_sources(load_use_case(str(folder)), lake, instant(COLLECTED), b"secret")
    text = (folder / "suite.yaml").read_text()
    found = json.loads(call("suggest", "--json").stdout)
    assert (found["history"], found["learnt_on"], found["measured_on"]) == ("slices", 12, 8)
    rows = lake.scan("raw").collect()
    wrong = {f"{each['type']}({each['kwargs']['column']})": each for each in found["left_out"]}[WINDSPEED]
    assert wrong["apart"] == rows.filter(pl.col("windspeed") == 9).height
    assert 0 < wrong["held"] < wrong["parts"] == 8
    assert wrong["false_holds"] == wrong["held"] / 8 > 0.01
    assert all(each["false_holds"] == 0 and each["false_rows"] <= 0.01 for each in found["suggested"])
    assert ("expect_column_values_to_be_in_set", {"column": "holiday", "value_set": [0, 1], "mostly": 0.99}) in [
        (each["type"], each["kwargs"]) for each in found["suggested"]
    ]
    ordered = rows.sort("time")["atemp"]
    older, newer = ordered.head(len(rows) * 12 // 20), ordered.tail(len(rows) * 8 // 20)
    span = older.max() - older.min()  # type: ignore[operator]
    # spring is warmer than winter: a quarter of the span holds too few rows of a slice, and all of it holds each
    assert (newer > older.max() + span / 4).sum() > 5  # type: ignore[operator]
    assert newer.max() < older.max() + span  # type: ignore[operator]
    (atemp,) = [each for each in found["suggested"] if (each["type"], each["kwargs"]["column"]) == (RANGE, "atemp")]
    assert (atemp["held"], atemp["apart"]) == (0, 0)
    assert older.max() + 2 * span <= atemp["kwargs"]["max_value"] < older.max() + 3 * span  # type: ignore[operator]
    hashed = [each for each in found["suggested"] if each["kwargs"].get("column") == "weathersit"]
    assert [each["type"] for each in hashed] == ["expect_column_values_to_not_be_null"]

    assert (folder / "suite.yaml").read_text() == text  # nothing is written unless asked for
    shown = call("suggest", "--write")
    assert "learnt on 12 older slices, held against 8 newer" in shown.output
    assert f"{WINDSPEED} (held {wrong['held']} of 8," in " ".join(shown.output.split())
    assert (folder / "suite.yaml").read_text().startswith(text)
    usecase = load_use_case(str(folder))
    assert len(usecase.suite) == len(yaml.safe_load(text)) + len(found["suggested"])
    build_suite(usecase)
    assert "nothing to propose" in call("suggest").output


@pytest.mark.slow
def test_batches_are_parts_once_there_are_eight(folder: Path, lake: Lake, call: Call) -> None:
    usecase = load_use_case(str(folder))
    for day in ("02-01", "02-08", "02-15", "02-22", "03-01", "03-08", "03-15", "03-22"):
        collect_sources(usecase, lake, instant(f"2011-{day}"), b"secret")
    found = json.loads(call("suggest", "--json").stdout)
    assert (found["history"], found["learnt_on"], found["measured_on"]) == ("batches", 4, 4)
    (rows,) = [each for each in found["suggested"] if each["type"] == "expect_table_row_count_to_be_between"]
    assert rows["kwargs"]["max_value"] < 2 * 7 * 24 + 1  # of a week, not of the first batch
    assert (rows["held"], rows["parts"]) == (0, 4)
    various = {
        each["kwargs"]["column"]: each["kwargs"]["min_value"]
        for each in found["suggested"]
        if each["type"] == "expect_column_unique_value_count_to_be_between"
    }
    raw = lake.scan("raw").collect()
    hours = [raw.filter(pl.col("_batch") == number)["time"].n_unique() for number in range(1, 5)]
    assert hours[0] > 4 * min(hours[1:])  # a month, and a week each
    assert various["time"] == min(hours[1:]) // 2


def test_too_little_history_is_said(folder: Path, lake: Lake, call: Call) -> None:
    collect_sources(load_use_case(str(folder)), lake, instant("2011-01-01T10:00"), b"secret")
    done = call("suggest")
    assert done.exit_code == 1
    assert "1 batches, and 10 rows at 10 instants" in done.output
