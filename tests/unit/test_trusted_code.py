"""A source that is a function: nothing of a folder runs before it was trusted, as it is; what it returns is exact."""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from click.testing import CliRunner, Result

from expectations.code import MAX_FILES, Code, read_code
from expectations.data import SourceContext
from expectations.errors import SourceError, SourceUnreachableError, UseCaseError
from expectations.loading import load_use_case
from flows.checking import check_use_case
from flows.cli import main
from infra.settings import Settings
from tasks.collection.collecting import collect_sources
from tasks.collection.returned import to_frame
from tasks.collection.sources.python import PythonSource
from tasks.stores.lake import Lake
from tests.conftest import instant

Make = Callable[..., Path]
FEED = """
from pathlib import Path
import polars as pl
from .parts.reading import frame

Path(__file__).with_name("ran").touch()

def rows(since, until):
    with Path(__file__).with_name("calls").open("a") as calls:
        print(since, until, file=calls)
    found = frame(Path(__file__).parent)
    return found if since is None else found.filter(pl.col("time") >= since)
"""
READING = """
import polars as pl

def frame(folder):
    return pl.read_csv(folder / "data" / "rides.csv.gz").with_columns(pl.col("time").str.to_datetime(time_zone="UTC"))
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DRIFTWHEEL_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def folder(make_use_case: Make, home: Path) -> Path:
    made = make_use_case("rentals", {"sources.rides": {"kind": "python", "call": "feed:rows"}})
    (made / "feed.py").write_text(FEED)
    (made / "parts").mkdir()
    (made / "parts" / "reading.py").write_text(READING)
    return made


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def test_nothing_runs_before_it_is_trusted(folder: Path, lake: Lake) -> None:
    findings = {each.what: each for each in check_use_case(Settings(), str(folder))}
    assert not findings["source rides"].good
    assert "never trusted, or that changed since: feed.py, parts/reading.py" in findings["source rides"].found
    assert f"driftwheel add --trust {folder}" in findings["source rides"].found
    assert findings["source weather"].good
    assert "trial" not in findings
    refused = call("add", str(folder))
    assert refused.exit_code == 1
    assert "add --trust" in refused.output
    assert Settings().platform().use_cases() == {}
    for usecase in (load_use_case(str(folder)), Settings().use_case(str(folder))):
        with pytest.raises(SourceError, match="trusted code"):
            collect_sources(usecase, lake, instant("2011-02-01"), b"secret")
    assert not (folder / "ran").exists()


@pytest.mark.slow
def test_what_was_trusted_runs_until_it_changes(folder: Path, lake: Lake) -> None:
    added = call("add", "--trust", str(folder))
    assert added.exit_code == 0, added.output
    assert "its code may run until it changes: feed.py, parts/reading.py" in added.output
    assert not (folder / "ran").exists()  # to register runs nothing

    def collect(as_of: str) -> int:
        return collect_sources(Settings().use_case("rentals"), lake, instant(as_of), b"secret").new

    assert (collect("2011-02-01"), collect("2011-02-01"), collect("2011-03-01")) == (688, 0, 649)
    calls = (folder / "calls").read_text().splitlines()
    assert calls[0] == "None 2011-02-01 00:00:00+00:00"
    assert calls[2].endswith(" 2011-03-01 00:00:00+00:00")
    assert not calls[2].startswith("None")
    assert Settings().use_case(str(folder)).code == Settings().use_case("rentals", "rentals-replay").code
    assert not list(folder.rglob("*.pyc"))

    again = call("add", str(folder))  # nothing changed: nothing is asked
    assert again.exit_code == 0, again.output
    (folder / "parts" / "reading.py").write_text(READING + "\n# another line\n")
    for reference, namespace in (("rentals", None), (str(folder), None), ("rentals", "rentals-replay")):
        with pytest.raises(SourceError, match=r"changed since: feed.py, parts/reading.py"):
            collect_sources(Settings().use_case(reference, namespace), lake, instant("2011-04-01"), b"secret")
    assert call("add", str(folder)).exit_code == 1
    assert call("add", "--trust", str(folder)).exit_code == 0
    assert collect("2011-04-01") > 0


def test_other_words_of_a_use_case_leave_its_code_trusted(folder: Path) -> None:
    call("add", "--trust", str(folder))
    text = (folder / "usecase.yaml").read_text()
    (folder / "usecase.yaml").write_text(text.replace("title: ", "title: Another, "))
    code = Settings().use_case("rentals").code
    assert code is not None
    assert code.trusted
    (folder / "usecase.yaml").write_text(text.replace("feed:rows", "os:getcwd"))
    code = Settings().use_case("rentals").code
    assert code is not None
    assert not code.trusted


def test_trust_ends_with_the_registration(folder: Path) -> None:
    call("add", "--trust", str(folder))
    assert call("remove", "rentals").exit_code == 0
    Settings().platform().add_use_case("rentals", folder, "")
    code = Settings().use_case("rentals").code
    assert code is not None
    assert not code.trusted


def test_a_home_of_before_there_was_trust_gets_its_table(home: Path, folder: Path) -> None:
    home.mkdir(exist_ok=True)
    dump = (Path(__file__).parents[1] / "homes" / "before_findings.sql").read_text()
    assert "trusted_code" not in dump
    with sqlite3.connect(home / "platform.db") as database:
        database.executescript(dump)
    database.close()
    assert call("add", "--trust", str(folder)).exit_code == 0


def source(call: str = "feed:rows", **fields: object) -> PythonSource:
    return PythonSource.model_validate({"kind": "python", "call": call, **fields})


def run(
    folder: Path, *, text: str = "", call: str = "feed:rows", declared: tuple[str, ...] = (), **fields: object
) -> pl.DataFrame:
    if text:
        (folder / "feed.py").write_text(text)
    read = read_code(folder, (call,))
    trusted = Code(read.folder, read.files, read.calls, trusted=True)
    until = datetime(2024, 1, 1, tzinfo=UTC)
    return source(call, **fields).read(SourceContext("feed", folder, set(declared), None, None, until, code=trusted))


def test_what_runs_is_what_was_digested(tmp_path: Path) -> None:
    (tmp_path / "feed.py").write_text("def rows(since, until):\n    return [{'x': 1}]\n")
    read = read_code(tmp_path, ("feed:rows",))
    (tmp_path / "feed.py").write_text("raise RuntimeError")  # meanwhile
    trusted = Code(read.folder, read.files, read.calls, trusted=True)
    found = source().read(SourceContext("feed", tmp_path, set(), None, code=trusted))
    assert found.to_dicts() == [{"x": 1}]


def test_modules_of_two_folders_do_not_know_each_other(tmp_path: Path) -> None:
    before = set(sys.modules)
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "shared.py").write_text(f"NAME = {name!r}\n")
        text = "from .shared import NAME\ncount = 0\ndef rows(since, until):\n    return [{'name': NAME}]\n"
        assert run(tmp_path / name, text=text)["name"].to_list() == [name]
    same = (
        "seen = []\ndef rows(since, until):\n    seen.append(1)\n    return [{'seen': len(seen), 'file': __file__}]\n"
    )
    for name in ("one", "other"):  # also where they say the same
        (tmp_path / name / "shared.py").write_text("")
        found = run(tmp_path / name, text=same).to_dicts()
        assert found == [{"seen": 1, "file": str(tmp_path / name / "feed.py")}]
    assert not {"feed", "shared"} & (set(sys.modules) - before)
    assert run(tmp_path / "one", text="def rows(since, until):\n    return [{'x': 1}]\n").to_dicts() == [{"x": 1}]


def test_a_module_of_the_folder_comes_before_an_installed_one(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("def dumps(since, until):\n    return [{'x': 'mine'}]\n")
    assert run(tmp_path, call="json:dumps")["x"].to_list() == ["mine"]
    assert json.dumps(1) == "1"


def test_a_function_of_a_package_is_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "acme_feed.py").write_text(
        "class Feed:\n    @staticmethod\n    def rows(since, until):\n        yield {'x': since, 'y': until}\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    (tmp_path / "use").mkdir()
    found = run(tmp_path / "use", call="acme_feed:Feed.rows")
    assert found.to_dicts() == [{"x": None, "y": datetime(2024, 1, 1, tzinfo=UTC)}]


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("def rows(since, until):\n    raise ValueError('Anna Smith')\n", SourceError, "ValueError at feed.py:2"),
        ("def rows(since, until):\n    yield {'x': 1}\n    {}['Anna Smith']\n", SourceError, "KeyError at feed.py:3"),
        ("def rows(since, until):\n    int('Anna Smith')\n", SourceError, "ValueError at feed.py:2"),
        ("import nix\n", SourceError, "ModuleNotFoundError at feed.py:1.*Install the package that has the module nix"),
        ("import beside\n", SourceError, "It lies beside: write `from . import beside`"),
        ("def rows(:\n", SourceError, "SyntaxError at feed.py:1"),
        ("raise SystemExit(1)\n", SourceError, "SystemExit at feed.py:1"),
        ("def other():\n    pass\n", SourceError, "AttributeError.*called as function"),
        ("def rows():\n    pass\n", SourceError, "TypeError.*called as function"),
        ("def rows(since, until):\n    raise TimeoutError('x')\n", SourceUnreachableError, "TimeoutError at feed.py:2"),
        ("def rows(since, until):\n    raise ConnectionResetError\n", SourceUnreachableError, "at feed.py:2"),
        ("def rows(since, until):\n    return None\n", SourceError, "a value of the type NoneType"),
        ("def rows(since, until):\n    return 'Anna Smith'\n", SourceError, "a value of the type str"),
        ("def rows(since, until):\n    return {'x': [1]}\n", SourceError, "a value of the type dict"),
        ("def rows(since, until):\n    return [1, 2]\n", SourceError, "a value of the type int"),
        ("def rows(since, until):\n    return [{'x': 1}, 2]\n", SourceError, "a value of the type int"),
    ],
)
def test_faults_name_the_place_and_no_value(tmp_path: Path, text: str, error: type[SourceError], says: str) -> None:
    (tmp_path / "beside.py").write_text("")
    with pytest.raises(error, match=says) as caught:
        run(tmp_path, text=text)
    assert type(caught.value) is error
    assert "Anna" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


SLOW = "from threading import Event\nnever = Event()\ndef rows(since, until):\n    {}\n"


@pytest.mark.parametrize("slow", ["never.wait(60)", "yield {'x': 1}\n    never.wait(60)\n    yield {'x': 2}"])
def test_what_takes_too_long_is_not_waited_for(tmp_path: Path, slow: str) -> None:
    begun = time.monotonic()
    with pytest.raises(SourceUnreachableError, match=r"not all of them within 1s.*raise `timeout`"):
        run(tmp_path, text=SLOW.format(slow), timeout="1s")
    assert time.monotonic() - begun < 30


def test_a_fault_that_is_ours_is_said_as_it_is(tmp_path: Path) -> None:
    text = (
        "from expectations.errors import SourceUnreachableError\n"
        "def rows(since, until):\n    raise SourceUnreachableError('an answer', 'none', 'Wait')\n"
    )
    with pytest.raises(SourceUnreachableError, match=r"expected an answer; found none\. Wait"):
        run(tmp_path, text=text)


def test_too_much_code_is_refused(folder: Path) -> None:
    (folder / "many").mkdir()
    for number in range(MAX_FILES):
        (folder / "many" / f"m{number}.py").touch()
    with pytest.raises(UseCaseError, match="more than 1,000 Python files"):
        load_use_case(str(folder))


@pytest.mark.parametrize("name", ["feed", "feed:", ":rows", "feed:rows()", "../feed:rows", "feed.:rows", "a b:c"])
def test_an_address_is_a_module_and_a_function(name: str) -> None:
    with pytest.raises(ValueError, match="pattern"):
        source(name)


FRAME = pl.DataFrame({"n": [1, 2], "x": [0.5, None], "t": ["a", None], "w": [datetime(2024, 1, 1, tzinfo=UTC)] * 2})


def _iterator() -> Iterator[pl.DataFrame]:
    yield FRAME[:1]
    yield FRAME[1:].select(reversed(FRAME.columns))


@pytest.mark.parametrize(
    "value",
    [
        FRAME,
        FRAME.lazy(),
        FRAME.to_arrow(),
        FRAME.to_arrow().to_reader(),
        FRAME.to_pandas(),
        FRAME.to_dicts(),
        (row for row in FRAME.to_dicts()),
        _iterator(),
        [FRAME.to_pandas()[:1], FRAME.to_arrow().slice(1)],
        FRAME.to_arrow().to_batches(),
    ],
    ids=["polars", "lazy", "arrow", "reader", "pandas", "dicts", "generator", "frames", "tables", "batches"],
)
def test_tables_of_every_kind_are_the_same(value: object) -> None:
    found = to_frame(value, "feed", set(), 100)
    assert found.columns == FRAME.columns
    assert found.with_columns(pl.col("w").dt.cast_time_unit("us")).equals(FRAME)


def test_nothing_is_no_rows() -> None:
    for value in ([], iter(()), FRAME.head(0)):
        assert to_frame(value, "feed", set(), 100).is_empty()


@pytest.mark.parametrize(
    ("table", "declared", "found"),
    [
        (pl.DataFrame({"x": [float("nan"), 1.0]}), (), [None, 1.0]),
        (pd.DataFrame({"x": [np.nan, 1.0]}), (), [None, 1.0]),
        (pd.DataFrame({"x": pd.array([1, None], dtype="Int64")}), (), [1, None]),
        (pl.DataFrame({"x": pl.Series([Decimal("1.50")])}), ("x",), ["1.50"]),
        (pl.DataFrame({"x": pl.Series([2**64 - 1], dtype=pl.UInt64)}), ("x",), [str(2**64 - 1)]),
        (pl.DataFrame({"x": pl.Series([2**64 - 1], dtype=pl.UInt64)}), (), "which it would round"),
        (pl.DataFrame({"x": pl.Series([Decimal(2**53 + 1)])}), (), "which it would round"),
        ([None, {"x": 1}, {"x": 2}], (), "a value of the type NoneType"),
        (pl.DataFrame({"x": [[1]]}), (), "numbers, texts, booleans"),
        (pl.DataFrame({"x": [b"a"]}), (), "Binary"),
        (pd.DataFrame({"x": [1, "a"]}), (), "pandas"),
        (pd.DataFrame([[1, 2]], columns=["x", "x"]), (), "pandas"),
        ([pl.DataFrame({"x": [1]}), pl.DataFrame({"y": [1]})], (), "x, y not in all"),
        ([pl.DataFrame({"x": [1]}), pl.DataFrame({"x": ["a"]})], (), "one type.*x"),
        ([pl.DataFrame({"x": [1]}), pl.DataFrame({"x": [0.5]})], (), [1.0, 0.5]),
        ([pl.DataFrame({"x": [2**53 + 1]}), pl.DataFrame({"x": [0.5]})], (), "one type.*x"),
        ([pl.DataFrame({"x": [None]}), pl.DataFrame({"x": [2**53 + 1]})], (), [None, 2**53 + 1]),
        (pl.DataFrame({"x": np.zeros(200_000)}), (), "at most 1 MB"),
        ([pl.DataFrame({"x": np.zeros(100_000)})] * 2, (), "at most 1 MB"),
        (({"x": float(n)} for n in range(200_000)), (), "at most 1 MB"),
        (pa.table({"x": pa.array([1, 2], pa.duration("s"))}), (), "Duration"),
    ],
)
def test_tables_are_exact_or_refused(table: Any, declared: tuple[str, ...], found: object) -> None:
    if isinstance(found, str):
        with pytest.raises(SourceError, match=found):
            to_frame(table, "feed", set(declared), 1)
    else:
        assert to_frame(table, "feed", set(declared), 1)["x"].to_list() == found
