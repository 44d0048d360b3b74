"""Rows of a person in the tables of a lake: which they are, and what mentions them elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import polars as pl

from expectations.usecase import UseCase
from tasks.erasing.person import Person
from tasks.preprocessing.conditions import unknown_column
from tasks.stores.lake import Lake
from tasks.stores.lake_tables import BATCH, COLLECTED, Table
from tasks.stores.pseudonyms import text_of
from tasks.stores.request_columns import as_sent, columns_of
from tasks.stores.rewriting import purge, rewrite
from tasks.stores.tombstones import FORGOTTEN, add_tombstone

_COLLECTED: tuple[Table, ...] = ("quarantine", "clean", "raw")
"""The raw table last: what is in the others, and elsewhere, is found by it when this is begun again."""
_ANSWERED: tuple[Table, ...] = ("labels", "shadows", "predictions")
"""Predictions last: labels are found by them."""
TABLES: tuple[Table, ...] = (*_ANSWERED, *_COLLECTED)
_CHECKED: tuple[Table, ...] = ("clean", "raw", "quarantine")
"""Where a column is looked for, the one that errors name first."""
_SHORTEST = 3
_ROWS = 50_000
_DECIMALS = 6


@dataclass(frozen=True)
class Theirs:
    """What of a lake is about a person.

    Attributes
    ----------
    rows : polars.DataFrame
        Keys and batch of their collected rows.
    keys : set of tuple
        The same keys, as they compare with what clients send.
    ids : set of str
        Of answers about them.
    words : frozenset of str
        Texts that no other person's rows have.
    shared : frozenset of str
        Values that name them, and that others have, too: where these stand, another person may be meant.
    times : list of datetime
        Event times of their rows.
    since : datetime or None
        When the first of them was collected.
    """

    rows: pl.DataFrame
    keys: frozenset[tuple[object, ...]]
    ids: frozenset[str]
    words: frozenset[str]
    shared: frozenset[str]
    times: list[datetime]
    since: datetime | None


def require_columns(lakes: Iterable[Lake], person: Person, asked_with: Callable[[], Collection[str]]) -> None:
    """Refuse a person who is named by a column that no table has; where nothing was collected none is known.

    Parameters
    ----------
    asked_with : callable
        Returns the columns of requests that wait in the journal; called where no table has one.

    Raises
    ------
    ExpressionError
        If there is such a column: nothing would be found, as if nothing were here.
    """
    named: tuple[Table, pl.Schema] | None = None
    missing = set(person.values)
    for lake in lakes:
        for table in _CHECKED:
            if missing and lake.version(table) is not None:
                schema = lake.scan(table).collect_schema()
                named = named or (table, schema)
                missing -= set(schema)
        if missing and lake.version("predictions") is not None:
            asked = lake.scan("predictions").collect_schema()
            missing = {column for column in missing if not columns_of(asked, {column})}
    if missing and named is not None and (missing := missing.difference(asked_with())):
        table, schema = named
        raise unknown_column(next(filter(missing.__contains__, person.values)), schema, f"the table {table}")


def find_rows(lake: Lake, spec: UseCase, person: Person) -> Theirs:
    """Find what is theirs.

    Of a key whose newest version is theirs every version is; of another one only the versions that are.
    """
    if lake.version("raw") is None:
        ids, shared = _answers(lake, spec, person, frozenset())
        return Theirs(pl.DataFrame(), frozenset(), ids, _named(person) - shared, shared, [], None)
    keys = list(spec.keys)
    raw = lake.scan("raw")
    schema = raw.collect_schema()
    theirs = person.of(schema)
    found = pl.lit(value=False) if theirs is None else theirs
    with lake.reading("raw"):
        marked = raw.with_columns(found.alias("_found"))
        whole = (
            marked.select(*keys, BATCH, "_found")
            .group_by(keys)
            .agg(pl.col("_found").sort_by(BATCH).last())
            .filter("_found")
            .select(*keys, pl.lit(value=True).alias("_count"))
        )
        gone = pl.col("_found") | pl.col("_count").fill_null(value=False)
        each = marked.join(whole, on=keys, how="left").with_columns(gone.alias("_found")).drop("_count")
        mine = each.filter("_found").drop("_found").collect(engine="streaming")
        others = each.filter(~pl.col("_found"))
        shared = _shared(others, spec, person)
        words = _named(person) | _only_theirs(mine, others)
    known = frozenset(tuple(map(_plain, row)) for row in mine.select(keys).iter_rows())
    ids, answered = _answers(lake, spec, person, known)
    shared |= answered
    return Theirs(
        mine.select(*keys, BATCH),
        known,
        ids,
        frozenset(filter(_telling, words - shared)),
        shared,
        mine[spec.time_column].to_list(),
        mine[COLLECTED].min() if len(mine) else None,  # type: ignore[arg-type] # an instant column
    )


def _only_theirs(mine: pl.DataFrame, others: pl.LazyFrame) -> frozenset[str]:
    """Return the texts of some rows that others have not in the same column."""
    texts = {name: mine[name].drop_nulls().unique() for name, dtype in mine.schema.items() if dtype == pl.String}
    alike = (pl.col(name).filter(pl.col(name).is_in(held.implode())).unique().implode() for name, held in texts.items())
    theirs = others.select(alike).collect(engine="streaming")
    return frozenset(text for name, held in texts.items() for text in set(held) - set(theirs[name].explode()))


def _named(person: Person) -> frozenset[str]:
    return frozenset(filter(_telling, (text for texts in person.values.values() for text in texts)))


def _shared(others: pl.LazyFrame, spec: UseCase, person: Person) -> frozenset[str]:
    """Return the values that name the person and that rows of others have; of a hashed column all, where one is."""
    schema, shared = others.collect_schema(), set[str]()
    alike = {column: Person({column: texts}).of(schema) for column, texts in person.values.items()}
    held = others.select(
        pl.col(column).filter(which).unique().implode() for column, which in alike.items() if which is not None
    ).collect(engine="streaming")
    for column in held.columns:
        same = {text_of(value) for value in held[column].explode().drop_nulls()}
        how = spec.personal.get(column)
        shared |= person.values[column] if same and how is not None and how.changes else same
    return frozenset(shared)


def _telling(word: str) -> bool:
    """Whether a word is long enough to be looked for where it may stand among others."""
    return len(word) >= (_DECIMALS if word.isdecimal() else _SHORTEST)


def is_theirs(row: Mapping[str, object], spec: UseCase, person: Person, known: Collection[tuple[object, ...]]) -> bool:
    """Whether a row, as JSON has it, names the person, or has the keys of one of theirs."""
    return person.has(row) or (bool(known) and tuple(_plain(row.get(key)) for key in spec.keys) in known)


def split_rows(
    asked: Iterable[tuple[str, Mapping[str, object]]],
    spec: UseCase,
    person: Person,
    known: Collection[tuple[object, ...]],
) -> tuple[list[str], set[str]]:
    """Return the ids of requests that are theirs, and the values that name them which others' have, too."""
    ids, shared = list[str](), set[str]()
    for name, row in asked:
        if is_theirs(row, spec, person, known):
            ids.append(name)
        else:
            shared |= {same for column, texts in person.values.items() if (same := text_of(row.get(column))) in texts}
    return ids, shared


def _answers(
    lake: Lake, spec: UseCase, person: Person, known: Collection[tuple[object, ...]]
) -> tuple[frozenset[str], frozenset[str]]:
    """Return which answers are about them, and the values that name them which others' have, too."""
    if lake.version("predictions") is None:
        return frozenset(), frozenset()
    ids, shared = set[str](), set[str]()
    with lake.reading("predictions"):
        rows = lake.scan("predictions")
        asked = columns_of(rows.collect_schema(), {*person.values, *spec.keys})
        for some in rows.select("id", *asked).collect_batches(chunk_size=_ROWS):
            mine, others = split_rows(zip(some["id"], as_sent(some), strict=True), spec, person, known)
            ids.update(mine)
            shared |= others
    return frozenset(ids), frozenset(shared)


def _plain(value: object) -> object:
    """Write a key as a text that is the same however it came: instants in UTC, whole numbers without a point."""
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value) if "-" in value else None
        except ValueError:
            moment = None
        value = moment or value
    if isinstance(value, datetime):
        return (value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)).isoformat()
    return text_of(value)


def count_rows(lake: Lake, spec: UseCase, person: Person, theirs: Theirs) -> dict[str, int]:
    """Count what is theirs, by table."""
    counts: dict[str, int] = {}
    for table in TABLES:
        if lake.version(table) is not None:
            rows = lake.scan(table)
            with lake.reading(table):
                every = int(rows.select(pl.len()).collect().item())
                stay = _others(rows, table, spec, person, theirs).select(pl.len())
                counts[table] = every - int(stay.collect(engine="streaming").item())
    return counts


def erase_rows(
    lake: Lake, spec: UseCase, person: Person, theirs: Theirs, tables: Iterable[Table], secret: bytes
) -> None:
    """Rewrite tables without what is theirs, and remove every older version of them; the raw table remembers it."""
    for table in tables:
        notes = {}
        if table == "raw" and lake.version("raw") is not None:
            notes = {FORGOTTEN: add_tombstone(lake.note("raw", FORGOTTEN), person.values, secret)}
        stay = partial(_others, table=table, spec=spec, person=person, theirs=theirs)
        rewrite(lake, table, stay, notes)
        purge(lake, table)


def _others(rows: pl.LazyFrame, table: Table, spec: UseCase, person: Person, theirs: Theirs) -> pl.LazyFrame:
    """Keep the rows that are not theirs. Cleaning may have changed the values that name them, but no key and batch."""
    if table in _ANSWERED:
        return rows.filter(~pl.col("id").is_in(sorted(theirs.ids)))
    schema = rows.collect_schema()
    if len(theirs.rows):
        keys = [*spec.keys, BATCH]
        same = theirs.rows.lazy().select(pl.col(key).cast(schema[key], strict=False) for key in keys)
        rows = rows.join(same, on=keys, how="anti", maintain_order="left")
    also = person.of(schema)
    return rows if also is None else rows.filter(~also)
