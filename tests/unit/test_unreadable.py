"""A few values that are no numbers set their rows apart; many of them are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from expectations.errors import SourceError
from expectations.loading import load_use_case
from flows.checking import check_use_case
from infra.settings import Settings
from tasks.cleaning.cleaning import Cleaned, clean_batches, each_reason, shown_reasons
from tasks.cleaning.quarantine import list_reasons
from tasks.collection.collecting import Collected, collect_sources
from tasks.collection.unreadable import mark, mark_together, missing_remedy
from tasks.stores.lake import Lake
from tasks.stores.lake_tables import UNREAD
from tests.conftest import instant
from tests.unit.test_collection import edit
from tests.unit.test_dirty_deliveries import HEAD, Pumps, row, rows

Make = Callable[..., Path]
SAID = (
    "pressure: 1 of 200 values is no number, in row 150; its row is set apart in quarantine. Correct the source, or "
    'declare `missing: ["", "NA", "-"]` at the source where they stand for a missing value'
)
CLEANING = "\ncleaning: [{round: [load], digits: 1}]"
LABEL = "label: {column: low, expression: load < 5, available_after: 1h}"


@pytest.fixture
def pumps(tmp_path: Path) -> Pumps:
    return Pumps(tmp_path)


def delivery(text: str, number: int = 200) -> str:
    return HEAD + rows(149) + row(149, pressure=text) + rows(number - 150, 150)


def clean(pumps: Pumps) -> Cleaned:
    return clean_batches(load_use_case(str(pumps.folder)), pumps.lake)


def test_its_row_is_set_apart_with_the_reason_until_the_source_is_corrected(pumps: Pumps) -> None:
    pumps.put(delivery("-"))
    found = pumps.collect()
    assert (found.new, found.changes, found.said) == (200, (), (f"readings: {SAID}",))
    assert pumps.read()["pressure"].to_list() == [5.1] * 149 + [None] + [5.1] * 50
    cleaned = clean(pumps)
    assert (cleaned.clean, cleaned.held, cleaned.quarantined) == (199, (), {"is_a_number(pressure)": 1})
    (reason,) = list_reasons(load_use_case(str(pumps.folder)), pumps.lake)
    assert (reason.reason, reason.waiting, reason.example["time"]) == (
        "is_a_number(pressure)", 1, instant("2024-01-07T05:00"),
    )  # fmt: skip
    assert pumps.collect().corrected == 0
    pumps.put(delivery("", 201))  # corrected: it is missing
    found = pumps.collect()
    assert (found.new, found.corrected, found.changes) == (1, 1, ())
    cleaned = clean(pumps)
    assert (cleaned.clean, cleaned.quarantined) == (2, {})
    assert UNREAD not in pumps.clean().columns
    assert len(pumps.clean()) == 201


@pytest.mark.parametrize("also", ["cleaning", "label"])
def test_what_cleaning_and_the_label_compute_with_is_a_number(pumps: Pumps, tmp_path: Path, also: str) -> None:
    """A text among numbers made the column one of texts, and Polars stopped far from the cause."""
    head = HEAD.replace("\n", ",load\n")
    pumps.put(head + rows(149, more=",5") + row(149, more=",?") + rows(50, 150, more=",4"))
    pumps.write()
    path = pumps.folder / "usecase.yaml"
    text = path.read_text()
    text = (
        text.replace("label: {column: stops, available_after: 1h}", LABEL)
        if also == "label"
        else text.replace("\nlabel:", f"{CLEANING}\nlabel:")
    )
    path.write_text(text)
    usecase = load_use_case(str(pumps.folder))
    collect_sources(usecase, pumps.lake, instant("2025-01-01"), b"secret")
    assert clean_batches(usecase, pumps.lake).quarantined == {"is_a_number(load)": 1}
    assert pumps.read()["load"].to_list() == [5.0] * 149 + [None] + [4.0] * 50
    pumps.put(head + rows(49, more=",5") + row(49, more=",?"))
    with pytest.raises(SourceError, match=r"'load'.*computes with; found 1 of 50 values that are none, .* row 50\. C"):
        collect_sources(usecase, Lake(str(tmp_path / "other"), "pumps"), instant("2025-01-01"), b"secret")


@pytest.mark.parametrize("load", ["load; max (kW)", "load; max_kw(x)"])
def test_a_column_is_one_reason_whatever_its_name_holds(pumps: Pumps, load: str) -> None:
    """What stands between names, and between reasons, was read as their end where a name holds it."""
    names = {"pressure": "pressure; bar", "load": load}
    head = HEAD.replace("\n", f",{names['load']}\n").replace("pressure", names["pressure"])
    pumps.put(head + rows(149, more=",5") + row(149, pressure="?", more=",?") + rows(50, 150, more=",4"))
    pumps.write(columns=f"columns: {{{load!r}: {{type: number}}}}")
    path = pumps.folder / "usecase.yaml"
    path.write_text(path.read_text().replace("numeric: [pressure]", "numeric: ['pressure; bar']"))
    suite = "- {type: expect_column_values_to_not_be_null, kwargs: {column: 'pressure; bar', mostly: 0.9}}\n"
    (pumps.folder / "suite.yaml").write_text(suite)
    usecase = load_use_case(str(pumps.folder))
    collect_sources(usecase, pumps.lake, instant("2025-01-01"), b"secret")
    reasons = [
        *(f"is_a_number({name})" for name in names.values()),
        "expect_column_values_to_not_be_null(pressure; bar)",
    ]
    cleaned = clean_batches(usecase, pumps.lake)
    assert (cleaned.held, cleaned.quarantined) == ((), dict.fromkeys(reasons, 1))
    assert {each.reason for each in list_reasons(usecase, pumps.lake)} == set(reasons)


@pytest.mark.parametrize(
    ("held", "reasons"),
    [
        ("is_a_number(load; max_kw(x))\x1f", ["is_a_number(load; max_kw(x))"]),
        ("is_a_number(load; max_kw(x))\x1fpicture(scan)", ["is_a_number(load; max_kw(x))", "picture(scan)"]),
        # as homes of before hold them
        ("is_a_number(load)", ["is_a_number(load)"]),
        ("is_a_number(load; max (kW)); picture(scan)", ["is_a_number(load; max (kW))", "picture(scan)"]),
        ("is_a_number(load; max_kw(x))", ["is_a_number(load", "max_kw(x))"]),  # which could not be known
    ],
)
def test_reasons_are_read_as_they_are_written_and_as_they_were(held: str, reasons: list[str]) -> None:
    rows = pl.DataFrame({"_reasons": [held, None]})
    assert rows.select(each_reason()).to_series().to_list() == [reasons, None]
    assert rows.select(shown_reasons()).to_series().to_list() == ["; ".join(reasons), None]


def test_of_a_name_that_holds_the_mark_between_names_there_is_one() -> None:
    marked = mark(pl.DataFrame({"a": [1.0, None]}), {"a\x1fb": pl.Series([False, True])}, "readings")
    assert mark_together(marked, ())[UNREAD].to_list() == [None, "a b"]


@pytest.mark.parametrize("columns", ["", "columns: {pressure: {type: number}}"])
def test_a_text_of_a_file_that_has_types_is_set_apart_too(pumps: Pumps, columns: str) -> None:
    pumps.put(delivery("lost"))
    frame = pl.read_csv(pumps.folder / "readings.csv", infer_schema_length=None).with_columns(
        pl.col("time").str.to_datetime()
    )
    frame.write_parquet(pumps.folder / "readings.parquet")
    (said,) = pumps.collect(path="readings.parquet", columns=columns).said
    assert said.endswith("Correct the source, or name such values under `missing`")
    assert clean(pumps).quarantined == {"is_a_number(pressure)": 1}


def test_a_key_that_is_no_number_is_refused(pumps: Pumps) -> None:
    pumps.put(HEAD + rows(199, pump="7") + row(199, pump="-"))
    pumps.refuses("integer in the column 'pump'.* 1 of 200 values", columns="columns: {pump: {type: integer}}")


@pytest.mark.slow
def test_rows_of_a_joined_source_are_set_apart_and_more_than_one_in_a_hundred_hold_the_batch(
    make_use_case: Make, tmp_path: Path
) -> None:
    folder, lake = make_use_case(), Lake(str(tmp_path / "lake"), "rentals")

    def lose(number: int, column: str) -> Callable[[pl.DataFrame], pl.DataFrame]:
        lost = pl.when(pl.int_range(pl.len()) < number).then(pl.lit("--")).otherwise(column).alias(column)
        return lambda frame: frame.with_columns(lost)

    edit(folder, lose(2, "workingday"))
    edit(folder, lose(3, "temp"), "weather")
    usecase = load_use_case(str(folder))

    def collect(until: str) -> tuple[Collected, Cleaned]:
        found = collect_sources(usecase, lake, instant(until), b"secret")
        return found, clean_batches(usecase, lake)

    found, cleaned = collect("2011-01-02")  # 24 rows alone
    assert len([words for words in found.said if "set apart in quarantine" in words]) == 2
    assert cleaned.held == ("is_a_number(temp): 3 of 24 rows failed", "is_a_number(workingday): 2 of 24 rows failed")
    _, cleaned = collect("2011-02-01")
    assert (cleaned.held, cleaned.quarantined) == ((), {"is_a_number(temp)": 3, "is_a_number(workingday)": 2})


def test_texts_are_shown_where_they_tell_nothing_of_anybody() -> None:
    assert missing_remedy(pl.Series(["-", "N/A", "-"]), ("",)).startswith('declare `missing: ["", "-", "N/A"]` at the')
    for texts in (["-", "Smith"], list("-+?!/:")):
        assert missing_remedy(pl.Series(texts), ("",)) == "name such values under `missing`"


def test_check_says_it_in_one_sentence_and_goes_on(
    pumps: Pumps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRIFTWHEEL_HOME", str(tmp_path / "home"))
    pumps.put(delivery("-"))
    pumps.write()
    found = {each.what: each for each in check_use_case(Settings(), str(pumps.folder))}
    assert found["source readings"].found == f"200 rows, 4 columns; {SAID}"
    assert all(each.good for each in found.values())
    assert found["one prediction"].found.endswith("(4 columns in the row)")
