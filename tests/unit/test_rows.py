"""Any table of the lake is shown by a command: the rows asked for, only what could be known, nothing personal."""

import hashlib
import io
import json
import re
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner, Result

from expectations.errors import ExpressionError
from expectations.loading import load_use_case
from flows.cli import main
from infra.settings import Settings
from tasks.cleaning.cleaning import clean_batches
from tasks.collection.collecting import collect_sources
from tasks.preprocessing.conditions import condition
from tasks.stores.lake import Lake
from tasks.stores.pseudonyms import pseudonym
from tasks.stores.releases import Releases
from tests.conftest import at_home, instant
from tests.unit.test_collection import edit
from tests.unit.test_training import released
from tests.unit.test_training import rows as joined_rows

Make = Callable[..., Path]
Call = Callable[..., Result]
SECRET = b"\x0f" * 32


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return at_home(tmp_path, monkeypatch)


@pytest.fixture
def call(home: Path) -> Call:
    def run(*arguments: str) -> Result:
        return CliRunner().invoke(main, ["rows", *arguments])

    return run


def collected(folder: Path, home: Path, as_of: str = "2011-02-01") -> Lake:
    usecase = load_use_case(str(folder))
    lake = Lake(str(home / "lake"), usecase.name)
    collect_sources(usecase, lake, instant(as_of), SECRET)
    clean_batches(usecase, lake)
    return lake


def objects(done: Result) -> list[dict[str, object]]:
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.mark.slow
def test_the_newest_rows_are_shown_and_how_many_there_are(make_use_case: Make, home: Path, call: Call) -> None:
    folder = make_use_case()
    lake = collected(folder, home)
    every = lake.scan("clean").collect().sort("time", descending=True)

    found = objects(call(str(folder), "clean", "--json", "--head", "3"))
    assert [row["time"] for row in found] == [at.isoformat() for at in every["time"].head(3)]
    assert [row["bikers"] for row in found] == every["bikers"].head(3).to_list()
    assert found[0]["time"] == "2011-01-31T23:00:00+00:00"
    assert list(found[0]) == every.columns

    table = call(str(folder), "clean")
    assert table.output.endswith("the newest 20 of 688 rows\n")
    assert "print all columns" in table.output
    assert all(len(line) <= 110 for line in table.output.splitlines() if line[0] in "┃│")

    done = call(str(folder), "clean", "--csv")
    assert pl.read_csv(io.StringIO(done.stdout)).height == 20
    assert "the newest 20 of 688 rows" in done.stderr
    whole = call(str(folder), "clean", "--csv", "--head", "1000")
    assert pl.read_csv(io.StringIO(whole.stdout))["bikers"].to_list() == every["bikers"].to_list()
    assert whole.stderr == ""


def test_rows_are_chosen_by_a_condition(make_use_case: Make, home: Path, call: Call) -> None:
    folder = make_use_case()
    every = collected(folder, home).scan("clean").collect()
    where = "time >= '2011-01-10' and time < '2011-01-10T06:00Z' and bikers > 2"
    found = objects(call(str(folder), "clean", "--where", where, "--json"))
    begin, end = instant("2011-01-10"), instant("2011-01-10T06:00")
    expected = every.filter(pl.col("time").is_between(begin, end, closed="left") & (pl.col("bikers") > 2))
    assert expected.height
    assert sorted(row["bikers"] for row in found) == sorted(expected["bikers"])
    clear = objects(call(str(folder), "clean", "--where", "weathersit == 'clear'", "--json", "--head", "1000"))
    assert len(clear) == int((every["weathersit"] == "clear").sum()) > 0

    assert objects(call(str(folder), "clean", "--where", "bikers < 0", "--json")) == []
    assert call(str(folder), "clean", "--where", "bikers < 0").output == "no such row\n"
    nothing = call(str(folder), "clean", "--where", "bikers < 0", "--csv").stdout
    assert nothing.splitlines() == [",".join(every.columns)]


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("biker > 2", "did you mean 'bikers'"),
        ("bikers", "a condition"),
        ("bikers = 2", "syntax error"),
        ("bikers == '2'", "column bikers compared with a number.*without quotes"),
        ("weathersit > 2", "column weathersit compared with a text.*in quotes"),
        ("time > 2011", "column time compared with an instant.*in quotes"),
        ("time > 'soon'", "ISO 8601 instant"),
        ("__import__('os').system('true') > 0", "Expected columns .*import"),
    ],
)
def test_what_is_no_condition_is_a_sentence(make_use_case: Make, home: Path, call: Call, where: str, says: str) -> None:
    folder = make_use_case()
    collected(folder, home)
    done = call(str(folder), "clean", "--where", where)
    assert done.exit_code == 1
    assert re.search(says, " ".join(done.output.split()))


def test_only_what_could_be_known_is_shown(make_use_case: Make, home: Path, call: Call) -> None:
    folder = make_use_case(changes={"label.available_after": "1d"})
    collected(folder, home)
    found = objects(call(str(folder), "raw", "--as-of", "2011-01-20", "--head", "1000", "--json"))
    assert found[0]["time"] == "2011-01-19T23:00:00+00:00"
    labels = {row["time"]: row["bikers"] for row in found}
    assert all((at > "2011-01-19T00:00:00+00:00") == (label is None) for at, label in labels.items())
    hidden = "bikers > 0 and time > '2011-01-19'"
    assert objects(call(str(folder), "raw", "--as-of", "2011-01-20", "--where", hidden, "--json")) == []


def test_a_table_that_is_not_there_yet_is_a_sentence(make_use_case: Make, home: Path, call: Call) -> None:
    folder = make_use_case()
    for table, says in {"clean": "run collect rentals", "predictions": "run monitor rentals"}.items():
        done = call(str(folder), table, "--json")
        assert done.exit_code == 1
        assert done.stdout == ""
        assert says in " ".join(done.stderr.split())
    collected(folder, home)
    assert "No row of rentals was set apart" in call(str(folder), "quarantine").stderr
    assert call(str(folder), "clean", "--json", "--csv").exit_code == 2
    assert call(str(folder), "clean", "--head", "0").exit_code == 2


def test_quarantined_rows_come_with_their_reasons(make_use_case: Make, home: Path, call: Call) -> None:
    folder = make_use_case()
    odd = pl.col("time") == "2011-01-05T10:00:00Z"
    edit(folder, lambda f: f.with_columns(bikers=pl.when(odd).then(pl.lit("-4")).otherwise("bikers")))
    collected(folder, home)
    (row,) = objects(call(str(folder), "quarantine", "--json"))
    assert (row["bikers"], row["_reasons"]) == (-4, "expect_column_values_to_be_between(bikers)")


@pytest.mark.slow
def test_nothing_personal_comes_out(make_use_case: Make, home: Path, call: Call) -> None:
    folder = make_use_case(changes={"personal": {"email": "hash", "phone": "drop"}})
    edit(folder, lambda f: f.with_columns(email=pl.lit("ann@example.org"), phone=pl.lit("0171")))
    collected(folder, home)
    for table in ("raw", "clean"):
        text = call(str(folder), table, "--json").output
        assert "ann@" not in text
        assert "phone" not in text
        assert objects(call(str(folder), table, "--json"))[0]["email"] == pseudonym("ann@example.org", SECRET)
        assert objects(call(str(folder), table, "--where", "email == 'ann@example.org'", "--json")) == []


def test_a_column_declared_personal_after_it_was_collected_is_left_out(
    make_use_case: Make, home: Path, call: Call
) -> None:
    folder = make_use_case()
    edit(folder, lambda f: f.with_columns(email=pl.lit("ann@example.org")))
    collected(folder, home)
    assert "ann@" in call(str(folder), "raw", "--json").output
    declared = (folder / "usecase.yaml").read_text() + "\npersonal: {email: hash}\n"
    (folder / "usecase.yaml").write_text(declared)
    assert "ann@" not in call(str(folder), "raw", "--json").output
    assert "did you mean" not in call(str(folder), "raw", "--where", "email != ''").output
    assert call(str(folder), "raw", "--where", "email != ''").exit_code == 1


@pytest.mark.slow
def test_journaled_rows_are_columns_beside_what_was_answered(
    make_use_case: Make, home: Path, call: Call, tmp_path: Path
) -> None:
    folder = make_use_case()
    usecase = load_use_case(str(folder))
    bundle, _, _ = released(usecase, joined_rows(usecase, "2011-03-01"), tmp_path / "bundle")
    Releases(home / "releases").add("rentals", bundle.folder, bundle.digest)
    lake, at = Lake(str(home / "lake"), "rentals"), instant("2011-03-05")
    served = [at + timedelta(hours=hour) for hour in range(3)]
    sent = [{"weathersit": "clear", "hum": 0.5, "time": "2011-03-05T00:00:00Z"}, {"hum": None}, {"temp": 0.25}]
    predictions = pl.DataFrame(
        {
            "id": ["a", "b", "c"],
            "event_time": served,
            "served_at": served,
            "version": ["1", "1", "1"],
            "bundle": [bundle.digest] * 3,
            "prediction": [10.0, 20.0, float("nan")],
            "row": [json.dumps(each) for each in sent],
        }
    ).cast({name: pl.Datetime("us", "UTC") for name in ("event_time", "served_at")})
    lake.append("predictions", predictions, transactions={"test": 1})
    labels = {"id": ["a", "b"], "label": [12.0, 18.0], "received_at": served[1:], "sender": ["app", ""]}
    typed = pl.DataFrame(labels).cast({"received_at": pl.Datetime("us", "UTC")})
    lake.append("labels", typed, transactions={"test": 1})

    found = objects(call(str(folder), "predictions", "--json"))
    assert list(found[0])[:6] == ["served_at", "event_time", "id", "bundle", "version", "prediction"]
    assert "row" not in found[0]
    assert [(row["id"], row["prediction"], row["hum"], row["temp"]) for row in found] == [
        ("c", None, None, 0.25),
        ("b", 20.0, None, None),
        ("a", 10.0, 0.5, None),
    ]
    clear = objects(call(str(folder), "predictions", "--where", "weathersit == 'clear'", "--json"))
    assert [row["id"] for row in clear] == ["a"]
    early = objects(call(str(folder), "predictions", "--as-of", "2011-03-05T02:00Z", "--json"))
    assert [row["id"] for row in early] == ["b", "a"]
    known = objects(call(str(folder), "labels", "--as-of", "2011-03-05T02:00Z", "--json"))
    assert [(row["id"], row["label"], row["sender"]) for row in known] == [("a", 12.0, "app")]

    declared = (folder / "usecase.yaml").read_text() + "\npersonal: {weathersit: hash, hum: drop}\n"
    (folder / "usecase.yaml").write_text(declared)
    row = objects(call(str(folder), "predictions", "--json"))[-1]
    assert row["weathersit"] == pseudonym("clear", SECRET)
    assert "hum" not in row

    Settings().platform().add_use_case("rentals", folder, usecase.digest)
    digest = hashing_bundle(home, bundle.digest, "weathersit")
    hashed = predictions.head(1).with_columns(
        id=pl.lit("d"), bundle=pl.lit(digest), row=pl.lit(json.dumps({"weathersit": pseudonym("clear", SECRET)}))
    )
    lake.append("predictions", hashed, transactions={"test": 2})
    for otherwise, cut in (("{truncate: 2}", "cl"), ("drop", None)):
        other = declared.replace("weathersit: hash, hum: drop", f"weathersit: {otherwise}, hum: {{bucket: 2}}")
        (folder / "usecase.yaml").write_text(other)
        found = {row["id"]: row for row in objects(call(str(folder), "predictions", "--json"))}
        assert found["a"].get("weathersit") == cut
        assert found["d"].get("weathersit") == (pseudonym("clear", SECRET)[:2] if cut else None)
        assert found["a"]["hum"] == 0.0
    (folder / "usecase.yaml").write_text(declared)
    for lost in (False, True):
        if lost:  # nobody can tell any more what its rows were asked with
            shutil.rmtree(Releases(home / "releases").bundle("rentals", bundle.digest))
        found = {row["id"]: row["weathersit"] for row in objects(call(str(folder), "predictions", "--json"))}
        assert found["a"] == found["d"] == pseudonym("clear", SECRET)
        said = CliRunner().invoke(main, ["lineage", "a", "--usecase", "rentals"]).output
        assert "use case   rentals" in said
        assert not re.search("clear|hum=", said)
        assert (f"weathersit={pseudonym('clear', SECRET)}" in said) != lost


def hashing_bundle(home: Path, digest: str, column: str) -> str:
    """Copy a bundle into one whose service hashes a column; returns its digest."""
    folder = Releases(home / "releases").bundle("rentals", digest)
    manifest = json.loads((folder / "bundle.json").read_text())
    for each in manifest["columns"]:
        if each["name"] == column:
            each["hashed_from"] = "text"
    text = json.dumps(manifest, indent=1)
    other = hashlib.sha256(text.encode()).hexdigest()
    shutil.copytree(folder, folder.parent / other)
    (folder.parent / other / "bundle.json").write_text(text)
    return other


def test_what_a_replay_asked_and_was_answered_of_several_classes(make_use_case: Make, home: Path, call: Call) -> None:
    folder, at = make_use_case(changes={"personal": {"weathersit": "hash"}}), instant("2011-03-05")
    lake = Lake(str(home / "lake"), "rentals-replay")
    answer = {"id": ["a"], "event_time": [at], "served_at": [at], "version": ["1"], "bundle": ["gone"]}
    frame = pl.DataFrame({**answer, "prediction": [[0.25, 0.75]], "row": ["{}"]})
    lake.append(
        "predictions",
        frame.cast({name: pl.Datetime("us", "UTC") for name in ("event_time", "served_at")}),
        transactions={"test": 1},
    )
    (row,) = objects(call(f"{folder}-replay", "predictions", "--json"))
    assert row == {
        "served_at": at.isoformat(),
        "event_time": at.isoformat(),
        "id": "a",
        "bundle": "gone",  # what it was asked with nobody can say any more
        "version": "1",
        "prediction": [0.25, 0.75],
    }
    assert call(f"{folder}-replay", "predictions", "--csv").stdout.endswith('"[0.25, 0.75]"\n')
    assert call(str(folder), "predictions").exit_code == 1


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        ("n > 1.5", [2, 3]),
        ("t < 'b'", [0]),
        ("t in ['b', 'c'] and not n == 2", [1, 3]),
        ("is_missing(t) or is_missing(list)", [2, 3]),
        ("is_missing(f)", [1, 2]),
        ("d == '2024-02-01'", [1]),
        ("at in ['2024-01-01T02:00:00+02:00']", [0]),
        ("'2024-01-01' < at", [1, 3]),
        ("flag == 1", [0, 3]),
        ("n / 2 == 1 if t == 'x' else n > 2", None),
    ],
)
def test_conditions_over_columns_of_any_type(where: str, kept: list[int] | None) -> None:
    instants = [instant("2024-01-01"), instant("2024-01-01T00:00:01"), None, instant("2025-01-01")]
    rows = pl.LazyFrame(
        {
            "place": [0, 1, 2, 3],
            "n": [0, 1, 2, 3],
            "t": ["a", "b", None, "c"],
            "f": [1.0, float("nan"), None, 2.0],
            "at": instants,
            "d": [instant("2024-01-01").date(), instant("2024-02-01").date(), None, None],
            "flag": [True, False, None, True],
            "list": [[1.0], [], [2.0], None],
        }
    )
    if kept is None:
        with pytest.raises(ExpressionError):
            condition(where, rows.collect_schema(), "rows")
        return
    found = condition(where, rows.collect_schema(), "rows")(rows).collect(engine="streaming")
    assert sorted(found["place"]) == kept
