"""Trials of a job: one for each window that is judged, and what the ledger keeps of it."""

from __future__ import annotations

import math
from typing import Any

from expectations.errors import BundleError
from expectations.usecase import UseCase
from tasks.bundles.bundle import Bundle, load_bundle
from tasks.bundles.champion import champion_digest
from tasks.deciding.gaps import ROLLBACK_WINDOWS
from tasks.stores.finding_kinds import describe
from tasks.stores.ledger import TRIAL, Entry, champions, trials_named
from tasks.stores.places import Job
from tasks.stores.progress import part
from tasks.training.packing import training_rows
from tasks.training.trying import Tried, hold_against_predecessor, try_challenger


def try_now(job: Job) -> Tried | None:
    """Try a challenger on the newest window of the champion whose performance is known, once, if the policy asks so.

    In its first windows the champion is held against the one before it, whatever the policy. Models of another kind of
    problem than the use case declares now are held against nothing. What was found, or that nothing could be, goes into
    the ledger, where the decision about the window reads it.
    """
    spec = job.usecase.spec
    asked, digest = spec.monitoring.policy.tries, champion_digest(job)
    if digest is None:
        return None
    known = job.database.measurements(job.name, champion=digest, known=True, last=ROLLBACK_WINDOWS + 1)
    if not known or job.lake.version("clean") is None:
        return None
    window = known[-1].window
    key = f"{trials_named(job.name, digest)}{window.end.isoformat()}"
    with job.database.reading() as connection:
        if job.database.stands(connection, key):
            return None
    predecessor = _predecessor(job, digest) if len(known) <= ROLLBACK_WINDOWS else None
    if asked is None and predecessor is None:
        return None
    champion = load_bundle(job.releases.bundle(job.name, digest), digest)
    before, lost = _load(job, predecessor)
    rows = training_rows(job.known.labelled())
    comparable = champion.manifest.task == spec.task
    tried = back = None
    failed: list[str] = []
    if asked is not None and comparable:
        with part("a challenger for a trial"):
            tried = try_challenger(rows, spec, window, champion, asked, failed.append)
    if before is not None and comparable and before.manifest.task == spec.task:
        back = hold_against_predecessor(rows, spec, window, champion, before)
    evidence: dict[str, Any] = {
        "bundle": champion.digest,
        "window": window.to_dict(),
    }
    if before is not None and back is not None:
        evidence |= {
            "predecessor": before.digest,
            "back": back.gap,
            "back_variance": back.variance,
            "back_rows": back.rows,
        }
    if tried is not None:
        action, words = "better" if tried.gap > 0 else "no better", str(tried)
        evidence |= tried.to_dict()
    else:
        action, words = "undetermined", "; ".join(failed) or _describe_untried(asked, champion, spec)
    if back is not None:
        words += f"; the champion before would have lost {100 * math.expm1(-back.gap):+.1f} %"
    if lost:
        words += f"; nothing is held against the champion before: {lost}"
    entry = Entry(key, job.name, job.as_of, TRIAL, action, "window", words, evidence)
    with job.database.transaction() as connection:
        if lost:
            job.database.report(connection, entry, describe(job.name, "not-compared", "warning", words))
        else:
            job.database.write(connection, entry)
            job.database.resolve(connection, job.name, "not-compared", "nothing is to be compared any more", job.as_of)
    return tried


def _describe_untried(asked: str | None, champion: Bundle, spec: UseCase) -> str:
    if asked is None:
        return "no fresh model was tried"
    if champion.manifest.task != spec.task:
        return f"no fresh model was tried: the champion is of {champion.manifest.task}, the use case of {spec.task} now"
    return "too little to try a fresh model by"


def _predecessor(job: Job, champion: str) -> str | None:
    """Return the bundle that a champion replaced, as the ledger says."""
    stood = [each.evidence["bundle"] for each in champions(job.database.entries(job.name, kind="deploy"))]
    return stood[-2] if len(stood) > 1 and stood[-1] == champion else None


def _load(job: Job, digest: str | None) -> tuple[Bundle | None, str]:
    """Load a bundle of before; where it is damaged or removed, say why."""
    if digest is None:
        return None, ""
    try:
        return load_bundle(job.releases.bundle(job.name, digest), digest), ""
    except BundleError as error:
        return None, str(error)
