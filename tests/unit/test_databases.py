"""A source in a database of SQLite: exact, read only, what changed since alone, faults in words."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import polars as pl
import pytest
import yaml
from pydantic import ValidationError

from expectations.data import Clock, SourceContext
from expectations.errors import SourceError, SourceUnreachableError, UseCaseError
from expectations.loading import load_use_case
from expectations.variables import Variables
from infra.settings import Settings
from tasks.cleaning.cleaning import clean_batches
from tasks.collection.batches import Batches, records
from tasks.collection.collecting import Collected, collect_sources
from tasks.collection.sources.sql import SqlSource
from tasks.collection.statements import check_query
from tasks.collection.types import cast_column
from tasks.stores.known import Known
from tasks.stores.lake import Lake
from tests.conftest import instant

Make = Callable[..., Path]
BIG = 9007199254740993
"""The first whole number that a float does not hold."""
NOON = datetime(2024, 1, 1, 12)  # noqa: DTZ001 - of a column without a zone


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    with sqlite3.connect(tmp_path / "shop.db") as database:
        database.execute("create table sales (id integer, price real, code text, changed text)")
        database.executemany(
            "insert into sales values (?, ?, ?, ?)",
            [
                (BIG, 1.5, "007", "2024-01-01 00:00:00"),
                (2, None, "a: b", "2024-02-01 00:00:00"),
                (3, 2.0, None, "2024-03-01 00:00:00"),
            ],
        )
    database.close()
    return tmp_path


def read(
    folder: Path,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    declared: Sequence[str] = (),
    zone: str = "UTC",
    variables: Variables | None = None,
    **fields: object,
) -> pl.DataFrame:
    written = json.dumps({"kind": "sql", "address": "sqlite:///shop.db", **fields})
    context = SourceContext("shop", folder, set(declared), Clock(column="changed", timezone=zone), since, until)
    source = SqlSource.model_validate_json(written)
    return source.read(context._replace(variables=variables or Variables()))


def test_a_table_is_read_as_it_is(shop: Path) -> None:
    rows = read(shop, table="sales")
    assert rows.schema == {"id": pl.Int64, "price": pl.Float64, "code": pl.String, "changed": pl.String}
    assert rows["id"].to_list() == [BIG, 2, 3]
    assert rows["price"].to_list() == [1.5, None, 2.0]
    assert rows["code"].to_list() == ["007", "a: b", None]


@pytest.mark.parametrize(
    ("since", "until", "zone", "found"),
    [
        (None, "2024-02-01", "UTC", [BIG]),
        ("2024-02-01", "2024-03-01", "UTC", [2]),
        ("2024-02-01T05:00", "2024-03-01T05:00", "America/New_York", [2]),
        ("2024-02-01T05:00:00.000001", "2024-03-01T05:00:00.000001", "America/New_York", [3]),
        ("2024-03-02", "2024-03-03", "UTC", []),
    ],
)
def test_what_changed_since_is_asked_for(
    shop: Path, since: str | None, until: str, zone: str, found: list[int]
) -> None:
    query = "select * from sales where changed >= :since and changed < :until"
    rows = read(shop, query=query, since=instant(since) if since else None, until=instant(until), zone=zone)
    assert rows["id"].to_list() == found
    assert rows.columns == ["id", "price", "code", "changed"]


def test_the_zone_of_a_source_is_that_of_its_instants(shop: Path) -> None:
    asked = {"query": "select :since as a", "timezone": "Asia/Tokyo", "zone": "UTC", "since": instant("2024-02-01")}
    assert read(shop, **asked)["a"].to_list() == ["2024-02-01 09:00:00"]


def test_a_colon_is_no_variable_where_it_stands_in_quotes(shop: Path) -> None:
    query = "select id, ':since' as a, \"code\" as \"b:c\" -- :nix\n from sales where code = 'a: b' /* ':until */;"
    assert read(shop, query=query).to_dicts() == [{"id": 2, "a": ":since", "b:c": "a: b"}]


@pytest.mark.parametrize(
    "query",
    [
        "select 1",
        "  (select 1) union all select 2",
        "with a as (select 1 as x) select x from a;",
        "SELECT 'delete; drop' as \"update\" -- insert",
        "select x::text from a where t >= :since::timestamptz",
        r"select arr[1\:n] from a",
        "select $tag$ it's; delete $tag$",
        "select updated, deleted, created_at, replace(x, 'a', 'b') from a",
    ],
)
def test_a_query_that_reads_is_taken(query: str) -> None:
    assert check_query(query) == query


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("delete from sales", "begins with select or with"),
        ("", "begins with select or with"),
        ("-- select\n update sales set id = 1", "begins with select or with"),
        ("pragma writable_schema = 1", "begins with select or with"),
        ("select 1; select 2", "no other statement"),
        ("with a as (delete from sales returning id) select * from a", "says delete"),
        ("select * into copy from sales", "says into"),
        ("select * from sales for update", "says update"),
        ("select 'a", "has no end"),
        ("select 1 /* ", "has no end"),
        ("select :yesterday, :since", r":yesterday; there are :since and :until"),
    ],
)
def test_a_query_that_does_more_is_refused(query: str, says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        SqlSource.model_validate({"kind": "sql", "address": "sqlite:///a.db", "query": query})


@pytest.mark.parametrize("fields", [{}, {"query": "select 1", "table": "a"}])
def test_either_a_query_or_a_table_is_given(fields: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="either `query` or `table`"):
        SqlSource.model_validate({"kind": "sql", "address": "sqlite:///a.db", **fields})


def test_a_file_of_sqlite_is_never_written(shop: Path) -> None:
    before = (shop / "shop.db").read_bytes()
    source = SqlSource.model_validate({"kind": "sql", "address": "sqlite:///shop.db", "table": "sales"})
    hidden = source.model_copy(update={"query": "insert into sales (id) values (9) returning id", "table": None})
    with pytest.raises(SourceError, match="a statement that writes"):
        hidden.read(SourceContext("shop", shop, set(), None))
    assert (shop / "shop.db").read_bytes() == before
    assert sorted(path.name for path in shop.iterdir()) == ["shop.db"]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"query": "select nix from sales"}, "no such column: nix"),
        ({"query": "select * from nix"}, "no such table: nix"),
        ({"query": "select id frm sales where"}, "near|incomplete"),
        ({"query": "select json('{secret') as a"}, r"OperationalError \(SQLITE_ERROR\)"),
        ({"query": "select id, id from sales"}, "id several times in what the query answers"),
        ({"query": "select x'00' as a"}, "a value of the type bytes"),
        ({"query": "select 'text' as a union select 1.5"}, "number, text.*declare a under `columns`"),
        ({"address": "sqlite:///nix.db", "table": "a"}, "nothing at sqlite:///nix.db"),
        ({"address": "sqlite://", "table": "a"}, "it is a folder"),
        ({"address": "sqlite:////dev/zero", "table": "a"}, "it is a device"),
        ({"address": "nonsense", "table": "a"}, "the address of a database.*nonsense"),
        ({"address": "nix://host/db", "table": "a"}, "nix, of which SQLAlchemy knows nothing"),
        ({"address": "mysql+pymysql://u:pw@host/db", "table": "a"}, "driver is not installed.*pymysql.*Install it"),
        ({"address": "sqlite+aiosqlite:///shop.db", "table": "sales"}, "a driver for asyncio"),
        ({"address": "postgresql://u:pw@127.0.0.1:1/db", "table": "a"}, "answer from postgresql://.*onnection refused"),
        ({"address": "postgresql://u:${PW}@127.0.0.1:1/db", "table": "a"}, "PW for the source 'shop'.*not set"),
        ({"query": f"{'select * from sales, ' + ', '.join(f'sales as s{n}' for n in range(30))}"}, "several times"),
        ({"query": f"select count(*) as n from {', '.join(f'sales s{n}' for n in range(25))}", "timeout": "1s"}, "1s"),
        ({"query": "with recursive n(i) as (select 1 union all select i + 1 from n) select i from n",
          "max_megabytes": 1}, "at most 1 MB"),
    ],
)  # fmt: skip
def test_faults_are_said(shop: Path, fields: dict[str, Any], says: str) -> None:
    with pytest.raises(SourceError, match=says) as caught:
        read(shop, **fields)
    assert "pw" not in str(caught.value)
    assert "secret" not in str(caught.value)
    assert isinstance(caught.value, SourceUnreachableError) == (says == "1s" or "refused" in says)


def test_a_file_that_is_no_database_or_locked_is_said_to_be(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (shop / "other.db").write_text("no database at all, and longer than a header is" * 100)
    with pytest.raises(SourceError, match="no database, or damaged"):
        read(shop, address="sqlite:///other.db", table="a")
    monkeypatch.setattr("tasks.collection.databases._CONNECT_SECONDS", 0.1)
    holder = sqlite3.connect(shop / "shop.db", isolation_level=None)
    holder.execute("begin exclusive")
    with pytest.raises(SourceUnreachableError, match="holds it locked"):
        read(shop, table="sales")
    holder.close()
    assert len(read(shop, table="sales")) == 3


def test_no_word_of_a_variable_is_in_an_error(shop: Path) -> None:
    variables = Variables({"URL": "postgresql://anna:s3cret-word@127.0.0.1:1/ledger", "PART": "s3cret-word"})
    for address in ("${URL}", "postgresql://anna:${PART}@127.0.0.1:1/ledger"):
        with pytest.raises(SourceUnreachableError) as caught:
            read(shop, address=address, table="a", variables=variables)
        said = str(caught.value)
        assert not any(word in said for word in ("s3cret", "anna", "ledger")) or address != "${URL}"
        assert "s3cret" not in said + repr(variables) + repr(caught.value.__cause__)
        assert caught.value.__suppress_context__
    with pytest.raises(SourceError, match=r"URL|address of a database") as caught:
        read(shop, address="${URL}", table="a", variables=Variables({"URL": "s3cret-word"}))
    assert "s3cret" not in str(caught.value)


def test_variables_are_filled_in_for_folders_that_were_added(
    make_use_case: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = {"kind": "sql", "address": "sqlite:///${SHOP_FILE}", "table": "sales"}
    folder = make_use_case("rentals", {"sources.rides": source})
    monkeypatch.setenv("DRIFTWHEEL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SHOP_FILE", "shop.db")
    monkeypatch.setenv("OTHER", "not asked for")
    settings = Settings()
    stranger = settings.use_case(str(folder))
    with pytest.raises(SourceError, match=r"SHOP_FILE for the source 'rides'.*a folder that was not added"):
        stranger.variables.fill("rides", "${SHOP_FILE}")
    settings.platform().add_use_case("rentals", folder, stranger.digest)
    for reference in ("rentals", str(folder)):
        assert dict(settings.use_case(reference).variables) == {"SHOP_FILE": "shop.db"}
    assert dict(settings.use_case("rentals", "rentals-replay").variables) == {"SHOP_FILE": "shop.db"}


def test_a_use_case_says_where_a_query_is_wrong(make_use_case: Make) -> None:
    source = {"kind": "sql", "address": "sqlite:///rides.db", "query": "drop table rides"}
    with pytest.raises(UseCaseError, match=r"usecase.yaml:\d+: sources.rides.query: a query begins with select"):
        load_use_case(str(make_use_case("rentals", {"sources.rides": source})))


# --- collected --------------------------------------------------------------------------------------------------------


@pytest.fixture
def rides(make_use_case: Make) -> Path:
    """Bikes in a database, in which each row says when it changed; the weather is joined from there, too."""
    folder = make_use_case()
    tables = {
        name: pl.read_csv(folder / "data" / f"{name}.csv.gz", schema_overrides={"time": pl.String})
        for name in ("rides", "weather")
    }
    with sqlite3.connect(folder / "rides.db") as database:
        for name, frame in tables.items():
            texts = frame.with_columns(pl.col("time").str.replace("T", " ").str.replace("Z", ""))
            database.execute(f"create table {name} ({', '.join(frame.columns)}, changed text)")
            marks = ", ".join("?" * (frame.width + 1))
            database.executemany(f"insert into {name} values ({marks})", texts.with_columns(changed="time").rows())
    database.close()
    data = yaml.safe_load((folder / "usecase.yaml").read_text())
    for name, source in data["sources"].items():
        columns = ", ".join(tables[name].columns)
        query = f"select {columns} from {name} where changed >= :since and changed < :until"
        joined = {"join": source["join"]} if "join" in source else {}
        data["sources"][name] = {"kind": "sql", "address": "sqlite:///rides.db", "query": query, **joined}
    (folder / "usecase.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    return folder


def execute(folder: Path, statement: str, *values: object) -> None:
    with sqlite3.connect(folder / "rides.db") as database:
        database.execute(statement, values)
    database.close()


def collect(folder: Path, lake: Lake, as_of: str) -> Collected:
    usecase = load_use_case(str(folder))
    found = collect_sources(usecase, lake, instant(as_of), b"secret")
    clean_batches(usecase, lake)
    return found


@pytest.mark.slow
def test_steps_read_what_changed_and_bring_what_all_at_once_does(rides: Path, tmp_path: Path) -> None:
    at_once, in_steps = Lake(str(tmp_path / "a"), "x"), Lake(str(tmp_path / "b"), "x")
    whole = collect(rides, at_once, "2011-04-01")
    steps = [collect(rides, in_steps, day) for day in ("2011-01-15", "2011-02-20", "2011-03-01", "2011-04-01")]
    assert sum(step.new for step in steps) == whole.new
    assert steps[-1].read["rides"] < whole.read["rides"] / 2
    assert [step.lost + step.corrected + step.late for step in steps] == [0, 0, 0, 0]
    spec = load_use_case(str(rides)).spec
    seen = [
        Known(lake, spec, instant("2011-04-01")).rows("raw").drop("_batch", "_collected")
        for lake in (at_once, in_steps)
    ]
    assert seen[0].sort("time").equals(seen[1].sort("time"))


def test_twice_adds_nothing_nor_does_a_source_without_anything_new(rides: Path, lake: Lake) -> None:
    first = collect(rides, lake, "2011-02-01")
    assert first.new == 688
    assert collect(rides, lake, "2011-02-01").new == 0
    execute(rides, "delete from rides")
    found = collect(rides, lake, "2011-03-01")
    assert (found.new, found.corrected, found.batch, found.read) == (0, 0, first.batch, {"rides": 0})


def test_a_source_that_is_empty_at_first_is_a_fault(rides: Path, lake: Lake) -> None:
    execute(rides, "delete from rides")
    with pytest.raises(SourceError, match="rows in the source 'rides'; found none"):
        collect(rides, lake, "2011-02-01")


@pytest.mark.slow
def test_late_and_corrected_rows_come_when_they_change(rides: Path, lake: Lake) -> None:
    late, corrected = "2011-01-10 10:00:00", "2011-01-31 05:00:00"
    execute(rides, "update rides set changed = '2011-02-10 00:00:00' where changed = ?", late)
    collect(rides, lake, "2011-02-01")
    execute(rides, "update rides set bikers = 7, changed = '2011-02-03 00:00:00' where changed = ?", corrected)
    found = collect(rides, lake, "2011-02-04")
    assert (found.corrected, found.late) == (1, 0)
    found = collect(rides, lake, "2011-02-20")
    assert (found.corrected, found.late, found.late_from) == (0, 1, "2011-01-10 10:00")


def test_a_source_that_is_joined_is_read_whole(rides: Path, lake: Lake) -> None:
    execute(rides, "update weather set changed = '2011-01-01 00:00:00'")  # nothing of it changed since
    collect(rides, lake, "2011-02-01")
    found = collect(rides, lake, "2011-03-01")
    assert found.new == 649
    assert found.coverage["weather"] == 1.0


def test_rows_of_python_are_columns_of_one_type() -> None:
    local = timezone(timedelta(hours=2))
    columns, rows = records(
        [
            {"n": 1, "x": float("nan"), "d": date(2024, 1, 1), "w": datetime(2024, 1, 1, 2, tzinfo=local)},
            {"n": None, "x": 1, "d": NOON, "w": datetime(2024, 1, 1, tzinfo=UTC), "u": UUID(int=1)},
            {"n": np.int64(3), "x": np.float32(0.5), "b": True, "m": Decimal("0.10")},
        ]
    )
    batches = Batches("s", set(), 100)
    batches.add(columns, rows[:1])
    batches.add(columns, rows[1:])
    found = batches.frame({"never": pl.Int64()})
    assert found["n"].to_list() == [1, None, 3]
    assert found["x"].to_list() == [None, 1.0, 0.5]
    assert found["d"].to_list() == [NOON.replace(hour=0), NOON, None]
    assert found["w"].to_list() == [datetime(2024, 1, 1, tzinfo=UTC)] * 2 + [None]
    assert (found["u"][1], found["b"][2], found["m"][2]) == (str(UUID(int=1)), True, 0.1)


@pytest.mark.parametrize(
    ("values", "declared", "found"),
    [
        ([1, 2.5], False, [1.0, 2.5]),
        ([1, 2.5], True, ["1", "2.5"]),
        ([BIG, 2.5], True, [str(BIG), "2.5"]),
        ([BIG, 2.5], False, SourceError),
        ([Decimal(BIG), None], False, SourceError),
        ([Decimal("1.50"), None], True, ["1.50", None]),
        ([Decimal(f"{BIG}.00")], True, [str(BIG)]),
        ([Decimal("1E+2"), Decimal("NaN")], True, ["100", None]),
        ([2**64], False, SourceError),
        ([2**64], True, [str(2**64)]),
        ([2**63 - 1, -(2**63)], False, [2**63 - 1, -(2**63)]),
        (["a", 1], False, SourceError),
        (["a", 1, True], True, ["a", "1", "true"]),
        ([True, 1], False, SourceError),
        ([NOON, datetime(2024, 1, 1, tzinfo=UTC)], True, SourceError),
        ([NOON, "2024-01-01"], True, SourceError),
        ([b"a"], False, SourceError),
        ([b"a"], True, [b"a"]),  # as of a picture; see below
        ([timedelta(1)], False, SourceError),
        ([[1]], False, SourceError),
    ],
)
def test_nothing_is_rounded_or_guessed(values: list[object], *, declared: bool, found: object) -> None:
    for together in (True, False):  # in one batch, and a batch each
        batches = Batches("s", {"x"} if declared else set(), 100)

        def run(batches: Batches = batches, together: bool = together) -> list[object]:
            for part in [values] if together else [[value] for value in values]:
                batches.add(["x"], [[value] for value in part])
            return batches.frame()["x"].to_list()

        if found is SourceError:
            with pytest.raises(SourceError):
                run()
        else:
            assert run() == found


@pytest.mark.parametrize("declared", ["text", "number", "integer", "boolean", "instant"])
def test_bytes_are_no_value_of_a_column_that_holds_no_pictures(declared: str) -> None:
    batches = Batches("s", {"x"}, 100)
    batches.add(["x"], [[b"a"]])
    with pytest.raises(SourceError, match="Binary"):
        cast_column(batches.frame()["x"], declared, "s", None)
