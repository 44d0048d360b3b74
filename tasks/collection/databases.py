"""Read a database of others: in batches, in a transaction that only reads, its faults in no words but ours.

What a driver says of a row, a login or an address may hold what must not be logged; what it says of a statement names
tables and columns.
"""

from __future__ import annotations

import sqlite3
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import polars as pl
import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.pool import NullPool

from expectations.data import SourceContext
from expectations.durations import Duration
from expectations.errors import SourceError
from expectations.files import open_regular
from expectations.masking import mask
from tasks.collection.addresses import local_path
from tasks.collection.batches import Batches
from tasks.collection.database_faults import DatabaseFaults
from tasks.collection.statements import asked_for, with_plain_colons

_BATCH = 10_000
"""Rows that are held as Python values at a time."""
_CONNECT_SECONDS = 10
_BEGINNING = datetime(1000, 1, 1, tzinfo=UTC)
"""Stands for `:since` where all rows are wanted: before it nothing changed, and each database has it."""
_STEPS_BETWEEN_LOOKS = 100_000
"""Of SQLite's machine, between two looks at the time."""
_POSTGRES_TYPES: dict[int, pl.DataType] = {
    **dict.fromkeys((20, 21, 23), pl.Int64()),
    **dict.fromkeys((700, 701, 1700), pl.Float64()),
    **dict.fromkeys((25, 1042, 1043, 2950), pl.String()),
    **dict.fromkeys((1082, 1114, 1184), pl.Datetime("us", "UTC")),
    16: pl.Boolean(),
}
"""By the numbers Postgres gives its types."""


class Wanted(NamedTuple):
    """What is asked of a database: a query or a table, and the zone of its instants that have none."""

    query: str | None
    table: str | None
    zone: str


def read_database(
    context: SourceContext, address: str, wanted: Wanted, timeout: Duration, max_megabytes: int
) -> pl.DataFrame:
    """Read what a query answers.

    Raises
    ------
    SourceError
        If the address, its login or the statement is wrong, there is more than `max_megabytes`, or a value that no
        column can hold.
    SourceUnreachableError
        If the database does not answer, or not in time.
    """
    url = _url(context, address)
    faults = DatabaseFaults(context, address, url, timeout)
    deadline = time.monotonic() + timeout.approximate_seconds
    with faults.said():
        engine = _engine(context, url, address, deadline)
    try:
        with faults.said(), engine.connect() as connection:
            _limit(connection, wanted.zone, timeout)
            statement = _statement(context, wanted, connection.dialect.name)
            with connection.execution_options(yield_per=_BATCH).execute(statement) as result:
                return _read(result, context, max_megabytes, faults, deadline)
    finally:
        engine.dispose()


def _read(
    result: sa.CursorResult[Any], context: SourceContext, max_megabytes: int, faults: DatabaseFaults, deadline: float
) -> pl.DataFrame:
    columns = list(result.keys())
    _refuse_repeated(context.name, columns)
    types = _types(result) if result.dialect.name == "postgresql" else {}
    batches = Batches(context.name, context.declared, max_megabytes)
    batches.add(columns, [])
    for rows in result.partitions(_BATCH):
        batches.add(columns, rows)
        if time.monotonic() > deadline:
            raise faults.too_late()
    return batches.frame(types)


def _url(context: SourceContext, address: str) -> URL:
    """Parse an address, and fill in its variables afterwards: a password may hold what would end it."""
    fill, name = context.variables.fill, context.name
    try:
        if "://" not in address:  # a variable holds all of it
            return _with_driver(make_url(fill(name, address)))
        try:
            url = make_url(address)
        except ValueError:  # a port that is a variable is no number
            return _with_driver(make_url(fill(name, address)))
    except (ArgumentError, ValueError):
        raise SourceError(
            f"the address of a database for the source {name!r}",
            mask(address),
            "Write for example sqlite:///shop.db, or postgresql://USER:${PASSWORD}@HOST/NAME",
        ) from None

    def filled(part: str | None) -> str | None:
        return fill(name, part) if part else part

    query = {
        key: fill(name, value) if isinstance(value, str) else tuple(fill(name, each) for each in value)
        for key, value in url.query.items()
    }
    driver, database = fill(name, url.drivername), filled(url.database)
    host, user, password = filled(url.host), filled(url.username), filled(url.password)
    return _with_driver(URL.create(driver, user, password, host, url.port, database, query))


def _with_driver(url: URL) -> URL:
    """Return the address with the driver that is here."""
    return url.set(drivername="postgresql+psycopg") if url.drivername in ("postgres", "postgresql") else url


def _engine(context: SourceContext, url: URL, address: str, deadline: float) -> sa.Engine:
    expected = f"a database that can be read for the source {context.name!r}"
    try:
        dialect = url.get_dialect()
        driver = dialect.import_dbapi()
    except NoSuchModuleError:
        raise SourceError(
            expected, f"{url.drivername}, of which SQLAlchemy knows nothing", "Correct it, or install its dialect"
        ) from None
    except ImportError as error:
        raise SourceError(
            expected, f"{url.drivername}, whose driver is not installed ({error.name})", "Install it"
        ) from None
    if dialect.is_async:
        raise SourceError(expected, f"{url.drivername}, a driver for asyncio", "Name another driver") from None
    if url.get_backend_name() == "sqlite":
        file = _file_of(context, url, address)
        return sa.create_engine("sqlite://", creator=lambda: _open_file(file, deadline), poolclass=NullPool)
    options: dict[str, Any] = {"connect_timeout": _CONNECT_SECONDS} if url.get_backend_name() == "postgresql" else {}
    return sa.create_engine(url, module=driver, connect_args=options, poolclass=NullPool, hide_parameters=True)


def _file_of(context: SourceContext, url: URL, address: str) -> Path:
    file = context.folder / local_path(url.database or "")
    try:
        open_regular(file).close()
    except OSError as error:
        found = "nothing" if isinstance(error, FileNotFoundError) else error.strerror
        raise SourceError(
            f"a file of SQLite for the source {context.name!r}",
            f"{found} at {mask(address)}",
            "Check the path (sqlite:///shop.db lies in the use case's folder, sqlite:////data/shop.db in /data)",
        ) from None
    return file


def _open_file(file: Path, deadline: float) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=_CONNECT_SECONDS)
    connection.set_progress_handler(lambda: int(time.monotonic() > deadline), _STEPS_BETWEEN_LOOKS)
    return connection


def _limit(connection: sa.Connection, zone: str, timeout: Duration) -> None:
    """Let a connection only read, in the zone of its instants, and for so long."""
    match connection.dialect.name:
        case "postgresql":
            connection.execution_options(postgresql_readonly=True)
            set_ = "select set_config('TimeZone', :zone, true), set_config('statement_timeout', :most, true)"
            connection.execute(sa.text(set_), {"zone": zone, "most": f"{int(timeout.approximate_seconds * 1000)}"})
        case "sqlite":
            connection.exec_driver_sql("PRAGMA query_only = ON")


def _statement(context: SourceContext, wanted: Wanted, dialect: str) -> sa.Executable:
    if wanted.query is None:
        schema, _, name = (wanted.table or "").rpartition(".")
        return sa.select(sa.literal_column("*")).select_from(sa.table(name, schema=schema or None))
    instants = {"since": context.since or _BEGINNING, "until": context.until or datetime.now(UTC)}
    bound = [_bound(name, instants[name], wanted.zone, dialect) for name in asked_for(wanted.query)]
    return sa.text(with_plain_colons(wanted.query)).bindparams(*bound)


def _bound(name: str, instant: datetime, zone: str, dialect: str) -> sa.BindParameter[Any]:
    """Give an instant to a database as it compares them: SQLite as its texts, others but Postgres without a zone."""
    if dialect == "postgresql":
        return sa.bindparam(name, instant, type_=sa.DateTime(timezone=True))
    local = instant.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    if dialect == "sqlite":
        return sa.bindparam(name, local.isoformat(" "), type_=sa.String())
    return sa.bindparam(name, local, type_=sa.DateTime())


def _refuse_repeated(name: str, columns: list[str]) -> None:
    twice = sorted({column for column in columns if columns.count(column) > 1})
    if twice:
        raise SourceError(
            f"each column once in the source {name!r}",
            f"{', '.join(twice)} several times in what the query answers",
            "Name each column, and give one of them another name by `as`",
        )


def _types(result: sa.CursorResult[Any]) -> dict[str, pl.DataType]:
    """Return the types of columns, by name, of which a batch may hold no value."""
    described = (result.cursor.description if result.cursor is not None else None) or ()
    return {each[0]: _POSTGRES_TYPES[each[1]] for each in described if each[1] in _POSTGRES_TYPES}
