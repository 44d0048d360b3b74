"""Forget a person: everything of a home that is about them goes, and the ledger says so without saying who.

The order makes it safe to be killed: what is found by the collected rows goes before these, and a table remembers that
older versions of it are to be removed. A second call finishes what is left.
"""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from expectations.contradictions import REPLAY
from tasks.bundles.history_state import keep_history
from tasks.bundles.judged_rows import judged_keys
from tasks.erasing.backups import backups_since
from tasks.erasing.files import LOOKED_FOR, sweep
from tasks.erasing.holding_off import hold_off, refuse_open_turns
from tasks.erasing.journaled import Journaled, find_journaled, journaled_columns
from tasks.erasing.person import Person
from tasks.erasing.rows import TABLES, Theirs, count_rows, erase_rows, find_rows, is_theirs, require_columns
from tasks.erasing.training_sets import promoted_models, training_sets
from tasks.erasing.words import Words, clean_sqlite, strike_from_platform, strike_from_sqlite
from tasks.stores.files import storing
from tasks.stores.harvest import harvest, seal_and_harvest
from tasks.stores.journal import OPEN_SUFFIX
from tasks.stores.lake import Lake
from tasks.stores.ledger import FORGET, Entry
from tasks.stores.places import Job
from tasks.stores.releases import Releases
from tasks.stores.rewriting import purge, require_folder
from tasks.stores.tombstones import FORGOTTEN, add_tombstone
from tasks.stores.whole_files import replace_file

JOURNALED = "rows of the journal"
"""Place of what is counted there where nothing is brought in: it is before it is erased."""
_PLATFORM = "platform.db"
_DATABASES = {"MLflow's database": "mlflow.db", "Prefect's database": "prefect/prefect.db"}


@dataclass(frozen=True)
class Forgotten:
    """What was erased of a person, or would be.

    Attributes
    ----------
    counts : dict of str to int
        Place -> rows or files there.
    learnt : tuple of str
        Versions of models whose training rows had some of theirs.
    training_sets : tuple of int
        Versions of the clean table those refer to, which cannot be read again.
    left : tuple of str
        What mentions them still, and what to do about it.
    backups : tuple of str
        Backups that were made while there was something of them.
    """

    person: str
    counts: dict[str, int]
    learnt: tuple[str, ...]
    training_sets: tuple[int, ...]
    left: tuple[str, ...]
    backups: tuple[str, ...] = ()

    @property
    def found(self) -> int:
        """How many rows and files there are."""
        return sum(self.counts.values())


@dataclass(frozen=True)
class _Part:
    """A use case or its replay, and what of it is about the person."""

    lake: Lake
    theirs: Theirs


def forget(job: Job, person: Person, who: str, home: Path, *, dry_run: bool) -> Forgotten:
    """Erase a person from a home, or count what there is of them.

    Collection, cleaning and harvests of the use case wait meanwhile; the service goes on.

    Parameters
    ----------
    who : str
        Who asks for it.
    home : Path
        The folder that everything but what is set elsewhere lies in.

    Raises
    ------
    LakeError
        If the lake lies at a store's address.
    TurnTakenError
        If a turn of the use case is open: its model would learn from them, or be written about, meanwhile.
    ExpressionError
        If they are named by a column that no table has.
    """
    require_folder(job.lake)
    require_columns(_lakes(job), person, partial(journaled_columns, job))
    if dry_run:
        return _look_ahead(job, person, home)
    names = (job.name, job.name + REPLAY)
    refuse_open_turns(job, names)  # before anything is waited for, and once nobody can begin to read
    unheard = _bring_in(job)
    with hold_off(job, names):
        refuse_open_turns(job, names)
        parts = _remembered(home, person.digest(job.places.secret), _parts(job, person))
        if job.lake.version("raw") is None:  # no commit to note it in
            noted = add_tombstone(job.database.marked(job.name, FORGOTTEN), person.values, job.places.secret)
            job.database.mark(job.name, FORGOTTEN, noted)
        before = _begun(job, _look(job, person, home, parts, Journaled()))
        if before.found:
            _write(job, before, who, "erasing")
        for part in parts:
            erase_rows(part.lake, job.usecase.spec, person, part.theirs, TABLES[:3], job.places.secret)
        _strike(job, person, home, parts, dry_run=False)
        for part in parts:
            erase_rows(part.lake, job.usecase.spec, person, part.theirs, TABLES[3:], job.places.secret)
            keep_history(
                Job(job.usecase.renamed(part.lake.usecase), job.places, job.as_of)
            )  # of the rows that are left
            for table in TABLES:
                purge(part.lake, table)
        _, left = _strike(job, person, home, parts, dry_run=False)  # of what ran meanwhile
    done = replace(before, left=(*unheard, *left))
    if before.found:
        _write(job, done, who, "unfinished" if done.left else "forgotten")
    if not done.left:
        with storing("remove what was looked for, in", home):
            _memory(home, done.person).unlink(missing_ok=True)
    return done


def _memory(home: Path, digest: str) -> Path:
    return home / LOOKED_FOR / f"{digest}.json"


def _remembered(home: Path, digest: str, parts: list[_Part]) -> list[_Part]:
    """Add what an earlier call looked for, whose rows are gone, and keep all of it until nothing is left."""
    path, first = _memory(home, digest), parts[0].theirs
    shared = frozenset[str]().union(*(part.theirs.shared for part in parts))
    words = frozenset[str]().union(*(part.theirs.words for part in parts)) - shared
    keys = frozenset[tuple[object, ...]]().union(*(part.theirs.keys for part in parts))
    with storing("keep what is looked for in", path):
        if path.exists():
            known = json.loads(path.read_text(encoding="utf-8"))
            words |= frozenset(known["words"])
            keys |= frozenset(map(tuple, known["keys"]))
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_file(path, json.dumps({"words": sorted(words), "keys": sorted(keys)}), 0o600)
    return [replace(parts[0], theirs=replace(first, words=words, keys=keys)), *parts[1:]]


def _begun(job: Job, found: Forgotten) -> Forgotten:
    """Return what was found when this was begun, where it was killed before it ended."""
    entries = [each for each in job.database.entries(job.name, kind=FORGET) if each.evidence["person"] == found.person]
    if not entries or entries[-1].action == "forgotten":
        return found
    known = entries[-1].evidence
    counts = {
        place: max(known["counts"].get(place, 0), found.counts.get(place, 0))
        for place in {**known["counts"], **found.counts}
    }
    return replace(
        found,
        counts=counts,
        learnt=tuple(dict.fromkeys((*known["learnt"], *found.learnt))),
        training_sets=tuple(sorted({*known["training_sets"], *found.training_sets})),
        backups=tuple(dict.fromkeys((*known["backups"], *found.backups))),
    )


def _lakes(job: Job) -> list[Lake]:
    """Return the use case's, even where nothing was collected: what names them may lie elsewhere; and its replay's."""
    replay = Lake(job.lake.root, job.name + REPLAY)
    return [job.lake, replay] if require_folder(replay).exists() else [job.lake]


def _parts(job: Job, person: Person) -> list[_Part]:
    return [_Part(lake, find_rows(lake, job.usecase.spec, person)) for lake in _lakes(job)]


def _bring_in(job: Job) -> list[str]:
    """Bring what the service journaled into the lake, as far as it is closed."""
    folder = job.places.journal / job.name
    if job.places.service:
        with job.places.open_service() as service:
            seal_and_harvest(job, service)
    elif folder.exists():
        harvest(job.places.journal, job.name, job.lake)
    return _unheard(job)


def _unheard(job: Job) -> list[str]:
    """Say that segments stay open where nobody is asked to close them."""
    folder = job.places.journal / job.name
    if next(folder.glob(f"*/*{OPEN_SUFFIX}"), None) is None or job.places.service:
        return []
    return [f"open segments of the journal in {folder}: start the service, which closes them, and run this again"]


def _look_ahead(job: Job, person: Person, home: Path) -> Forgotten:
    """Count what would be erased, also of what the service journaled, which stays as it is."""
    first, *rest = _parts(job, person)
    theirs = first.theirs
    waiting = find_journaled(job, person, theirs.keys, theirs.ids)
    theirs = replace(theirs, ids=theirs.ids | waiting.ids, shared=theirs.shared | waiting.shared)
    found = _look(job, person, home, [replace(first, theirs=theirs), *rest], waiting)
    return replace(found, left=(*_unheard(job), *found.left))


def _look(job: Job, person: Person, home: Path, parts: list[_Part], waiting: Journaled) -> Forgotten:
    counts = Counter({JOURNALED: waiting.rows})
    for part in parts:
        ending = " of the replay" if part.lake.usecase.endswith(REPLAY) else ""
        for table, number in count_rows(part.lake, job.usecase.spec, person, part.theirs).items():
            counts[f"rows of {table}{ending}"] += number
    found, left = _strike(job, person, home, parts, dry_run=True)
    learnt = _learnt(job, parts)
    sets = set(learnt.values())
    for part in parts:
        ending = " of the replay" if part.lake.usecase.endswith(REPLAY) else ""
        if counts[f"rows of clean{ending}"]:  # every older version goes with them
            sets |= {*training_sets(job, part.lake.usecase)}
    first = [each for each in (waiting.since, *(part.theirs.since for part in parts)) if each]
    since = None if any(part.theirs.ids - waiting.ids for part in parts) else min(first, default=None)
    return Forgotten(
        person.digest(job.places.secret),
        {place: number for place, number in (counts + found).items() if number},
        tuple(learnt),
        tuple(sorted(sets)),
        tuple(left),
        tuple(backups_since(job, since)) if any((counts + found).values()) else (),
    )


def _strike(
    job: Job, person: Person, home: Path, parts: list[_Part], *, dry_run: bool
) -> tuple[Counter[str], list[str]]:
    """Take what mentions a person out of everything but the tables; returns how much that is, and what is left."""
    shared = frozenset[str]().union(*(part.theirs.shared for part in parts))
    words = Words(frozenset[str]().union(*(part.theirs.words for part in parts)) - shared)
    keys = frozenset().union(*(part.theirs.keys for part in parts))
    theirs = partial(_is_theirs, job, person, keys)
    names = (job.name, job.name + REPLAY)
    known = {*job.database.use_cases(), *job.releases.names()}
    foreign = {each for name in known for each in (name, name + REPLAY)} - {*names}
    served = _served(job.releases)
    held = [part.theirs.rows for part in parts if len(part.theirs.rows)]
    hashed = {each for rows in held for each in judged_keys(rows, job.usecase.spec).drop_nulls()}
    swept = sweep(home, words, theirs, served, hashed, names=names, foreign=foreign, dry_run=dry_run)
    counts = swept.counts
    counts["texts of the platform database"] += strike_from_platform(job.database, words, names, dry_run=dry_run)
    for name, file in _DATABASES.items():
        counts[f"texts of {name}"] += strike_from_sqlite(home / file, words, dry_run=dry_run)
    for path in () if dry_run else (home / file for file in (*_DATABASES.values(), _PLATFORM)):
        if path.exists() and not clean_sqlite(path):  # whatever was found now: an earlier call may have left its log
            swept.left.append(f"{path}-wal: another process reads what was there before; run this again")
    return counts, swept.left


def _is_theirs(job: Job, person: Person, keys: frozenset[tuple[object, ...]], row: Mapping[str, object]) -> bool:
    return is_theirs(row, job.usecase.spec, person, keys)


def _served(releases: Releases) -> set[str]:
    served = set()
    for name in releases.names():
        desired = releases.desired(name)
        if desired is not None:
            served |= {each.bundle for each in (desired.champion, desired.candidate, desired.previous) if each}
    return served


def _learnt(job: Job, parts: list[_Part]) -> dict[str, int]:
    """Return versions of models that learnt from rows of theirs, and the version of the clean table each refers to."""
    learnt = {}
    for part in parts:
        oldest = min(part.theirs.times, default=None)
        ending = " of the replay" if part.lake.usecase.endswith(REPLAY) else ""
        for version, manifest in promoted_models(job, part.lake.usecase):
            if oldest is not None and manifest.cutoff >= oldest:
                learnt[f"version {version}{ending}"] = manifest.data_version
    return learnt


def _write(job: Job, done: Forgotten, who: str, action: str) -> None:
    said = ", ".join(f"{number:,} {place}" for place, number in done.counts.items())
    learnt = f"; {', '.join(done.learnt)} learnt from them" if done.learnt else ""
    what = {"erasing": "a person is being erased", "unfinished": "a person was erased, but not everywhere"}
    summary = f"{what.get(action, 'a person was erased')}: {said}{learnt}; asked for by {who}"
    key, now = f"{job.name}/{FORGET}/{uuid.uuid4().hex}", datetime.now(UTC)
    with job.database.transaction() as connection:
        entry = Entry(key, job.name, now, FORGET, action, "manual", summary, {"who": who, **vars(done)})
        job.database.write(connection, entry)
