"""Bring what the service journaled into the lake, and report what the service says is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from expectations.windows import TICK
from tasks.bundles.feedback import find_unmatched
from tasks.erasing.retention import keep_within
from tasks.monitoring.alerting import note_unmatched
from tasks.monitoring.findings import note
from tasks.stores.harvest import Harvested, misfit_words, seal_and_harvest
from tasks.stores.journal import unreadable
from tasks.stores.lake_tables import TABLES
from tasks.stores.places import Job
from tasks.stores.service import Answers
from tasks.stores.upkeep import compact

_MATCHED = "feedback_matched_until"
"""Mark in the platform database: when the newest label that was held against predictions was received."""

_BY_FILE = re.compile("unharvested-[0-9a-f]{12}")
"""Findings of before there was one for each cause."""


def harvest_journal(job: Job) -> Harvested:
    """Ask the service to close its segments, then bring them into the lake; labels of no prediction are reported.

    What many harvests left in small files is merged, and what is older than the use case keeps it erased.

    Raises
    ------
    UnreachableError
        If the service does not answer: whether its journal is complete is not known.
    """
    with job.places.open_service() as service:
        note_troubles(job, service.ask("GET", "/version"))
        harvested = seal_and_harvest(job, service)
        checked = job.database.marked(job.name, _MATCHED)
        after = datetime.fromisoformat(checked) if checked else None
        if after is not None and harvested.labels_since is not None:  # of a replica that was away meanwhile
            after = min(after, harvested.labels_since - TICK)
        delay = timedelta(seconds=job.usecase.spec.label.available_after.approximate_seconds)
        unmatched = find_unmatched(job.lake, after, delay=delay)
        if unmatched.labels:  # one of several replicas may have answered after it had closed its segments
            harvested += seal_and_harvest(job, service)
            unmatched = find_unmatched(job.lake, after, unmatched.checked_until, delay)
    note_unmatched(job, unmatched)
    if unmatched.checked_until is not None:
        job.database.mark(job.name, _MATCHED, unmatched.checked_until.isoformat())
    note_unharvested(job)
    for table in TABLES:
        compact(job.lake, table)
    keep_within(job)
    return harvested


def note_unharvested(job: Job) -> None:
    """Record what harvests set aside, a finding for each cause: they may come with every harvest from then on."""
    causes: dict[Path, list[tuple[float, Path]]] = {}
    for path in unreadable(job.places.journal, job.name):
        with suppress(FileNotFoundError):  # a person moves it away just now
            causes.setdefault(path.parent, []).append((path.stat().st_mtime, path))
    kept = set()
    for folder, found in causes.items():
        (_, oldest), (_, newest) = min(found), max(found)
        words = misfit_words(folder.name)
        finding = f"unharvested-{folder.name}" if words else "unharvested"
        key = f"unreadable/{folder.name}/{oldest.name}" if words else f"unreadable/{oldest.name}"
        why = f"{words}: give the changed task another name" if words else "parts of the journal are no whole records"
        many = f"{len(found)} files" if len(found) > 1 else "1 file"
        why += f"; what came is kept in {folder}: {many}, the newest {newest.name}"
        evidence = {"folder": folder, "files": len(found), "newest": newest.name}
        note(job, key, "unharvested", why, "unharvested", finding=finding, evidence=evidence)
        kept.add(finding)
    standing = job.database.open_keys(job.name, "unharvested")
    former = [key for key in standing if _BY_FILE.fullmatch(key)]
    if former:
        job.database.end(job.name, former, "one finding says so of all such files", job.as_of)
    if not kept.issuperset(standing):
        job.database.end_all_but(job.name, ["unharvested"], kept, "they were moved away", job.as_of)


def note_troubles(job: Job, versions: Answers) -> None:
    """Put into the ledger, and record as findings, what the replicas of the service say is wrong.

    In the ledger each refused bundle and each release given up in the middle stands once, a disk that is away once an
    hour.
    """
    standing = set()
    for version in versions:
        for key, action, summary in _troubles(job, version):
            kind = _KINDS[action]
            finding = f"{kind}-{key.split('/')[1][:12]}" if action == "refused" else kind
            note(job, key, action, summary, kind, finding=finding)
            standing.add(finding)
    over = "the service says it is well again"
    job.database.end_all_but(job.name, _KINDS.values(), standing, over, job.as_of)


_KINDS = {
    "refused": "bundle-refused",
    "unwatched": "unwatched",
    "unreadable": "unreadable",
    "unlogged": "unlogged",
}


def _troubles(job: Job, version: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Return what one replica says is wrong: what it is known by, what happened, and the words for it."""
    mount = version["usecases"].get(job.name, {})
    hour = datetime.now(UTC).strftime("%Y-%m-%dT%H")
    for bundle, why in mount.get("refused", {}).items():
        yield f"refused/{bundle}", "refused", f"the service refuses bundle {bundle[:12]}: {why}"
    candidate = mount.get("candidate")
    if candidate and not candidate.get("watched", True):
        why = f"version {candidate['version']} is not watched any more: it was left out, and the champion answers alone"
        yield f"unwatched/{mount['generation']}", "unwatched", why
    if mount.get("trouble"):
        yield f"releases/{hour}", "unreadable", f"the service cannot read what it should serve: {mount['trouble']}"
    if version["journal"]["trouble"]:
        why = f"the service cannot log predictions: {version['journal']['trouble']}"
        yield f"journal/{hour}", "unlogged", why
