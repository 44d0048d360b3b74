"""A source in a real Postgres: exact values, what changed since, memory that does not grow, faults in words."""

from __future__ import annotations

import json
import os
import pwd
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import polars as pl
import psycopg
import pytest

from expectations.data import Clock, ColumnSpec, SourceContext
from expectations.errors import SourceError, SourceUnreachableError
from expectations.variables import Variables
from expectations.windows import Window
from tasks.collection.sources.sql import SqlSource
from tasks.collection.types import cast_column
from tasks.stores.database import Database
from tasks.stores.engines import close_engines
from tasks.stores.measurements import measurement_of
from tests.conftest import instant

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
PASSWORD = "a/b@c:d%40 e"  # what would end it in an address, were it not filled in as it is
BEFORE = Path(__file__).parents[1] / "homes/before_versions.sql"
pytestmark = [
    pytest.mark.container,
    pytest.mark.skipif(not PROGRAMS, reason="needs Postgres's own programs: make test-containers"),
]
Read = Callable[..., pl.DataFrame]


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("postgres")
    owner: dict[str, Any] = {}
    if os.geteuid() == 0:  # Postgres does not run as root
        user = pwd.getpwnam("postgres")
        owner = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        for each in (folder, *list(folder.parents)[:2]):
            each.chmod(0o755)
        os.chown(folder, user.pw_uid, user.pw_gid)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = free.getsockname()[1]
    (folder / "password").write_text(PASSWORD)
    (folder / "password").chmod(0o644)
    options = ["--auth=scram-sha-256", f"--pwfile={folder / 'password'}", "--username=reader", "--encoding=UTF8"]
    made = [PROGRAMS[-1] / "initdb", "--pgdata", folder / "data", "--no-sync", "--locale=C", *options]
    subprocess.run(made, check=True, capture_output=True, cwd="/", **owner)
    settings = [f"port={number}", "listen_addresses=127.0.0.1", f"unix_socket_directories={folder}", "fsync=off"]
    given = [argument for setting in settings for argument in ("-c", setting)]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            [PROGRAMS[-1] / "postgres", "-D", folder / "data", *given], stdout=log, stderr=log, cwd="/", **owner
        )
        try:
            _await(number, server)
            yield number
        finally:
            server.terminate()
            server.wait(30)


def _await(port: int, server: subprocess.Popen[bytes]) -> None:
    while True:
        try:
            _connect(port).close()
        except psycopg.OperationalError:
            assert server.poll() is None
        else:
            return


def _connect(port: int) -> psycopg.Connection[Any]:
    return psycopg.connect(
        host="127.0.0.1", port=port, user="reader", password=PASSWORD, dbname="postgres", autocommit=True
    )


@pytest.fixture
def read(port: int, tmp_path: Path) -> Read:
    def read(
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        declared: tuple[str, ...] = (),
        zone: str = "UTC",
        password: str = PASSWORD,
        **fields: object,
    ) -> pl.DataFrame:
        address = f"postgresql://reader:${{PASSWORD}}@127.0.0.1:{port}/postgres"
        source = SqlSource.model_validate_json(json.dumps({"kind": "sql", "address": address, **fields}))
        variables = Variables({"PASSWORD": password})
        clock = Clock(column="local", timezone=zone)
        return source.read(SourceContext("shop", tmp_path, set(declared), clock, since, until, variables))

    return read


@pytest.fixture
def sales(port: int) -> str:
    with _connect(port) as connection:
        connection.execute("drop table if exists sales")
        connection.execute(
            "create table sales (id bigint, price numeric(30, 10), big numeric(25, 0), local timestamp, "
            "changed timestamptz, day date, paid boolean, code uuid, note text, odd float8)"
        )
        connection.execute(
            "insert into sales values (9007199254740993, 1234567890123456789.0123456789, 9223372036854775807, "
            "'2024-03-10 01:30', '2024-03-10 01:30-05', '2024-03-10', true, "
            "'0c7d1a6e-0000-4000-8000-000000000001', 'é, \"x\"', 'NaN'), "
            "(2, null, 7, '2024-07-01 12:00', '2024-07-01 12:00-04', null, null, null, null, 0.1)"
        )
    return "sales"


def test_values_come_as_they_are(read: Read, sales: str) -> None:
    rows = read(table=sales, declared=("price", "big"), zone="America/New_York")
    first, second = rows.to_dicts()
    assert first["id"] == 9007199254740993
    assert (first["price"], first["big"]) == ("1234567890123456789.0123456789", "9223372036854775807")
    assert first["changed"] == instant("2024-03-10T06:30")
    assert (first["paid"], first["note"], first["odd"]) == (True, 'é, "x"', None)
    assert first["code"] == "0c7d1a6e-0000-4000-8000-000000000001"
    assert second["odd"] == 0.1
    assert rows.schema["local"] == pl.Datetime("us")  # the clock's zone is given to it as to those of files
    assert rows.schema["day"] == pl.Date
    whole = cast_column(rows["big"], ColumnSpec(type="integer").type, "shop", None)
    assert whole.to_list() == [9223372036854775807, 7]


def test_without_a_declaration_nothing_is_rounded(read: Read, sales: str) -> None:
    with pytest.raises(SourceError, match=r"'big'.*beyond 2\^53.*Declare big as integer or text"):
        read(table=sales)
    assert read(query="select price::numeric(10, 2) as price from sales where id = 2").height == 1


def test_what_changed_since_is_asked_for_in_the_zone_of_the_rows(read: Read, sales: str) -> None:
    query = f"select id from {sales} where {{}} >= :since and {{}} < :until"
    since, until = instant("2024-07-01T16:00"), instant("2024-07-01T16:01")
    for column, zone, found in (
        ("changed", "UTC", [2]),
        ("changed", "America/New_York", [2]),
        ("local", "America/New_York", [2]),
        ("local", "UTC", []),
    ):
        asked = query.format(column, column)
        assert read(query=asked, since=since, until=until, zone=zone)["id"].to_list() == found
    assert read(query=query.format("changed", "changed"), until=until)["id"].to_list() == [9007199254740993, 2]
    before = read(query=query.format("changed", "changed"), since=since, until=since)
    assert before.schema == {"id": pl.Int64}  # also where there is no row


def test_a_zone_that_is_given_holds_for_all_that_carry_none(read: Read, sales: str) -> None:
    rows = read(query="select local, changed from sales", timezone="America/New_York")
    assert rows["local"].to_list() == [instant("2024-03-10T06:30"), instant("2024-07-01T16:00")]
    assert rows["local"].equals(rows["changed"], check_names=False)


def test_nothing_is_written(read: Read, port: int, sales: str) -> None:
    with _connect(port) as connection:
        connection.execute("create sequence if not exists numbers")
        connection.execute(
            "create or replace function writes() returns int language sql as "
            "'insert into sales(id) values (0) returning 1'"
        )
    for query in ("select nextval('numbers')", "select writes()"):
        with pytest.raises(SourceError, match="a statement that writes"):
            read(query=query)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"query": "select nix from sales"}, 'column "nix" does not exist'),
        ({"query": "select * from nix"}, 'relation "nix" does not exist'),
        ({"query": "select id from"}, "syntax error at end of input"),
        ({"table": "nowhere.sales"}, 'relation "nowhere.sales" does not exist'),
        ({"query": "select 'secret of a row'::int"}, r"InvalidTextRepresentation \(22P02\)"),
        ({"query": "select note::int from sales"}, r"InvalidTextRepresentation \(22P02\)"),
        ({"query": "select 'infinity'::timestamptz as a"}, "DataError"),
        ({"query": "select '1 day'::interval as a"}, "a value of the type timedelta"),
        ({"query": "select id, id from sales"}, "id several times"),
        ({"table": "sales", "password": "wrong one"}, "the address and its login"),
        ({"table": "sales", "address": "postgresql://reader:${PASSWORD}@127.0.0.1:1/postgres"}, "Connection refused"),
        ({"query": "select pg_sleep(20)", "timeout": "1s"}, "not all of it within 1s"),
        ({"query": "select generate_series(1, 1000000) as a", "max_megabytes": 1}, "at most 1 MB"),
    ],
)
def test_faults_are_said_without_what_is_secret(read: Read, sales: str, fields: dict[str, Any], says: str) -> None:
    with pytest.raises(SourceError, match=says) as caught:
        read(**fields)
    words = str(caught.value)
    assert PASSWORD not in words
    assert "secret of a row" not in words
    assert "é" not in words
    assert isinstance(caught.value, SourceUnreachableError) == any(each in says for each in ("refused", "within"))
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


MANY = """
import resource, sys, json
from pathlib import Path
from tasks.collection.sources.sql import SqlSource
from expectations.data import SourceContext
from expectations.variables import Variables
source = SqlSource.model_validate_json(sys.argv[1])
def read(rows):
    query = f"select i, i * 0.5::float8 as x, 'a text of some length' as t from generate_series(1, {rows}) i"
    asked = source.model_copy(update={"query": query})
    found = asked.read(SourceContext("shop", Path("."), set(), None, variables=Variables({"PASSWORD": sys.argv[2]})))
    return found.height, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3, found.estimated_size() / 1e6
read(10_000)
_, before, _ = read(10_000)
rows, after, held = read(1_000_000)
print(json.dumps([rows, after - before, held]))
"""


def test_many_rows_take_little_more_than_they_are(port: int) -> None:
    address = f"postgresql://reader:${{PASSWORD}}@127.0.0.1:{port}/postgres"
    source = json.dumps({"kind": "sql", "address": address, "query": "select 1"})
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", MANY, source, PASSWORD],
        env={**os.environ, "PYTHONPATH": root},
        check=True,
        capture_output=True,
        text=True,
    )
    rows, grown, held = json.loads(done.stdout)
    assert rows == 1_000_000
    assert grown < 3 * held + 50, "megabytes"  # as Python objects they would be about eight times as large


def test_until_is_now_where_nobody_says(read: Read) -> None:
    found = read(query="select :until::timestamptz as a, :since::timestamptz as b")
    assert abs((found["a"][0] - datetime.now(UTC)).total_seconds()) < 60
    assert found["b"][0] == datetime(1000, 1, 1, tzinfo=UTC)


def test_a_platform_database_of_before_versions_is_brought_to_the_present_one(port: int) -> None:
    url = f"postgresql+psycopg://reader:{quote(PASSWORD, safe='')}@127.0.0.1:{port}/postgres"
    with _connect(port) as connection:
        for statement in re.findall(r"CREATE TABLE (?:turns|measurements) .*?;", BEFORE.read_text(), re.DOTALL):
            connection.execute(statement.replace("DATETIME", "TIMESTAMP WITH TIME ZONE").encode())
        content = '{"champion": "b1", "status": "good", "start": "x"}'
        connection.execute("INSERT INTO measurements VALUES (1, 'pumps', '2026-03-01', '2026-03-08', %s)", [content])
    database = Database(url)
    assert database.count_measurements("pumps", champion="b1", known=True) == 1
    later = measurement_of(Window(instant("2026-03-08"), instant("2026-03-15")), champion="b1")
    database.put_measurement("pumps", later)
    assert database.count_measurements("pumps", champion="b1") == 2
    close_engines()  # the server waits for who is connected
    with _connect(port) as connection, pytest.raises(psycopg.errors.NotNullViolation):
        connection.execute("INSERT INTO measurements VALUES (9, 'pumps', '2026-04-01', '2026-04-08', '{}')")
