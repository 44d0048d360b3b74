"""Values that are remembered, each under a name, for a use case; those of none are of the whole platform."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Connection, delete, insert, select, update

from tasks.stores import tables
from tasks.stores.transactions import Transactions


class Marks(Transactions):
    """Keeps and returns remembered values."""

    def mark(self, usecase: str, name: str, value: str) -> None:
        """Remember a value."""
        with self.transaction() as connection:
            self.put_mark(connection, usecase, name, value)

    def put_mark(self, connection: Connection, usecase: str, name: str, value: str) -> None:
        """Remember a value inside a transaction."""
        known = update(tables.marks).where(_named(usecase, name)).values(value=value)
        if not connection.execute(known).rowcount:
            connection.execute(insert(tables.marks).values(usecase=usecase, name=name, value=value))

    def unmark(self, usecase: str, name: str) -> None:
        """Forget a remembered value."""
        with self.transaction() as connection:
            self.remove_mark(connection, usecase, name)

    def remove_mark(self, connection: Connection, usecase: str, name: str) -> None:
        """Forget a remembered value inside a transaction."""
        connection.execute(delete(tables.marks).where(_named(usecase, name)))

    def marked(self, usecase: str, name: str) -> str | None:
        """Return a remembered value."""
        with self.reading() as connection:
            return self.marked_in(connection, usecase, name)

    def marked_in(self, connection: Connection, usecase: str, name: str) -> str | None:
        """Return a remembered value inside a transaction."""
        return connection.execute(select(tables.marks.c.value).where(_named(usecase, name))).scalar_one_or_none()

    def marks_named(self, name: str) -> dict[str, str]:
        """Return the remembered values of a name, by use case."""
        with self.reading() as connection:
            query = select(tables.marks.c.usecase, tables.marks.c.value).where(tables.marks.c.name == name)
            return {row.usecase: row.value for row in connection.execute(query)}

    def marks_of(self, usecase: str, names: Sequence[str]) -> dict[str, str]:
        """Return those of some remembered values that there are."""
        query = select(tables.marks.c.name, tables.marks.c.value)
        with self.reading() as connection:
            rows = connection.execute(query.where(tables.marks.c.usecase == usecase, tables.marks.c.name.in_(names)))
            return {row.name: row.value for row in rows}


def _named(usecase: str, name: str) -> ColumnElement[bool]:
    return (tables.marks.c.usecase == usecase) & (tables.marks.c.name == name)
