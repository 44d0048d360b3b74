"""What the service journaled about a person and no harvest brought in yet: read, and left as it is."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from expectations.errors import StorageError
from expectations.usecase import UseCase
from tasks.erasing.person import Person
from tasks.erasing.rows import split_rows
from tasks.stores.harvest import KINDS, is_whole
from tasks.stores.journal import CLOSED_SUFFIX, JournalSegment, Predictions, Record, is_segment, read_records
from tasks.stores.places import Job


@dataclass(frozen=True)
class Journaled:
    """What of a journal is about a person.

    Attributes
    ----------
    rows : int
        Answers about them, with their labels and what a candidate would have answered.
    ids : frozenset of str
        Of the answers.
    shared : frozenset of str
        Values that name them, and that requests about others have, too.
    since : datetime or None
        When the first of the answers was given; None of none.
    """

    rows: int = 0
    ids: frozenset[str] = frozenset()
    shared: frozenset[str] = frozenset()
    since: datetime | None = None


def find_journaled(
    job: Job, person: Person, known: Collection[tuple[object, ...]], answered: Collection[str]
) -> Journaled:
    """Find what is theirs in closed and open segments, as the harvest will.

    Parameters
    ----------
    known : collection of tuple
        Keys of their collected rows.
    answered : collection of str
        Ids of answers about them that were brought in already.
    """
    spec: UseCase = job.usecase.spec
    rows, ids, shared, moments = 0, set[str](), set[str](), set[datetime]()
    for record in _waiting(job, "predictions"):
        if isinstance(record, Predictions):
            names = record.origin.columns
            sent = (
                {name: value for name, value in zip(names, row, strict=True) if value is not None}
                for row in record.rows
            )
            mine, others = split_rows(zip(record.ids, sent, strict=True), spec, person, known)
            rows += len(mine)
            ids.update(mine)
            shared |= others
            if mine:
                moments.add(_instant(record.at))
    theirs = ids.union(answered)
    for kind, _ in KINDS:
        if kind != "predictions":
            rows += sum(each in theirs for record in _waiting(job, kind) for each in record.ids)
    return Journaled(rows, frozenset(ids), frozenset(shared), min(moments, default=None))


def _instant(text: str) -> datetime:
    """Read when something was answered; where that is no instant, it may have been at any time."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def journaled_columns(job: Job) -> set[str]:
    """Return the columns of requests that wait in the journal."""
    asked = (record.origin.columns for record in _waiting(job, "predictions") if isinstance(record, Predictions))
    return {column for columns in asked for column in columns}


def _waiting(job: Job, kind: str) -> Iterator[Record]:
    """Return whole records of one kind that no commit has."""
    table = dict(KINDS)[kind]
    for segment, records in _records(job.places.journal, job.name, kind):
        if not job.lake.transaction(table, segment.transaction):
            yield from filter(is_whole, records)


def _records(root: Path, usecase: str, kind: str) -> Iterator[tuple[JournalSegment, list[Record]]]:
    """Read closed and open segments of one kind, in order of name, and leave them; one that goes meanwhile has none."""
    for path in sorted((root / usecase).glob(f"*/{kind}-*")):
        for each in (path, path.with_suffix(CLOSED_SUFFIX)) if is_segment(path) else ():
            try:
                found, _ = read_records(JournalSegment(each))
            except StorageError:
                if each.exists():
                    raise
            else:  # an open one may have been closed just now
                yield JournalSegment(each), found
                break
