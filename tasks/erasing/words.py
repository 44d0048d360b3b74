"""Words that identify a person, in files and databases of anything."""

from __future__ import annotations

import html
import json
import re
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy import String, Text, select, update

from tasks.stores.database import Database
from tasks.stores.files import storing
from tasks.stores.tables import metadata

GONE = "(erased)"
_SECONDS = 10.0
_CONTENT = {"summary", "evidence", "content", "title", "body", "payload", "product", "value"}
"""Columns of the platform database that hold what was written about data; others say what our programs go by."""
_VALUES = {
    *("value", "message", "data", "description", "content", "name"),  # of MLflow and Prefect
    *("dataset_source", "dataset_schema", "dataset_profile", "error_data"),  # of MLflow
    *("parameters", "context", "payload", "related", "state_message", "task_inputs", "metadata_"),  # of Prefect
}
"""Columns of other programs' databases that hold what was sent to them."""


class Words:
    """Finds words where they stand alone, also as JSON and HTML write them.

    Parameters
    ----------
    words : collection of str
        Of none nothing is found.
    """

    def __init__(self, words: Collection[str]) -> None:
        self.spellings = sorted({spelling for word in words for spelling in _spellings(word)}, key=len, reverse=True)
        self._in_text = _Finder(self.spellings, re.UNICODE)
        self._in_bytes = _Finder([each.encode().decode("latin-1") for each in self.spellings], re.ASCII)

    def within(self, content: str) -> bool:
        """Whether a text has one of them."""
        return self._in_text.held(content) is not None

    def without(self, content: str) -> str:
        """Return a text with something in their place; JSON stays JSON."""
        held = self._in_text.held(content)
        return content if held is None else held.sub(GONE, content)

    def file_has(self, path: Path) -> bool:
        """Whether a file has one of them; one that is gone has none.

        Raises
        ------
        StorageError
            If it cannot be read.
        """
        with storing("look for a person in", path):
            try:
                return self._in_bytes.held(path.read_bytes().decode("latin-1")) is not None
            except FileNotFoundError:
                return False


class _Finder:
    """Looks for many words at once: a text is searched for those alone whose longest run of letters it has."""

    def __init__(self, words: Collection[str], flags: re.RegexFlag) -> None:
        self._flags, self._run = flags, re.compile(r"\w+", flags)
        self._by_run: dict[str, list[str]] = {}
        for word in words:  # a word that stands alone has whole runs of the text, all of its own
            self._by_run.setdefault(max(self._run.findall(word), key=len, default=""), []).append(word)

    def held(self, content: str) -> re.Pattern[str] | None:
        """Return what finds the words that a text has; None where it has none."""
        runs = self._by_run.keys() & {"", *self._run.findall(content)}
        words = sorted((word for run in runs for word in self._by_run[run]), key=len, reverse=True)
        found = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, words))})(?!\w)", self._flags) if words else None
        return found if found is not None and found.search(content) else None


def _spellings(word: str) -> Iterator[str]:
    yield word
    yield json.dumps(word)[1:-1]
    yield json.dumps(word, ensure_ascii=False)[1:-1]
    yield html.escape(word)


def strike_from_platform(database: Database, words: Words, names: Collection[str], *, dry_run: bool) -> int:
    """Put something in their place in what was written about use cases; returns in how many rows of the database."""
    found = 0
    with database.reading() if dry_run else database.transaction() as connection:
        for table in metadata.sorted_tables:
            texts = [each for each in table.columns if each.name in _CONTENT and isinstance(each.type, (String, Text))]
            keys = list(table.primary_key.columns)
            if not texts or not keys or "usecase" not in table.columns:
                continue
            ours = select(*keys, *texts).where(table.columns["usecase"].in_(sorted(names)))
            for row in connection.execute(ours).mappings().all():
                changed = {
                    column.name: words.without(row[column.name])
                    for column in texts
                    if row[column.name] is not None and words.within(row[column.name])
                }
                found += bool(changed)
                if changed and not dry_run:
                    same = [key == row[key.name] for key in keys]
                    connection.execute(update(table).where(*same).values(changed))
    return found


def strike_from_sqlite(path: Path, words: Words, *, dry_run: bool) -> int:
    """Put something in their place in every text of an SQLite database that another program may have open.

    Returns
    -------
    int
        In how many places they stood, in columns that hold values. What is replaced is overwritten with zeros; call
        `clean_sqlite` afterwards for the database's log.
    """
    if not path.exists():
        return 0
    found = 0
    with storing("strike a person from", path), closing(sqlite3.connect(path, timeout=_SECONDS)) as database:
        database.execute("pragma secure_delete = on")
        for table, column in _texts(database):
            query = f'select rowid, "{column}" from "{table}" where typeof("{column}") = \'text\''  # noqa: S608 - its own names
            for row, content in database.execute(query).fetchall():
                if words.within(content):
                    found += 1
                    if not dry_run:
                        changed = f'update "{table}" set "{column}" = ? where rowid = ?'  # noqa: S608
                        database.execute(changed, (words.without(content), row))
        database.commit()
    return found


def clean_sqlite(path: Path) -> bool:
    """Write a database anew, so that nothing of what was replaced stays in it or in its log.

    Returns
    -------
    bool
        Whether the log could be emptied, too: while another process reads what was there before, it cannot.
    """
    with storing("write anew", path), closing(sqlite3.connect(path, timeout=_SECONDS)) as database:
        database.execute("vacuum")
        (busy, *_) = database.execute("pragma wal_checkpoint(truncate)").fetchone()
    return not busy


def _texts(database: sqlite3.Connection) -> list[tuple[str, str]]:
    listed = "select name from sqlite_master where type = 'table' and sql not like '%without rowid%'"
    tables: list[Any] = database.execute(listed).fetchall()
    return [
        (table, column)
        for (table,) in tables
        if not table.startswith("sqlite_")
        for _, column, kind, *_ in database.execute(f'pragma table_info("{table}")')
        if column in _VALUES and (not kind or any(word in kind.upper() for word in ("CHAR", "TEXT", "JSON", "CLOB")))
    ]
