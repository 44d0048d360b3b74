"""A person is forgotten everywhere: no byte of the home names them, nobody else loses a row, a kill is healed."""

import csv
import json
import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
import yaml
from click.testing import CliRunner, Result

from expectations.errors import ExpressionError, LakeError, UseCaseError
from expectations.loading import load_use_case
from expectations.windows import Window
from flows.cli import main
from infra.environment import variables_of_children
from infra.settings import Settings
from tasks.bundles.bundle import load_bundle
from tasks.bundles.history_state import keep_history
from tasks.bundles.judged_rows import read_judged
from tasks.cleaning.cleaning import clean_batches
from tasks.collection.collecting import collect_sources
from tasks.erasing import files, forgetting, retention, rows, words
from tasks.erasing.person import find_person
from tasks.erasing.retention import keep_within
from tasks.erasing.words import Words, strike_from_platform
from tasks.preprocessing.history.series import EntitySeries, ticks_of
from tasks.preprocessing.history.state import from_bytes
from tasks.stores import rewriting
from tasks.stores.backups import note_backup
from tasks.stores.desired_state import Served
from tasks.stores.engines import close_engines
from tasks.stores.harvest import harvest
from tasks.stores.hashing import hash_keys
from tasks.stores.journal import Feedback, Origin, Predictions, pack
from tasks.stores.lake import Lake
from tasks.stores.ledger import Entry
from tasks.stores.measured_parts import SliceMeasured
from tasks.stores.measurements import (
    measurement_of,
)
from tasks.stores.places import Job
from tasks.stores.releases import Releases
from tasks.stores.tables import marks
from tasks.stores.tombstones import FORGOTTEN
from tests.conftest import at_home, instant
from tests.unit.test_training import released

Call = Callable[..., Result]
NAME, PHONE, OTHER = "Zoë O'Planted", "555-0142-77", "Bob Stays"
KEYED = bytes.fromhex("0f" * 32)


def write_orders(folder: Path, days: int = 40) -> None:
    """Write two orders of each customer a day."""
    random.seed(3)
    with (folder / "orders.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["time", "id", "customer", "phone", "amount", "late"])
        people = [(NAME, PHONE), (OTHER, "555-9"), ("Carl", "555-8"), ("Dora", "")]
        for day in range(days):
            for number, (name, phone) in enumerate(people * 2):
                at = instant("2024-01-01T08:00") + timedelta(days=day, hours=number)
                amount = random.randint(1, 99)
                out.writerow([at, 8 * day + number, name, phone, amount, int(amount > 50)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "orders"
    folder.mkdir()
    write_orders(folder)
    spec = {
        "name": "orders",
        "title": "Late?",
        "task": "binary_classification",
        "clock": {"column": "time"},
        "keys": ["id"],
        "sources": {"orders": {"kind": "file", "path": "orders.csv"}},
        "label": {"column": "late", "available_after": "1d"},
        "features": [{"numeric": ["amount"]}],
        "model": {"candidates": [{"family": "lightgbm", "rounds": 5, "leaves": 4, "patience": None}]},
        "gates": [{"metric": "roc_auc", "min": 0.5}],
        "evaluation": {"min_rows": 50},
        "monitoring": {"every": "1w", "performance": [{"metric": "roc_auc", "drop": 0.03}]},
    }
    (folder / "usecase.yaml").write_text(yaml.safe_dump(spec))
    rule = {"type": "expect_column_values_to_be_between", "kwargs": {"column": "amount", "min_value": 3}}
    (folder / "suite.yaml").write_text(yaml.safe_dump([{**rule, "kwargs": {**rule["kwargs"], "mostly": 0.5}}]))
    return folder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return at_home(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home to copy."""
    root = tmp_path_factory.mktemp("filled")
    with pytest.MonkeyPatch.context() as patch:
        made = at_home(root, patch)
        fill(folder.__wrapped__(root), made)
        close_engines()
    return made


@pytest.fixture
def call(folder: Path) -> Call:
    def run(*arguments: str) -> Result:
        return CliRunner().invoke(main, ["forget", str(folder), *arguments])

    return run


def fill(folder: Path, home: Path) -> Lake:
    """Collect in three batches; two answers and a label about them, one about another one; a champion; a report."""
    usecase = load_use_case(str(folder))
    lake = Lake(str(home / "lake"), "orders")
    for day in ("2024-01-10", "2024-01-20", "2024-02-12"):
        collect_sources(usecase, lake, instant(day), KEYED)
        clean_batches(usecase, lake)
    bundle, _, _ = released(usecase, lake.scan("clean").collect().sort("time"), home.parent / "bundle")
    releases = Releases(home / "releases")
    releases.add("orders", bundle.folder, bundle.digest)
    releases.set_desired("orders", champion=Served(bundle=bundle.digest, version="1"))
    database = Settings().platform()
    window = Window(instant("2024-01-01"), instant("2024-01-08"))
    slices = tuple(SliceMeasured(f"customer = {each}", 3, "customer") for each in (NAME, OTHER))
    database.put_measurement("orders", measurement_of(window, champion=bundle.digest, slices=slices))
    with database.transaction() as connection:
        evidence = {"bundle": bundle.digest, "version": "1", "example": NAME}
        database.write(
            connection,
            Entry("o/1", "orders", instant("2024-02-12"), "deploy", "promoted", "passed", f"of {NAME}", evidence),
        )
    journal = home / "journal" / "orders" / "one"
    journal.mkdir(parents=True)
    origin = Origin("1", bundle.digest, ("id", "time", "amount"), 1)
    rows = [[0, "2024-01-01T08:00:00Z", 5.0], [1, "2024-01-01T09:00:00Z", 5.0]]
    asked = Predictions("2024-02-13T00:00:00Z", ["a", "b"], [0.1, 0.2], origin, rows)
    named = Predictions(
        "2024-02-13T00:00:00Z", ["c"], [0.3], Origin("1", bundle.digest, ("customer", "amount"), None), [[NAME, 1.0]]
    )
    (journal / "predictions-1.msgpack").write_bytes(pack(asked) + pack(named))
    (journal / "feedback-1.msgpack").write_bytes(pack(Feedback("2024-02-14T00:00:00Z", ["a", "b"], [1.0, 0.0])))
    for place, text in {
        "reports/one.json": json.dumps({"values": [NAME]}),
        "reports/two.html": "<td>Zoë O&#x27;Planted</td>",
        "reports/kept.html": OTHER,
        "artifacts/1/plots/a.json": json.dumps([PHONE]),
    }.items():
        (home / place).parent.mkdir(parents=True, exist_ok=True)
        (home / place).write_text(text)
    return lake


def naming(home: Path) -> list[str]:
    """Name the files that hold a byte of theirs."""
    close_engines()
    names = [NAME, PHONE, "O&#x27;Planted", json.dumps(NAME)[1:-1], "Planted"]
    files = [path for path in sorted(home.rglob("*")) if path.is_file()]
    return [str(path.relative_to(home)) for path in files if any(word.encode() in path.read_bytes() for word in names)]


def judged_keys(home: Path) -> set[int]:
    """Return the hashes of keys that the champion's bundle has of the rows it was judged on."""
    releases = Releases(home / "releases")
    champion = releases.desired("orders").champion.bundle
    bundle = load_bundle(releases.bundle("orders", champion), champion)
    return set(read_judged(bundle.folder, bundle.manifest).keys)


def keys_of(lake: Lake, *, theirs: bool) -> set[int]:
    rows = lake.scan("raw").filter((pl.col("customer") == NAME) == theirs).collect()
    return set(hash_keys(rows.select("id")))


def others(lake: Lake, table: str = "raw") -> list[int]:
    return sorted(lake.scan(table).filter(pl.col("customer") != NAME).collect()["id"])


@pytest.mark.slow
def test_no_byte_of_them_is_left_and_nobody_else_loses_a_row(folder: Path, home: Path, call: Call) -> None:
    lake = fill(folder, home)
    assert len(naming(home)) > 8
    raw, clean, apart = (others(lake, table) for table in ("raw", "clean", "quarantine"))
    assert apart

    looked = call("--where", f'customer = "{NAME}"', "--dry-run", "--json")
    assert looked.exit_code == 0, looked.output
    counts = json.loads(looked.stdout)["counts"]
    assert counts.pop("rows of the journal") == 3  # two answers and a label, which are brought in first
    assert counts["rows of raw"] == 80
    assert counts["rows of clean"] + counts["rows of quarantine"] == 80
    assert counts["reports"] == 2
    assert counts["files of MLflow"] == 1
    assert len(naming(home)) > 8
    kept = judged_keys(home)
    assert counts["judged rows"] == len(kept & keys_of(lake, theirs=True)) > 0

    done = call("--where", f'customer = "{NAME}"', "--yes", "--json")

    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["counts"].items() >= {**counts, "rows of predictions": 2, "rows of labels": 1}.items()
    assert found["learnt"] == ["version 1"]
    assert found["training_sets"] == [1]
    assert naming(home) == []
    assert [others(lake, table) for table in ("raw", "clean", "quarantine")] == [raw, clean, apart]
    assert lake.scan("predictions").collect()["id"].to_list() == ["b"]
    assert lake.scan("labels").collect()["id"].to_list() == ["b"]
    assert (home / "reports/kept.html").exists()
    begun, entry = Settings().platform().entries("orders", kind="forget")
    assert begun.action == "erasing"
    assert (entry.action, entry.evidence["person"]) == ("forgotten", found["person"])
    assert "asked for by" in entry.summary
    (measured,) = Settings().platform().measurements("orders")
    assert [each.words for each in measured.slices] == ["customer = (erased)", f"customer = {OTHER}"]
    champion = Releases(home / "releases").desired("orders").champion.bundle
    load_bundle(Releases(home / "releases").bundle("orders", champion), champion).prove()
    assert judged_keys(home) == kept & keys_of(lake, theirs=False)

    assert "nothing of them is here" in call("--where", f'customer = "{NAME}"', "--yes").output


def looked_back_into(folder: Path, home: Path, history: dict[str, object]) -> tuple[Job, Callable[[], EntitySeries]]:
    """Collect and answer where a column looks back; returns what reads what the service looks back into."""
    change(folder, history={"before": history})
    job = Job(load_use_case(str(folder)), Settings().places(), instant("2024-02-12"))
    fill(folder, home)
    keep_history(job)

    def read() -> EntitySeries:
        (series,) = from_bytes(job.releases.history("orders").read_bytes()).values()
        return series

    return job, read


@pytest.mark.slow
def test_who_is_forgotten_is_out_of_what_the_service_looks_back_into(folder: Path, home: Path, call: Call) -> None:
    _, state = looked_back_into(folder, home, {"of": "amount", "by": ["phone", "customer"], "rows": 2})
    theirs, kept = f"{PHONE}\0{NAME}", f"555-9\0{OTHER}"
    assert {*state().entities} >= {theirs, kept}
    looked = json.loads(call("--where", f'customer = "{NAME}"', "--dry-run", "--json").stdout)
    assert (looked["counts"]["states of earlier rows"], looked["left"]) == (1, [])

    done = call("--where", f'customer = "{NAME}"', "--yes", "--json")

    assert done.exit_code == 0, done.output
    assert theirs not in state().entities
    assert kept in state().entities
    assert naming(home) == []


@pytest.mark.slow
def test_they_are_not_collected_again_and_others_are(folder: Path, home: Path, call: Call) -> None:
    lake = fill(folder, home)
    usecase = load_use_case(str(folder))
    assert call("--where", f"customer == '{NAME.replace(chr(39), chr(92) + chr(39))}'", "--yes").exit_code == 0
    write_orders(folder, 60)

    for day in ("2024-02-20", "2024-02-28"):  # the second finds the note in the commit of the first
        collect_sources(usecase, lake, instant(day), KEYED)

    found = lake.scan("raw").collect()
    assert len(found.filter(pl.col("time") > instant("2024-02-20"))) > 0
    assert set(found["customer"]) == {OTHER, "Carl", "Dora"}
    assert naming(home) == []


@pytest.mark.slow
def test_what_others_have_too_is_no_word_of_theirs(folder: Path, home: Path, call: Call) -> None:
    lake = fill(folder, home)

    done = call("--where", f"customer == '{OTHER}' and id == 1", "--yes", "--json")

    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["counts"]["rows of raw"] == 1
    assert lake.scan("raw").filter(pl.col("customer") == OTHER).collect().height == 79
    assert (home / "reports/kept.html").exists()
    (measured,) = Settings().platform().measurements("orders")
    assert [each.words for each in measured.slices] == [f"customer = {NAME}", f"customer = {OTHER}"]


@pytest.mark.slow
def test_what_belongs_to_another_use_case_stays(folder: Path, home: Path, call: Call) -> None:
    fill(folder, home)
    bundle = home / "releases/other/bundles/abc"
    bundle.mkdir(parents=True)
    (bundle / "bundle.json").write_text("{}")
    golden = json.dumps({"rows": [{"id": 0, "machine": NAME}, {"id": 3, "machine": "fan"}], "predictions": [1, 2]})
    (bundle / "golden.json").write_text(golden)
    database = Settings().platform()
    database.add_use_case("other", folder, "0")
    window = Window(instant("2024-01-01"), instant("2024-01-08"))
    measured = measurement_of(window, champion="0", slices=(SliceMeasured(f"customer = {NAME}", 3),))
    database.put_measurement("other", measured)
    (home / "reports/other").mkdir()
    (home / "reports/other/one.html").write_text(PHONE)

    assert call("--where", f'customer = "{NAME}"', "--yes").exit_code == 0

    assert (bundle / "golden.json").read_text() == golden
    assert database.measurements("other") == [measured]
    assert (home / "reports/other/one.html").exists()


def test_only_what_was_written_about_data_is_struck(home: Path) -> None:
    database = Settings().platform()
    with database.transaction() as connection:
        told = Entry("o/1", "orders", instant("2024-02-12"), "deploy", "promoted", "passed", "orders promoted", {})
        database.write(connection, told)

    assert strike_from_platform(database, Words({"promoted", "orders", "deploy"}), ("orders",), dry_run=False) == 1

    (entry,) = database.entries("orders", kind="deploy")
    assert (entry.action, entry.summary) == ("promoted", "(erased) (erased)")


@pytest.mark.slow
def test_the_log_of_a_database_that_is_open_elsewhere_names_nobody(folder: Path, home: Path, call: Call) -> None:
    fill(folder, home)
    with closing(sqlite3.connect(home / "platform.db")) as other:
        other.execute("select count(*) from ledger").fetchall()
        assert call("--where", f'customer = "{NAME}"', "--yes").exit_code == 0
        assert naming(home) == []


@pytest.mark.slow
@pytest.mark.parametrize("file", ["prefect/prefect.db", "mlflow.db", "platform.db"])
def test_a_log_that_somebody_reads_is_left_and_emptied_by_the_next_call(
    file: str, filled: Path, tmp_path: Path, folder: Path, home: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(filled, home, dirs_exist_ok=True)
    monkeypatch.setattr(words, "_SECONDS", 0.05)
    path, where = home / file, ("--where", f'customer = "{NAME}"', "--yes")
    path.parent.mkdir(exist_ok=True)
    with closing(sqlite3.connect(path, isolation_level=None)) as writer, closing(sqlite3.connect(path)) as reader:
        writer.execute("pragma journal_mode = wal")
        writer.execute("create table log_of_runs (id integer primary key, message text)")
        writer.execute("insert into log_of_runs (message) values (?)", (f"of {NAME}",))
        reader.execute("begin")
        reader.execute("select * from log_of_runs").fetchall()

        done = call(*where)

        assert done.exit_code == 3, done.output
        assert f"{path}-wal: another process reads what was there before" in " ".join(done.output.split())
        assert Settings().platform().entries("orders", kind="forget")[-1].action == "unfinished"
        reader.rollback()
        done = call(*where)  # finds no text any more, and yet empties the log
        assert done.exit_code == 0, done.output
        assert NAME.encode() not in Path(f"{path}-wal").read_bytes()
    assert Settings().platform().entries("orders", kind="forget")[-1].action == "forgotten"


def test_where_nothing_was_collected_what_names_them_goes_too(home: Path, folder: Path, call: Call) -> None:
    for place in ("reports/one.html", "journal/orders/one/feedback-1.bad"):
        (home / place).parent.mkdir(parents=True)
        (home / place).write_text(f"<td>{NAME}</td>")

    done = call("--where", f'customer = "{NAME}"', "--yes")

    assert done.exit_code == 3, done.output
    assert not (home / "reports/one.html").exists()
    assert "feedback-1.bad: remove it" in " ".join(done.output.split())
    assert not (home / "lake" / "orders").exists()
    (home / "journal/orders/one/feedback-1.bad").unlink()
    assert call("--where", f'customer = "{NAME}"', "--yes").exit_code == 0
    assert Settings().platform().entries("orders", kind="forget")[-1].action == "forgotten"
    assert not list((home / "forgetting").iterdir())


@pytest.mark.slow
def test_a_second_call_looks_for_words_whose_rows_are_gone(folder: Path, home: Path, call: Call) -> None:
    fill(folder, home)
    served = Releases(home / "releases").desired("orders").champion.bundle
    known = Releases(home / "releases").bundle("orders", served) / "features.json"
    known.write_text(known.read_text() + f' "{PHONE}"')
    theirs = ", ".join(str(8 * day + number) for day in range(40) for number in (0, 4))
    assert call("--where", f"id in ({theirs})", "--yes").exit_code == 3

    again = call("--where", f"id in ({theirs})", "--yes")

    assert again.exit_code == 3, again.output
    assert "features.json of the bundle" in again.output
    known.unlink()
    assert call("--where", f"id in ({theirs})", "--yes").exit_code == 0
    assert Settings().platform().entries("orders", kind="forget")[-1].action == "forgotten"
    assert not list((home / "forgetting").iterdir())


@pytest.mark.parametrize("collected", [True, False])
def test_who_comes_only_later_is_not_collected_either(collected: bool, folder: Path, home: Path, call: Call) -> None:
    usecase, lake = load_use_case(str(folder)), Lake(str(home / "lake"), "orders")
    database = Settings().platform()
    if collected:
        collect_sources(usecase, lake, instant("2024-01-10"), KEYED)
    before = lake.version("raw")

    assert call("--where", "customer == 'Eve New'", "--yes").exit_code == 0
    assert call("--where", "customer == 'Eve New'", "--yes").exit_code == 0

    assert lake.version("raw") == (before + 1 if collected else None)  # noted once
    with (folder / "orders.csv").open("a") as out:
        out.write("2024-01-10 08:30:00+00:00,9999,Eve New,555-7,5,0\n")
    for day in ("2024-01-20", "2024-01-22"):
        collect_sources(usecase, lake, instant(day), KEYED, database.marked("orders", FORGOTTEN))
        assert lake.scan("raw").filter(pl.col("customer") == "Eve New").collect().is_empty()
    assert lake.scan("raw").collect().height > 80


@pytest.mark.slow
def test_nothing_is_erased_under_a_turn_that_is_open(
    folder: Path, home: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(folder, retention={"raw": "20d"})
    usecase, lake = load_use_case(str(folder)), fill(folder, home)
    database, held = Settings().platform(), lake.scan("raw").collect().height
    with database.transaction() as connection:
        database.request_turn(connection, "orders-replay", "o/1", instant("2024-02-12"))
    refused = call("--where", "id == 1", "--yes")
    assert "no open turn of orders-replay" in refused.output
    with database.transaction() as connection:
        database.request_turn(connection, "orders", "o/1", instant("2024-02-12"))
    keep_within(Job(usecase, Settings().places(), instant("2024-02-12")))
    assert lake.scan("raw").collect().height == held


@pytest.mark.slow
def test_training_sets_are_named_that_go_with_older_versions(
    folder: Path, home: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(folder, home)
    monkeypatch.setattr(forgetting, "_learnt", lambda *_: {})  # models from before they came
    looked = call("--where", f'customer = "{NAME}"', "--dry-run").output
    assert "no longer reproducible: training sets of version 1 of the clean table" in looked
    assert "no longer reproducible" not in call("--where", "customer == 'Eve New'", "--dry-run").output


def test_only_words_of_a_text_are_searched_for() -> None:
    looked = Words({*(f"ORD-{number:06d}" for number in range(3000)), "Zoë", "東京都"})
    assert looked.without("x ORD-000007, ORD-0000071 Zoë Zoëy") == "x (erased), ORD-0000071 (erased) Zoëy"
    assert looked.without("of 東京都.") == "of (erased)."
    assert not looked.within("ORD 000007 " * 3)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["--dry-run", "--yes"])
def test_a_column_that_no_table_has_is_refused_as_rows_does(how: str, folder: Path, home: Path, call: Call) -> None:
    fill(folder, home)

    refused = call("--where", f"custmer == {json.dumps(OTHER)}", how)

    assert refused.exit_code != 0, refused.output
    said = " ".join(refused.output.split())
    assert "columns of the table clean:" in said
    assert "did you mean 'customer'" in said
    assert call("--where", "customer == 'Bob Stays' and nothing == 1", how).exit_code != 0
    assert not Settings().platform().entries("orders", kind="forget")


@pytest.mark.slow
def test_a_column_that_one_table_has_names_a_person_there(folder: Path, home: Path, call: Call) -> None:
    usecase, lake = load_use_case(str(folder)), fill(folder, home)
    derived = lake.scan("clean").collect().with_columns(origin=pl.col("customer") + " of the depot")
    lake.append("clean", derived, transactions={"a": 1})
    apart = find_person("origin == 'Dora of the depot'", usecase.spec, KEYED)
    rows.require_columns([lake], apart, tuple)
    asked = Predictions("2024-02-13T00:00:00Z", ["z"], [0.3], Origin("1", "0" * 64, ("nickname",), None), [["Dodo"]])
    (home / "journal/orders/one/predictions-2.msgpack").write_bytes(pack(asked))

    done = call("--where", "nickname == 'Dodo'", "--yes", "--json")

    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["counts"] == {"rows of predictions": 1}


@pytest.mark.slow
def test_a_dry_run_reads_what_the_service_journaled(folder: Path, home: Path, call: Call) -> None:
    fill(folder, home)
    journal = home / "journal/orders/one"
    origin = Origin("1", "0" * 64, ("customer", "amount"), None)
    asked = Predictions("2024-02-13T01:00:00Z", ["d", "e"], [0.3, 0.4], origin, [[NAME, 1.0], [OTHER, 2.0]])
    (journal / "predictions-2.open").write_bytes(pack(asked))
    (journal / "feedback-2.open").write_bytes(pack(Feedback("2024-02-14T00:00:00Z", ["d", "e"], [1.0, 0.0])))
    before = {path.name: path.read_bytes() for path in journal.iterdir()}

    looked = call("--where", f'customer = "{NAME}"', "--dry-run")

    assert looked.exit_code == 0, looked.output
    assert "5  rows of the journal: brought in first, then erased" in looked.output
    assert ".msgpack" not in looked.output
    assert ".open" not in looked.output
    assert "start the service, which closes them, and run this again" in " ".join(looked.output.split())
    assert {path.name: path.read_bytes() for path in journal.iterdir()} == before
    assert Lake(str(home / "lake"), "orders").version("predictions") is None

    done = call("--where", f'customer = "{NAME}"', "--yes")

    assert done.exit_code == 3, done.output  # what is open stays where nobody closes it
    said = " ".join(done.output.split())
    assert "predictions-2.open: run this again, which brings it in first" in said
    assert "journal" not in [line.split()[-2] for line in done.output.splitlines() if line.endswith(", erased")]


@pytest.mark.slow
def test_a_backup_from_before_a_journaled_answer_holds_nothing_of_it(folder: Path, home: Path, call: Call) -> None:
    fill(folder, home)
    origin = Origin("1", "0" * 64, ("customer", "amount"), None)
    asked = Predictions("2023-05-01T00:00:00Z", ["z"], [0.3], origin, [["Eve New", 1.0]])
    (home / "journal/orders/one/predictions-2.msgpack").write_bytes(pack(asked))
    for vault, made in {"restic:before": "2023-04-30", "restic:after": "2023-05-02"}.items():
        note_backup(Settings().platform(), vault, instant(made))

    looked = call("--where", "customer == 'Eve New'", "--dry-run", "--json")

    (named,) = json.loads(looked.stdout)["backups"]
    assert named.startswith("restic:after")


@pytest.mark.slow
def test_what_a_commit_has_already_is_not_counted_twice(folder: Path, home: Path, call: Call) -> None:
    lake, segment = fill(folder, home), home / "journal/orders/one/predictions-1.msgpack"
    content = segment.read_bytes()
    harvest(home / "journal", "orders", lake)
    segment.write_bytes(content)  # as where a harvest was killed before it removed it

    counts = json.loads(call("--where", f'customer = "{NAME}"', "--dry-run", "--json").stdout)["counts"]

    assert counts["rows of predictions"] == 2
    assert "rows of the journal" not in counts


@pytest.mark.slow
def test_a_column_that_only_requests_of_the_journal_have_is_known(folder: Path, home: Path, call: Call) -> None:
    fill(folder, home)
    origin = Origin("1", "0" * 64, ("nickname",), None)
    asked = Predictions("2024-02-13T00:00:00Z", ["z"], [0.3], origin, [["Dodo"]])
    (home / "journal/orders/one/predictions-2.msgpack").write_bytes(pack(asked))

    looked = call("--where", "nickname == 'Dodo'", "--dry-run", "--json")

    assert looked.exit_code == 0, looked.output
    assert json.loads(looked.stdout)["counts"] == {"rows of the journal": 1}


@pytest.mark.slow
def test_what_prefect_installs_names_nobody(folder: Path, home: Path, call: Call) -> None:
    fill(folder, home)
    copied = Path(variables_of_children(home)["PREFECT_UI_STATIC_DIRECTORY"])
    for page in (copied / "v2/assets/Select-1.js", copied / "index.html", home / "prefect/storage/kept"):
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(f'label: "{PHONE}"')

    looked = call("--where", f'customer = "{NAME}"', "--dry-run", "--json")

    assert json.loads(looked.stdout)["left"] == [
        f"{home / 'prefect/storage/kept'}: remove it, or what in it mentions them"
    ]


@pytest.mark.slow
def test_a_log_names_them_where_the_whole_value_stands(folder: Path, home: Path, call: Call) -> None:
    fill(folder, home)
    (home / "logs").mkdir()
    for name, line in {"a": "of nobodys runs", "b": "of anobody, nobody2", "c": "runs that nobody works on"}.items():
        (home / f"logs/{name}.log").write_text(line)

    looked = call("--where", "customer == 'nobody'", "--dry-run", "--json")

    assert json.loads(looked.stdout)["left"] == [f"{home / 'logs/c.log'}: remove it, or what in it mentions them"]


@pytest.mark.slow
def test_a_file_of_the_served_bundle_is_reported_once(folder: Path, home: Path, call: Call) -> None:
    fill(folder, home)
    served = Releases(home / "releases").desired("orders").champion.bundle
    bundle = Releases(home / "releases").bundle("orders", served)
    (bundle / "features.json").write_text(PHONE)
    shutil.copytree(bundle, home / "artifacts/1/models/m-1/artifacts/data" / served)

    looked = call("--where", f'customer = "{NAME}"', "--dry-run", "--json")

    (said,) = json.loads(looked.stdout)["left"]
    assert said.startswith(f"features.json of the bundle {served[:12]}, which is served")


class Killed(BaseException):
    """Stands for kill -9: nothing of ours catches it."""


POINTS = [(rows, "rewrite"), (rows, "purge"), (rewriting, "_older"), (forgetting, "sweep"), (files, "_remove")]
POINTS += [(forgetting, "strike_from_platform"), (forgetting, "strike_from_sqlite"), (forgetting, "_write")]


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(("module", "name"), POINTS, ids=[name for _, name in POINTS])
def test_a_second_call_finishes_what_was_killed(
    module: object, name: str, after: bool, filled: Path, folder: Path, home: Path, call: Call, monkeypatch
) -> None:
    shutil.copytree(filled, home, dirs_exist_ok=True)
    lake = Lake(str(home / "lake"), "orders")
    done, calls = getattr(module, name), iter(range(1000))
    at = {"rewrite": 5, "purge": 5, "_older": 6}.get(name, 1)  # of the last table, the raw one

    def die(*arguments: object, **options: object) -> object:
        number = next(calls)
        if number == at and not after:
            raise Killed
        found = done(*arguments, **options)
        if number == at:
            raise Killed
        return found

    monkeypatch.setattr(module, name, die)
    where = f'customer = "{NAME}"'
    with pytest.raises(Killed):
        call("--where", where, "--yes")
    monkeypatch.setattr(module, name, done)

    assert call("--where", where, "--yes").exit_code == 0

    assert naming(home) == []
    assert len(others(lake)) == 240
    last = Settings().platform().entries("orders", kind="forget")[-1]
    assert last.action == "forgotten"
    assert last.evidence["counts"]["rows of raw"] == 80


@pytest.mark.parametrize(
    ("where", "named"),
    [
        ("customer == 'Ann' or id == 3", "and the values that name a person"),
        ("amount > 5", "and the values that name a person"),
        ("customer != 'Ann'", "and the values that name a person"),
    ],
)
def test_only_equal_values_name_a_person(where: str, named: str, folder: Path) -> None:
    with pytest.raises(ExpressionError, match=named):
        find_person(where, load_use_case(str(folder)).spec, KEYED)


def test_a_whole_number_is_the_same_however_it_is_held(folder: Path) -> None:
    person = find_person("id in (7, 8) and customer = 'A=b'", load_use_case(str(folder)).spec, KEYED)
    frame = pl.DataFrame({"id": [7, 8, 9], "customer": ["A=b", "A==b", "A=b"]})
    assert frame.filter(person.of(frame.schema))["id"].to_list() == [7]
    floats = frame.with_columns(pl.col("id").cast(pl.Float64))
    assert floats.filter(person.of(floats.schema)).height == 1
    assert person.has({"id": 7.0, "customer": "A=b"})
    assert not person.has({"id": 7})


@pytest.mark.slow
def test_what_a_served_model_knows_is_named_and_goes_once_it_is_served_no_more(
    folder: Path, home: Path, call: Call
) -> None:
    change(folder, features=[{"numeric": ["amount"]}, {"encode": ["customer"]}])
    fill(folder, home)
    where = f'customer = "{NAME}"'

    held = call("--where", where, "--yes")

    assert held.exit_code == 3
    assert "features.json of the bundle" in held.output
    kept = [name for name in naming(home) if name.startswith("forgetting/")]  # what the next call looks for
    assert [oct((home / name).stat().st_mode & 0o777) for name in kept] == ["0o600"]
    assert all("features.json" in name or "reference.json" in name for name in naming(home) if name not in kept)
    assert Settings().platform().entries("orders", kind="forget")[-1].action == "unfinished"
    releases = Releases(home / "releases")
    releases.set_desired("orders", champion=Served(bundle="0" * 64, version="2"))
    releases.set_desired("orders", champion=Served(bundle="1" * 64, version="3"))
    assert call("--where", where, "--yes").exit_code == 0
    assert naming(home) == []


@pytest.mark.slow
def test_of_a_hashed_column_the_value_itself_is_given(folder: Path, home: Path, call: Call) -> None:
    change(folder, personal={"customer": "hash", "phone": "drop"})
    usecase = load_use_case(str(folder))
    lake = Lake(str(home / "lake"), "orders")
    collect_sources(usecase, lake, instant("2024-01-10"), KEYED)
    clean_batches(usecase, lake)
    assert lake.scan("raw").collect().height == 72

    done = call("--where", f"customer in ('{OTHER}', 'Carl')", "--yes")

    assert done.exit_code == 0, done.output
    assert lake.scan("raw").collect().height == 36
    collect_sources(usecase, lake, instant("2024-01-11"), KEYED)
    assert lake.scan("raw").collect()["customer"].n_unique() == 2
    refused = call("--where", f"phone == '{PHONE}'", "--dry-run")
    assert "phone, which is dropped where data enter" in refused.output


def change(folder: Path, **keys: object) -> None:
    spec = yaml.safe_load((folder / "usecase.yaml").read_text()) | keys
    (folder / "usecase.yaml").write_text(yaml.safe_dump(spec))


@pytest.mark.slow
def test_without_a_terminal_it_wants_to_be_told_yes(folder: Path, home: Path, call: Call) -> None:
    fill(folder, home)
    refused = call("--where", "id == 1")
    assert refused.exit_code == 2
    assert "--dry-run first, then say --yes" in refused.output


@pytest.mark.slow
def test_backups_that_hold_them_are_named(folder: Path, home: Path, call: Call, tmp_path: Path) -> None:
    fill(folder, home)
    assert CliRunner().invoke(main, ["backup", str(tmp_path / "vault")]).exit_code == 0
    (made,) = (tmp_path / "vault").iterdir()
    assert f"a backup holds them: {made}" in call("--where", "id == 1", "--dry-run").output
    vault = "restic:rest:https://backup.example:8000/me, snapshot ab12"
    note_backup(Settings().platform(), vault, datetime.now(UTC) + timedelta(days=1))
    assert f"a backup holds them: {vault}" in call("--where", "id == 1", "--dry-run").output
    Settings().platform().mark("", f"backup/{vault}", "2020-01-01T00:00:00+00:00")
    assert vault not in call("--where", "id == 1", "--dry-run").output
    (home / "reports/eve.html").write_text("Eve New")  # no row of hers says since when
    assert f"a backup holds them: {vault}" in call("--where", "customer == 'Eve New'", "--dry-run").output
    with Settings().platform().transaction() as connection:
        connection.execute(marks.delete().where(marks.c.name == f"backup/{vault}"))
    shutil.rmtree(made)
    assert "a backup" not in call("--where", "id == 1", "--dry-run").output


@pytest.mark.slow
def test_rows_are_kept_no_longer_than_declared(folder: Path, home: Path) -> None:
    change(folder, retention={"raw": "20d", "predictions": "30d"})
    usecase, lake = load_use_case(str(folder)), fill(folder, home)
    job = Job(usecase, Settings().places(), instant("2024-02-12"))
    harvest(job.places.journal, "orders", lake)
    forgetting_first, newest = lake.version("clean"), lake.scan("clean").collect()["time"].max()
    assert forgetting_first is not None

    keep_within(job)

    since = instant("2024-01-23") + timedelta(hours=20)
    for table in ("raw", "clean", "quarantine"):
        times = lake.scan(table).collect()["time"]
        assert times.min() >= since
        assert times.max() >= newest - timedelta(days=10)
    assert lake.scan("predictions").collect()["id"].to_list() == ["c"]
    assert len(lake.open("raw").history()) <= 3
    entries = Settings().platform().entries("orders", kind="retention")
    assert {entry.summary.split()[0]: entry.evidence["training_sets"] for entry in entries} == {
        "raw": [1],
        "predictions": [],
    }
    collect_sources(usecase, lake, instant("2024-02-13"), KEYED)
    assert lake.scan("raw").collect()["time"].min() >= since
    keep_within(job)
    assert len(Settings().platform().entries("orders", kind="retention")) == 2


@pytest.mark.slow
def test_what_the_service_looks_back_into_is_kept_no_longer_either(folder: Path, home: Path) -> None:
    change(folder, retention={"raw": "20d"})
    job, state = looked_back_into(folder, home, {"of": "amount", "by": ["id"], "rows": 1})
    since = ticks_of(instant("2024-01-23"))
    assert state().times.min() < since, "the newest row of each entity, however old"
    keep_within(job)
    assert state().times.min() >= since


@pytest.mark.slow
def test_what_a_killed_look_erased_is_removed_by_the_next(
    folder: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(folder, retention={"raw": "20d"})
    usecase, lake = load_use_case(str(folder)), fill(folder, home)
    job = Job(usecase, Settings().places(), instant("2024-02-12"))

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(retention, "purge", die)
        with pytest.raises(Killed):
            keep_within(job)
    assert lake.scan("raw", version=1).collect().height > 0

    keep_within(job)

    with pytest.raises(LakeError, match=r"none from before .* where rows are erased"):
        lake.scan("raw", version=1)
    (entry,) = Settings().platform().entries("orders", kind="retention")
    assert entry.evidence["rows"]["raw"] > 100


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"retention": {"raw": "5d"}}, "is over before labels came"),
        ({"retention": {"raw": "0d"}}, "greater than zero|longer than"),
        ({"retention": {"clean": "5d"}}, "retention"),
    ],
)
def test_a_retention_that_cannot_be_is_refused(keys: dict[str, object], said: str, folder: Path) -> None:
    change(folder, **keys)
    with pytest.raises(UseCaseError, match=said):
        load_use_case(str(folder))


@pytest.mark.slow
def test_check_says_where_rows_can_only_be_kept_whole(
    folder: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(folder, retention={"predictions": "1y"})
    monkeypatch.setenv("DRIFTWHEEL_LAKE", "s3://bucket/lake")
    done = CliRunner().invoke(main, ["check", str(folder)])
    assert done.exit_code == 1
    assert "a lake at a store's address is kept whole" in " ".join(done.output.split())


def test_a_table_is_read_as_often_however_many_texts_it_has(
    folder: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collected, whole = [], pl.LazyFrame.collect
    counts = []
    for more in (0, 5):
        texts = {f"note_{place}": pl.format("{} {}", pl.lit(place), "customer") for place in range(more)}
        orders = pl.read_csv(folder / "orders.csv", infer_schema=False).with_columns(**texts)
        orders.write_csv(folder / "orders.csv")
        usecase, lake = load_use_case(str(folder)), Lake(str(home / f"lake-{more}"), "orders")
        collect_sources(usecase, lake, instant("2024-02-12"), KEYED)
        person = find_person(f'customer = "{NAME}"', usecase.spec, KEYED)
        with monkeypatch.context() as counted:
            counted.setattr(pl.LazyFrame, "collect", lambda *asked, **how: collected.append(1) or whole(*asked, **how))
            theirs = rows.find_rows(lake, usecase.spec, person)
        assert {f"{place} {NAME}" for place in range(more)} <= theirs.words
        assert NAME in theirs.words
        assert OTHER not in theirs.words
        counts.append(len(collected))
        collected.clear()
    assert counts[0] == counts[1]


@pytest.mark.slow
def test_judged_rows_of_theirs_go_also_where_cleaning_changes_keys(folder: Path, home: Path, call: Call) -> None:
    """Bundles have hashes of the keys of clean rows."""
    change(folder, cleaning=[{"convert": {"columns": ["id"], "factor": 0.5}}])
    lake = fill(folder, home)
    clean = lake.scan("clean").collect()
    theirs = {*hash_keys(clean.filter(customer=NAME).select("id"))}
    assert judged_keys(home) & theirs
    kept = judged_keys(home) - theirs

    assert call("--where", f'customer = "{NAME}"', "--yes").exit_code == 0

    assert judged_keys(home) == kept
