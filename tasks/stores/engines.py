"""How the platform database is opened, for writing and for reading, and what its faults are in words."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, MetaData, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError
from sqlalchemy.pool import NullPool, StaticPool

from expectations.errors import BusyError, DatabaseError, DriftwheelError, StorageError, UnreachableError
from expectations.masking import mask
from tasks.stores.files import storing
from tasks.stores.migrations import NEWEST, bring_up_to_date, revision_of

_WRITERS = 4_820_001
"""Number of the lock writers queue for on Postgres; any will do, if it is always the same."""
_BUSY_SECONDS = 10
"""How long one waits for another's transaction. Ours take milliseconds."""
_CONNECT_SECONDS = 10
_WORKING_ROOM = 2**20
"""Bytes SQLite needs beside a database to open it in the ordinary way."""
READING = "driftwheel_reading"
"""Option of a connection that only reads."""


_engines: dict[tuple[str, MetaData], Engine] = {}


def engine_to_write(url: str, tables: MetaData) -> Engine:
    """Return the engine of a database, with its tables made where they are not; one a process."""
    key = (url, tables)
    if key not in _engines:
        _engines[key] = _make_engine(url, tables)
    return _engines[key]


def close_engines() -> None:
    """Let go of every database this process holds open, as where its home is taken away."""
    for engine in _engines.values():
        engine.dispose()
    _engines.clear()


def _parsed(url: str) -> URL:
    """Parse an address, and find its driver.

    Raises
    ------
    DatabaseError
        If it is no address of a database, or what speaks to it is not installed.
    """
    expected = "the address of the platform database (DRIFTWHEEL_DATABASE)"
    remedy = "Write sqlite:///PATH, or postgresql+psycopg://USER:PASSWORD@HOST/NAME"
    try:
        parsed = make_url(url)
        parsed.get_dialect().import_dbapi()
    except (ArgumentError, NoSuchModuleError) as error:
        raise DatabaseError(expected, mask(str(error)), remedy) from error
    except ImportError as error:
        raise DatabaseError(expected, f"one whose driver is not installed ({error.name})", remedy) from error
    return parsed


def _make_engine(url: str, tables: MetaData) -> Engine:
    parsed = _parsed(url)
    file = _file(parsed)
    if file is not None:
        with storing("make the folder of the platform database,", file.parent):
            file.parent.mkdir(parents=True, exist_ok=True)
    postgres = parsed.get_backend_name() == "postgresql"
    engine = create_engine(
        url, pool_pre_ping=True, connect_args={"connect_timeout": _CONNECT_SECONDS} if postgres else {}
    )
    if file is not None:

        @event.listens_for(engine, "connect")
        def _prepare(connection: Any, _: object) -> None:  # noqa: ANN401 - the driver's own
            connection.isolation_level = None  # transactions are begun by us, below
            connection.execute(f"PRAGMA busy_timeout={_BUSY_SECONDS * 1000}")
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")

        @event.listens_for(engine, "begin")
        def _begin(connection: Connection) -> None:
            reading = connection.get_execution_options().get(READING)
            # who writes takes the lock from the start: no upgrade can fail
            connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    elif postgres:

        @event.listens_for(engine, "begin")
        def _queue(connection: Connection) -> None:
            if not connection.get_execution_options().get(READING):
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITERS})")  # one writer at a time, too

    with ExitStack() as opening:
        opening.callback(engine.dispose)  # one that cannot be opened holds no file, and no connection of a server's
        with engine.connect().execution_options(**{READING: True}) as connection:
            found = revision_of(connection)
        if found != NEWEST:  # only then: whoever only reads a database that is there must not wait for who writes
            with engine.begin() as connection:
                bring_up_to_date(connection, tables)
        opening.pop_all()
    return engine


def upgrade_file(file: Path, tables: MetaData) -> None:
    """Bring a database of SQLite that is not in use to the present version.

    Raises
    ------
    DatabaseError
        If it is damaged, or a later driftwheel wrote it.
    """
    url = f"sqlite:///{file}"
    with faults(url):
        _make_engine(url, tables).dispose()


def _file(url: URL) -> Path | None:
    """Where a database of SQLite lies; None for one of a server's, or in memory."""
    return Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None


def engine_to_read(url: str, tables: MetaData) -> Engine:
    """Return an engine for what only reads, also where nothing can be written."""
    file = _file(_parsed(url))
    if file is None or _can_be_written(file):
        return engine_to_write(url, tables)
    if not file.exists() or not file.stat().st_size:
        return _nothing(tables)
    return create_engine("sqlite://", creator=lambda: connect_to_read(file), poolclass=NullPool)


def connect_to_read(file: Path) -> sqlite3.Connection:
    """Open a database of SQLite for what only reads it, also where nothing can be written."""
    mode = ""
    if not _can_be_written(file):
        beside = file.with_name(f"{file.name}-wal")
        # without a log beside it nobody is writing, and SQLite need not be able to lock
        mode = "?mode=ro" if beside.exists() and beside.stat().st_size else "?immutable=1"
    return sqlite3.connect(
        f"{file.absolute().as_uri()}{mode}", uri=True, timeout=_BUSY_SECONDS, check_same_thread=False
    )


@cache
def _nothing(tables: MetaData) -> Engine:
    """Return an engine of a database without a row: what one reads where none can be made."""
    engine = create_engine("sqlite://", poolclass=StaticPool)
    tables.create_all(engine)
    return engine


def _can_be_written(file: Path) -> bool:
    folder = next(each for each in file.absolute().parents if each.exists())
    if not os.access(folder, os.W_OK) or (file.exists() and not os.access(file, os.W_OK)):
        return False
    return shutil.disk_usage(folder).free >= _WORKING_ROOM


@contextmanager
def faults(url: str) -> Iterator[None]:
    """Say what a database or its disk has against it, in words; faults of ours stay what they are."""
    try:
        yield
    except IntegrityError:
        raise
    except DBAPIError as error:
        parsed = make_url(url)
        file = _file(parsed)
        fault = _fault_of_server(parsed, error) if file is None else _fault_of_file(file, error)
        if fault is None:
            raise
        raise fault from error


def _fault_of_server(url: URL, error: DBAPIError) -> DriftwheelError | None:
    state = getattr(error.orig, "sqlstate", None)
    if state is not None and state[:2] not in ("08", "53", "57"):  # connections, resources, the operator
        return None
    return UnreachableError(
        f"the platform database at {url.render_as_string(hide_password=True)}",
        str(error.orig).strip().splitlines()[0][:300],
        "Start it, or wait until it answers, and run again; what was committed stays",
    )


def _fault_of_file(file: Path, error: DBAPIError) -> DriftwheelError | None:
    code, said = getattr(error.orig, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF, str(error.orig)
    match code:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return BusyError(
                f"the platform database {file} free within {_BUSY_SECONDS} s",
                "another process that holds it locked",
                f"Wait until it ends, or find it (`fuser {file}`), then run again",
            )
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return DatabaseError(
                f"a platform database in {file}",
                f"it is damaged: {said}",
                "Bring the home back from a backup (`driftwheel restore`); or move this file away: a new one begins "
                "without the ledger, and use cases are to be added again",
            )
        case sqlite3.SQLITE_FULL | sqlite3.SQLITE_IOERR | sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN:
            return StorageError(f"to read and write the platform database {file}", *_reason(file, said))
        case _:
            if said.startswith(("no such table", "no such column")):
                return DatabaseError(
                    f"the tables of this version of driftwheel in {file}",
                    said,
                    "Use the version that wrote it, or bring the home back from a backup of this one",
                )
            return None


def _reason(file: Path, said: str) -> tuple[str, str]:
    """Return what is wrong with the disk or the file, and what to do: SQLite's own words say little."""
    folder = file.parent
    if file.is_dir():
        return f"a folder in its place ({said})", "Move it away, or set DRIFTWHEEL_HOME to another folder"
    if not folder.exists():
        return f"no folder {folder} ({said})", "Check DRIFTWHEEL_HOME: its disk may not be mounted"
    if shutil.disk_usage(folder).free < _WORKING_ROOM:
        return f"no space left on its disk ({said})", "Free some room there, or set DRIFTWHEEL_HOME to another disk"
    if not os.access(folder, os.W_OK) or not os.access(file if file.exists() else folder, os.W_OK):
        remedy = "Let the user that runs this write there, mount the disk for writing, or use another DRIFTWHEEL_HOME"
        return f"no permission to write there ({said})", remedy
    return said, "Look at the system's log: the disk may be failing"
