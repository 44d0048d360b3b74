"""Rows that fail are set apart with the reason, batches that fail are held, and a correction heals them."""

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import yaml

from expectations.errors import UseCaseError
from expectations.loading import load_use_case
from tasks.cleaning.cleaning import clean_batches, shown_reasons
from tasks.cleaning.suite import build_suite
from tasks.collection.collecting import collect_sources
from tasks.stores.known import Known
from tasks.stores.lake import Lake
from tests.conftest import instant
from tests.unit.test_collection import edit

Make = Callable[..., Path]
AS_OF = instant("2011-02-01")


def both(folder: Path, lake: Lake, as_of=AS_OF):
    usecase = load_use_case(str(folder))
    collect_sources(usecase, lake, as_of, b"secret")
    return clean_batches(usecase, lake)


@pytest.mark.slow
def test_good_rows_pass_and_twice_changes_nothing(make_use_case: Make, lake: Lake) -> None:
    folder = make_use_case()
    first, again = both(folder, lake), both(folder, lake)
    assert (first.rows, first.clean, first.held, first.quarantined) == (688, 688, (), {})
    assert again.rows == 0
    assert again.table == first.table


def test_failing_rows_go_to_quarantine_with_all_their_reasons(make_use_case: Make, lake: Lake) -> None:
    folder = make_use_case()
    odd = pl.col("time") == "2011-01-05T10:00:00Z"
    edit(folder, lambda f: f.with_columns(bikers=pl.when(odd).then(pl.lit("-4")).otherwise("bikers")))
    edit(folder, lambda f: f.with_columns(temp=pl.when(odd).then(pl.lit("9")).otherwise("temp")), "weather")

    found = both(folder, lake)

    apart = lake.scan("quarantine").collect()
    assert found.clean == 687
    assert apart["_reasons"].to_list() == [
        "expect_column_values_to_be_between(bikers)\x1fexpect_column_values_to_be_between(temp)"
    ]
    assert apart.select(shown_reasons()).item() == (
        "expect_column_values_to_be_between(bikers); expect_column_values_to_be_between(temp)"
    )
    assert instant("2011-01-05T10:00:00") not in lake.scan("clean").collect()["time"].to_list()


@pytest.mark.slow
def test_a_broken_batch_is_held_and_a_corrected_one_heals(make_use_case: Make, lake: Lake) -> None:
    folder = make_use_case(changes={"collection.lookback": "1d"})
    whole = pl.read_csv(folder / "data" / "rides.csv.gz", infer_schema=False)
    both(folder, lake, instant("2011-01-15"))
    edit(
        folder,
        lambda f: f.with_columns(
            workingday=pl.when(pl.col("time") > "2011-01-20").then(pl.lit("2")).otherwise("workingday")
        ),
    )

    held = both(folder, lake)

    assert held.held
    assert "workingday" in held.held[0]
    assert lake.scan("clean").collect()["time"].max() < instant("2011-01-15")

    edit(folder, lambda _: whole)
    healed = both(folder, lake)
    assert not healed.held
    spec = load_use_case(str(folder)).spec
    assert Known(lake, spec, AS_OF).rows().height == 688


@pytest.mark.slow
def test_a_held_batch_goes_on_once_somebody_vouches_for_it_and_what_comes_later_is_judged_by_itself(
    make_use_case: Make, lake: Lake
) -> None:
    folder = make_use_case()
    whole = pl.read_csv(folder / "data" / "rides.csv.gz", infer_schema=False)

    def broken(since: str) -> None:
        late = pl.col("time") > since
        edit(folder, lambda _: whole.with_columns(workingday=pl.when(late).then(pl.lit("2")).otherwise("workingday")))

    broken("2011-01-10")
    held = both(folder, lake, instant("2011-01-15"))
    assert held.held
    usecase = load_use_case(str(folder))
    let_go = clean_batches(usecase, lake, vouched=held.batch)
    assert (let_go.held, let_go.rows) == ((), held.rows)
    assert any("workingday" in each for each in let_go.warnings)
    assert let_go.clean + sum(let_go.quarantined.values()) == held.rows
    collect_sources(usecase, lake, instant("2011-01-20"), b"secret")
    assert clean_batches(usecase, lake, vouched=held.batch).held  # nobody vouched for these


def test_a_column_may_be_named_as_rows_are_numbered_elsewhere(make_use_case: Make, lake: Lake) -> None:
    folder = make_use_case()
    edit(folder, lambda f: f.with_columns(_row=pl.lit("x")))
    assert both(folder, lake).clean == 688
    assert lake.scan("clean").collect()["_row"].unique().to_list() == ["x"]


def test_a_column_that_is_gone_holds_the_batch(make_use_case: Make, lake: Lake) -> None:
    folder = make_use_case()
    suite = yaml.safe_load((folder / "suite.yaml").read_text())
    suite.append({"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "snow"}})
    (folder / "suite.yaml").write_text(yaml.safe_dump(suite))
    held = both(folder, lake)
    assert "could not be evaluated" in held.held[0]
    assert clean_batches(load_use_case(str(folder)), lake, vouched=held.batch).held == held.held
    assert lake.version("clean") is None


def test_a_warning_neither_holds_nor_sets_apart(make_use_case: Make, lake: Lake) -> None:
    folder = make_use_case()
    rule = {"type": "expect_column_values_to_be_between", "kwargs": {"column": "bikers", "max_value": 10}}
    (folder / "suite.yaml").write_text(json.dumps([{**rule, "severity": "warning"}]))
    found = both(folder, lake)
    assert found.warnings
    assert found.clean == 688


@pytest.mark.parametrize(
    "rule", [{"type": "expect_nothing"}, {"type": "expect_column_values_to_be_between", "kwargs": {"colum": "x"}}]
)
def test_a_rule_great_expectations_does_not_know_is_named(make_use_case: Make, rule: dict[str, object]) -> None:
    folder = make_use_case()
    (folder / "suite.yaml").write_text(json.dumps([rule]))
    with pytest.raises(UseCaseError, match=str(rule["type"])):
        build_suite(load_use_case(str(folder)))


def test_repair_clips_maps_and_drops_duplicates(make_use_case: Make, lake: Lake) -> None:
    folder = make_use_case(
        changes={
            "cleaning": [
                {"drop_duplicates": "keys"},
                {"clip": {"columns": ["hum"], "min": 0.5}},
                {"map": {"column": "weathersit", "values": {"clear": "fair", "cloudy/misty": None}}},
                {"drop_missing": ["weathersit"]},
            ]
        }
    )
    again = "2011-01-05T10:00:00Z"
    edit(folder, lambda f: pl.concat([f, f.filter(pl.col("time") == again).with_columns(bikers=pl.lit("1"))]))
    found = both(folder, lake)
    rows = lake.scan("clean").collect()
    assert rows["hum"].min() == 0.5
    assert set(rows["weathersit"]) == {"fair", "light rain/snow", "heavy rain/snow"}
    assert rows.filter(pl.col("time") == instant(again[:-1]))["bikers"].to_list() == [1.0]
    assert [step.rows_dropped > 0 for step in found.repaired] == [True, False, False, True]


def test_a_batch_cleaned_for_an_earlier_instant_loses_nothing(make_use_case: Make, lake: Lake) -> None:
    folder = make_use_case()
    usecase = load_use_case(str(folder))
    collect_sources(usecase, lake, instant("2011-02-01"), b"secret")
    clean_batches(usecase, lake)
    assert Known(lake, usecase.spec, instant("2011-01-15")).rows()["time"].max() < instant("2011-01-15")
    assert Known(lake, usecase.spec, AS_OF).rows().height == 688
