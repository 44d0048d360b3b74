"""Rows in quarantine go on to the clean table once, because they pass now or a person vouches for them."""

import getpass
import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import yaml
from click.testing import CliRunner, Result

from expectations.loading import load_use_case
from flows.cli import main
from infra.settings import Settings
from tasks.cleaning import quarantine
from tasks.cleaning.cleaning import clean_batches
from tasks.cleaning.task import validate_and_repair
from tasks.collection.collecting import collect_sources
from tasks.stores.database import HELD, HELD_BATCH, VOUCHED, Database
from tasks.stores.known import Known
from tasks.stores.lake import Lake
from tasks.stores.lake_tables import BATCH
from tasks.stores.ledger import Entry
from tasks.stores.places import Job
from tests.conftest import at_home, instant
from tests.unit.test_collection import edit

Make = Callable[..., Path]
Call = Callable[..., Result]
BIKERS, TEMP = "expect_column_values_to_be_between(bikers)", "expect_column_values_to_be_between(temp)"
ODD = ["2011-01-05T10:00:00Z", "2011-01-06T10:00:00Z", "2011-01-07T10:00:00Z"]


@pytest.fixture
def folder(make_use_case: Make) -> Path:
    """Three rows have too few bikers, and the last of them is too hot besides."""
    folder = make_use_case(changes={"collection.lookback": "60d"})
    edit(folder, lambda f: set_values(f, "bikers", dict.fromkeys(ODD, "-4")))
    edit(folder, lambda f: set_values(f, "temp", {ODD[2]: "9"}), "weather")
    return folder


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    return Lake(str(at_home(tmp_path, monkeypatch) / "lake"), "rentals")


@pytest.fixture
def call(folder: Path, lake: Lake) -> Call:
    def run(*arguments: str) -> Result:
        return CliRunner().invoke(main, ["quarantine", str(folder), *arguments])

    return run


def set_values(frame: pl.DataFrame, column: str, values: dict[str, str]) -> pl.DataFrame:
    changed = pl.col("time").replace_strict(values, default=None, return_dtype=pl.String)
    return frame.with_columns(pl.coalesce(changed, column).alias(column))


def collect(folder: Path, lake: Lake, as_of: str = "2011-02-01"):
    usecase = load_use_case(str(folder))
    collect_sources(usecase, lake, instant(as_of), b"secret")
    return clean_batches(usecase, lake)


def correct_suite(folder: Path, **kwargs: object) -> None:
    """Let the number of bikers be what it may."""
    suite = yaml.safe_load((folder / "suite.yaml").read_text())
    (rule,) = (
        each
        for each in suite
        if each["type"] == "expect_column_values_to_be_between" and each["kwargs"]["column"] == "bikers"
    )
    rule["kwargs"] = {"column": "bikers", "min_value": -10, "max_value": 10_000, **kwargs}
    (folder / "suite.yaml").write_text(yaml.safe_dump(suite))


def ledger(lake: Lake) -> list[Entry]:
    database = Database(f"sqlite:///{Path(lake.root).parent / 'platform.db'}")
    return [entry for entry in database.entries("rentals") if entry.kind == "quarantine"]


def entries(lake: Lake) -> list[tuple[str, int, str]]:
    return [(entry.action, entry.evidence["rows"], entry.evidence["who"]) for entry in ledger(lake)]


def clean_rows(lake: Lake) -> int:
    return lake.scan("clean").collect().height


def test_reasons_are_summed_up(folder: Path, lake: Lake, call: Call) -> None:
    assert call("list").output == "No row of rentals is in quarantine.\n"
    assert call("list", "--json").output == "[]\n"
    collect(folder, lake)
    found = json.loads(call("list", "--json").output)
    assert [(each["reason"], each["rows"], each["waiting"]) for each in found] == [(BIKERS, 3, 3), (TEMP, 1, 1)]
    assert found[0]["first_batch"] == found[0]["last_batch"] == 1
    assert found[1]["example"] == {"time": "2011-01-07T10:00:00+00:00"}
    assert "rows" in call("list").output
    (folder / "usecase.yaml").write_text((folder / "usecase.yaml").read_text() + "\npersonal: {time: hash}\n")
    assert json.loads(call("list", "--json").output)[1]["example"] == {}  # declared so after it was collected


@pytest.mark.slow
def test_rows_that_pass_the_corrected_suite_go_on_once(folder: Path, lake: Lake, call: Call) -> None:
    collect(folder, lake)
    assert call("replay").output == ("0 of 3 rows went on to the clean table; 3 fail the suite still\n")
    assert entries(lake) == []
    correct_suite(folder)
    assert "2 of 3 rows would go on" in call("replay", "--dry-run").output
    assert clean_rows(lake) == 685
    assert call("replay").output == "2 of 3 rows went on to the clean table; 1 fail the suite still\n"
    assert "0 of 1 rows went on" in call("replay").output
    assert clean_rows(lake) == 687
    assert entries(lake) == [("replayed", 2, getpass.getuser())]
    rows = Known(lake, load_use_case(str(folder)).spec, instant("2011-02-01")).rows()
    assert rows.filter(pl.col("bikers") == -4)["time"].to_list() == [
        instant("2011-01-05T10:00"),
        instant("2011-01-06T10:00"),
    ]
    assert collect(folder, lake).rows == 0
    assert [each["waiting"] for each in json.loads(call("list", "--json").output)] == [1, 1]


def test_a_batch_that_the_suite_now_holds_lets_no_row_go_on(folder: Path, lake: Lake, call: Call) -> None:
    collect(folder, lake)
    correct_suite(folder, min_value=100)
    done = call("replay")
    assert done.exit_code == 3
    assert "held: no row goes on" in done.output
    assert clean_rows(lake) == 685


def test_a_held_batch_goes_on_with_the_next_collection_once_a_person_says_so(
    folder: Path, lake: Lake, call: Call
) -> None:
    database = Settings().platform()
    assert call("release", "--held").output == "No batch of rentals is held.\n"
    assert call("replay", "--held").exit_code == 2
    assert call("release", "--held", "--batch", "1").exit_code == 2
    database.mark("rentals", HELD, json.dumps(["few rows pass"]))
    database.mark("rentals", HELD_BATCH, "7")
    assert call("release", "--held").output.startswith("batch 7 goes on with the next collection")
    assert database.marked("rentals", VOUCHED) == "7"
    (entry,) = database.entries("rentals", kind="person")
    assert entry.evidence == {"who": getpass.getuser(), "batch": 7, "held": ["few rows pass"]}


@pytest.mark.slow
def test_rows_that_a_person_vouches_for_go_on_once(folder: Path, lake: Lake, call: Call) -> None:
    collect(folder, lake)
    assert call("release").exit_code == 2
    assert call("replay", "--batch", "1").exit_code == 2
    assert call("list", "--dry-run").exit_code == 2
    assert call("release", "--batch", "7").output == "no such row waits in quarantine\n"
    one = call("release", "--where", "time == '2011-01-05T10:00Z'", "--json")
    assert json.loads(one.output)["rows"] == 1
    assert "did you mean 'bikers'" in call("release", "--where", "biker < 0").output

    assert call("release", "--reason", BIKERS).output == "1 of 1 rows went on to the clean table\n"  # not the hot one
    assert call("release", "--reason", BIKERS).output == "no such row waits in quarantine\n"
    assert call("release", "--reason", BIKERS, "--reason", TEMP).output.startswith("1 of 1 rows went on")
    assert clean_rows(lake) == 688
    assert [rows for _, rows, _ in entries(lake)] == [1, 1, 1]
    assert ledger(lake)[-1].evidence["reasons"] == {BIKERS: 1, TEMP: 1}


@pytest.mark.slow
def test_a_corrected_delivery_settles_a_row(folder: Path, lake: Lake, call: Call) -> None:
    collect(folder, lake)
    more = (pl.col("bikers").cast(pl.Int64) + 1).cast(pl.String)  # so that the batch is not held
    edit(folder, lambda f: f.with_columns(bikers=pl.when(pl.col("bikers") != "-4").then(more).otherwise("bikers")))
    edit(folder, lambda f: set_values(f, "bikers", {ODD[0]: "7", ODD[1]: "-5"}))
    collect(folder, lake)
    assert lake.scan("clean").select(pl.col("time").n_unique()).collect().item() == 686
    assert call("release", "--batch", "1").output.startswith("1 of 1 rows went on")  # the one that came once
    assert call("release", "--batch", "2").output.startswith("1 of 1 rows went on")
    rows = Known(lake, load_use_case(str(folder)).spec, instant("2011-02-01")).rows()
    assert rows.filter(pl.col("time").dt.hour() == 10).filter(pl.col("bikers") < 0)["bikers"].to_list() == [-5, -4]
    assert rows.filter(pl.col("time") == instant("2011-01-05T10:00"))["bikers"].to_list() == [7]
    assert sorted(rows.filter(pl.col("bikers") < 0)[BATCH]) == [1, 2]


@pytest.mark.slow
def test_rows_that_went_on_stand_in_the_ledger_also_after_a_kill(
    folder: Path, lake: Lake, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    collect(folder, lake)
    with monkeypatch.context() as patch:
        patch.setattr(Database, "write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert call("release", "--batch", "1").exit_code == 130
    assert entries(lake) == []
    assert call("release", "--batch", "1").output == "no such row waits in quarantine\n"
    assert clean_rows(lake) == 688
    assert entries(lake) == [("released", 3, getpass.getuser())]


@pytest.mark.slow
def test_what_an_interrupted_cleaning_set_apart_waits_for_it(
    folder: Path, lake: Lake, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks.cleaning import cleaning

    write = cleaning._write

    def die(lake: Lake, table: str, *arguments: object, **options: object) -> None:
        if table == "clean":
            raise KeyboardInterrupt
        write(lake, table, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(cleaning, "_write", die)
        with pytest.raises(KeyboardInterrupt):
            collect(folder, lake)
    assert call("release", "--batch", "1").output == "no such row waits in quarantine\n"
    assert collect(folder, lake).clean == 685
    assert call("release", "--batch", "1").output.startswith("3 of 3")


def test_a_row_is_repaired_as_any_other(folder: Path, lake: Lake, call: Call) -> None:
    text = yaml.safe_load((folder / "usecase.yaml").read_text())
    text["cleaning"] = [{"clip": {"columns": ["bikers"], "min": 0}}]
    (folder / "usecase.yaml").write_text(yaml.safe_dump(text, sort_keys=False))
    collect(folder, lake)
    assert quarantine.REASONS not in lake.scan("clean").collect_schema()
    call("release", "--batch", "1")
    odd = lake.scan("clean").filter(pl.col("time") == instant("2011-01-05T10:00")).collect()
    assert odd["bikers"].to_list() == [0]
    assert quarantine.REASONS not in odd.columns


@pytest.mark.slow
def test_a_cleaning_step_may_read_a_column_that_came_after_a_row_was_set_apart(
    folder: Path, lake: Lake, call: Call
) -> None:
    text = yaml.safe_load((folder / "usecase.yaml").read_text())
    text["collection"]["lookback"] = "1h"
    (folder / "usecase.yaml").write_text(yaml.safe_dump(text, sort_keys=False))
    collect(folder, lake)
    edit(folder, lambda f: f.with_columns(extra=pl.lit("5.5")))
    text["columns"] = {**text.get("columns", {}), "extra": {"type": "number"}}
    text["cleaning"] = [{"clip": {"columns": ["extra"], "max": 5}}]
    (folder / "usecase.yaml").write_text(yaml.safe_dump(text, sort_keys=False))
    collect(folder, lake, "2011-02-02")
    assert "extra" in lake.scan("raw").collect_schema()
    assert "extra" not in lake.scan("quarantine").collect_schema()
    assert call("release", "--batch", "1").output.startswith("3 of 3 rows went on")


def test_a_cleaning_writes_into_the_ledger_what_was_killed_before(
    folder: Path, lake: Lake, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    collect(folder, lake)
    with monkeypatch.context() as patch:
        patch.setattr(Database, "write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert call("release", "--batch", "1").exit_code == 130
    settings = Settings()
    validate_and_repair(Job(load_use_case(str(folder)), settings.places(), instant("2011-02-01")))
    assert entries(lake) == [("released", 3, getpass.getuser())]
