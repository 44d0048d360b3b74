"""Versions of the platform database: a home that an earlier driftwheel wrote is brought to the present one.

Another version is one module in `versions`, and its number here. A database without a table is made as it is now.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Column, Connection, MetaData, String, Table, inspect, select

from expectations.errors import DatabaseError

NEWEST = "0004"
"""Revision of the newest version: the last module of `versions`."""
TABLE = "driftwheel_version"
_version = Table(TABLE, MetaData(), Column("version_num", String(32), primary_key=True))


def revision_of(connection: Connection) -> str | None:
    """Return the revision a database is of; None of one without a table, or of before they were numbered."""
    if not inspect(connection).has_table(TABLE):
        return None
    return connection.execute(select(_version.c.version_num)).scalar()


def bring_up_to_date(connection: Connection, tables: MetaData) -> None:
    """Make the tables of the present version, or change those that are there, inside a transaction.

    Raises
    ------
    DatabaseError
        If a later driftwheel wrote it.
    """
    found = revision_of(connection)  # anew: another process may have been quicker
    if found == NEWEST:
        return
    if found is not None and found > NEWEST:
        raise DatabaseError(
            f"a platform database of version {NEWEST} or older",
            f"version {found}: a later driftwheel wrote it",
            "Use that one, or bring a home back from a backup of this one (`driftwheel restore`)",
        )
    if found is None and not inspect(connection).has_table("turns"):
        tables.create_all(connection)
        _version.create(connection)
        connection.execute(_version.insert().values(version_num=NEWEST))
        return
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
