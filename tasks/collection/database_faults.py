"""What a database of others has against being read, in no words but ours."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from expectations.data import SourceContext
from expectations.durations import Duration
from expectations.errors import SourceError, SourceUnreachableError
from expectations.masking import MASK, mask
from expectations.variables import variable_names

_MAX_CHARACTERS = 300
_STATEMENT_OF_SQLITE = (
    "no such ",
    "near ",
    "ambiguous column",
    "unrecognized token",
    "incomplete input",
    "wrong number of",
)
"""How faults of a statement begin, none of which holds a value of a row."""
_TRANSIENT_CLASSES = ("08", "40", "53", "55", "57")
"""SQLSTATE's classes of what may be over the next time: connections, conflicts, resources, locks, the operator."""
_STARTING = ("starting up", "shutting down", "recovery mode", "too many", "remaining connection slots")


class DatabaseFaults:
    """Says what a database has against being read."""

    def __init__(self, context: SourceContext, address: str, url: URL, timeout: Duration) -> None:
        self._context, self._timeout = context, timeout
        self._expected = f"an answer from {mask(address)} for the source {context.name!r}"
        filled = (url.username, url.host, url.database) if variable_names(address) else ()
        self._hidden = [text for text in (url.password, *filled) if isinstance(text, str) and text]

    def too_late(self) -> SourceUnreachableError:
        """Return that it takes too long."""
        remedy = "Ask for fewer rows, or by a column that has an index; or raise `timeout` of the source"
        return SourceUnreachableError(self._expected, f"not all of it within {self._timeout}", remedy)

    @contextmanager
    def said(self) -> Iterator[None]:
        """Raise what is wrong in words of ours, without the driver's own trace."""
        try:
            yield
        except DBAPIError as error:
            raise self._of(error) from None
        except SQLAlchemyError as error:
            raise self._unsaid(error) from None
        except (OverflowError, UnicodeError) as error:  # of the driver, as it reads a value
            raise self._unsaid(error) from None

    def _of(self, error: DBAPIError) -> SourceError:
        if isinstance(error.orig, sqlite3.Error):
            return self._of_sqlite(error.orig)
        state = getattr(error.orig, "sqlstate", None)
        said = self._first_line(error)
        if state is None and not error.connection_invalidated and not isinstance(error, sa.exc.OperationalError):
            return self._unsaid(error.orig or error)
        if state == "57014":
            return self.too_late()
        if state is None or state[:2] in _TRANSIENT_CLASSES:
            if "FATAL" in said and not any(each in said for each in _STARTING):
                return SourceError(self._expected, said, "Check the address and its login")
            return SourceUnreachableError(self._expected, said, "Check the address and the network, then run again")
        if state == "42501":
            return SourceError(self._expected, said, "Let its login read what the query asks for")
        if state[:2] in ("42", "3F"):
            return self._statement(said)
        if state == "25006":
            return self._statement("a statement that writes")
        if state[:2] in ("28", "3D"):
            return SourceError(self._expected, said, "Check the address and its login")
        return self._unsaid(error.orig or error, state)

    def _of_sqlite(self, error: sqlite3.Error) -> SourceError:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        said = str(error)
        if code == sqlite3.SQLITE_INTERRUPT:
            return self.too_late()
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return SourceUnreachableError(self._expected, "another process holds it locked", "Run again")
        if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            return SourceError(self._expected, "a file that is no database, or damaged", "Bring the file back")
        if code == sqlite3.SQLITE_READONLY:
            return self._statement("a statement that writes")
        if said.startswith(_STATEMENT_OF_SQLITE):
            return self._statement(said)
        return self._unsaid(error, getattr(error, "sqlite_errorname", None))

    def _statement(self, said: str) -> SourceError:
        return SourceError(
            f"a query that the database understands, for the source {self._context.name!r}", said, "Correct the query"
        )

    def _unsaid(self, error: BaseException, code: str | None = None) -> SourceError:
        """Say no more than what kind of fault it is: its words may hold a value of a row."""
        found = type(error).__name__ + (f" ({code})" if code else "")
        return SourceError(self._expected, found, "Try the query in the database's own client, which says more")

    def _first_line(self, error: DBAPIError) -> str:
        said = (str(error.orig).strip().splitlines() or [""])[0]
        said = self._context.variables.hide(mask(said))
        for text in self._hidden:
            said = said.replace(text, MASK)
        return said[:_MAX_CHARACTERS]
