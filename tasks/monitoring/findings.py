"""What is found to be wrong with what was served: an entry of the ledger, once, and a finding while it lasts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import msgspec

from expectations.alerts import Severity
from expectations.windows import Window
from tasks.bundles.feedback import Unmatched
from tasks.bundles.manifest import Manifest
from tasks.monitoring.saying import say_fairness, say_slices
from tasks.monitoring.served import Strays
from tasks.monitoring.watermarks import Asked
from tasks.stores.finding_kinds import describe
from tasks.stores.ledger import Entry
from tasks.stores.measurements import FeedbackUse, Measurement
from tasks.stores.places import Job

_UNMATCHED_FOR = timedelta(days=7)
_WHY_STRAY = {
    "learnt": "lie before the end of what it had learnt from: they are no test of it",
    "ahead": "lie after this run's instant and after the moment they were answered: is a client's clock wrong?",
}


def note(
    job: Job,
    key: str,
    action: str,
    summary: str,
    found: str,
    *,
    kind: str = "service",
    severity: Severity = "failure",
    evidence: dict[str, Any] | None = None,
    finding: str | None = None,
) -> None:
    """Write what was found into the ledger, once for each `key`, and record the finding.

    Parameters
    ----------
    found : str
        Kind of the finding.
    finding : str, optional
        Its key; the kind where not given.
    """
    entry = Entry(f"{job.name}/{kind}/{key}", job.name, job.as_of, kind, action, kind, summary, evidence or {})
    with job.database.transaction() as connection:
        job.database.report(connection, entry, describe(job.name, found, severity, summary, evidence, key=finding))


def note_strays(job: Job, strays: Sequence[Strays]) -> None:
    """Report rows that are in no window, of each bundle once, and again when there are ten times as many."""
    kept = set()
    for each in strays:
        summary = (
            f"{each.rows} predictions of version {each.version} are in no window: their event times, "
            f"{each.first:%Y-%m-%d %H:%M} to {each.last:%Y-%m-%d %H:%M}, {_WHY_STRAY[each.why]}"
        )
        evidence = {"rows": each.rows, "why": each.why, "first": each.first, "last": each.last, "bundle": each.bundle}
        key = f"stray/{each.bundle}/{each.version}/{each.why}/{magnitude(each.rows)}"
        finding = f"stray-{each.bundle[:12]}-{each.why}"
        note(
            job, key, "stray", summary, "stray", kind="monitor", severity="warning", evidence=evidence, finding=finding
        )
        kept.add(finding)
    job.database.end_all_but(job.name, ["stray"], kept, "no such predictions are left", job.as_of)


def note_silence(job: Job, asked: Asked) -> None:
    """Report that nothing is asked any more: whole windows without a request, more of them in a row than ever before.

    Reported once, and again when there are ten times as many. Windows without requests before those of now say what is
    usual: a shop that is closed on Sundays is reported on its first.

    Parameters
    ----------
    asked : Asked
        By when predictions were answered, and not by event times: a client that asks about yesterday every morning is
        not silent in between.
    """
    if not asked.runs:
        return
    grid = job.usecase.spec.grid
    last = grid.after(asked.runs[-1][1])
    empty, usual = grid.between(last, job.as_of), asked.longest(grid)
    if empty > usual:
        summary = (
            f"no prediction was asked for since {last:%Y-%m-%d %H:%M}: {empty} windows of {grid.every} without a "
            f"request, after {usual} at most before"
        )
        key = f"silent/{last.isoformat()}/{magnitude(empty)}"
        evidence = {"windows": empty, "since": last}
        note(job, key, "silent", summary, "silent", kind="monitor", severity="warning", evidence=evidence)
    else:
        job.database.end(job.name, ["silent"], "predictions are asked for again", job.as_of)


def note_unmatched(job: Job, unmatched: Unmatched) -> None:
    """Report labels that name no prediction, once a month, and again when there are ten times as many.

    The finding is over once none came for a week: a client that errs each day is one finding.
    """
    if not unmatched.labels:
        known = job.database.finding(job.name, "unmatched")
        if known is not None and known.open and job.as_of - known.last_seen >= _UNMATCHED_FOR:
            job.database.end(job.name, ["unmatched"], f"no such labels came in {_UNMATCHED_FOR.days} days", job.as_of)
        return
    senders = ", ".join(f"{name or 'without a key'} ({count})" for name, count in unmatched.senders.items())
    summary = (
        f"{unmatched.labels} labels of feedback received {unmatched.first:%Y-%m-%d %H:%M} to "
        f"{unmatched.last:%Y-%m-%d %H:%M} name no prediction that was logged, and are not used; sent by {senders}"
    )
    key = f"unmatched/{unmatched.last:%Y-%m}/{magnitude(unmatched.labels)}"
    note(job, key, "unmatched", summary, "unmatched", kind="monitor", severity="warning", evidence=vars(unmatched))


def note_unusable(
    job: Job, window: Window, use: FeedbackUse, manifest: Manifest, bundle: str, *, answers: bool
) -> None:
    """Report labels of a window that cannot be true of what its bundle predicts, once for each window.

    Parameters
    ----------
    answers : bool
        Whether the bundle is the champion's: then it is a finding, until a newer window has no such labels or another
        version answers.
    """
    summary = (
        f"{use.unusable} labels of feedback on predictions from {window} are not {manifest.label_words}, and are not "
        "used: from a journal of before labels were checked, or of another model"
    )
    over = f"labels of {window} are usable" if not use.unusable else None
    _note_labels(job, "unusable", bundle, _place(window), summary, msgspec.structs.asdict(use), over, answers=answers)


def note_unseen(job: Job, window: Window, labels: int, manifest: Manifest, bundle: str, *, answers: bool) -> None:
    """Report labels of a window that are classes its bundle never saw, once for each window and tenfold number.

    Parameters
    ----------
    answers : bool
        As of `note_unusable`.
    """
    summary = (
        f"{labels} labels of predictions from {window} are classes that the model never saw (it knows "
        f"{', '.join(manifest.classes)}): it gave them no probability, and they count as wholly lost; the next "
        "training takes them in"
    )
    over = f"labels of {window} are classes that the model knows" if not labels else None
    place, evidence = f"{_place(window)}/{magnitude(labels)}", {"labels": labels}
    _note_labels(job, "unseen", bundle, place, summary, evidence, over, answers=answers)


def end_undeclared(job: Job) -> None:
    """End findings about slices and groups where none of the kind is declared any more."""
    monitoring = job.usecase.spec.monitoring
    declared = {"slices": monitoring.slices, "unfair": monitoring.fairness}
    gone = [kind for kind, rules in declared.items() if not rules]
    if gone:
        job.database.end_all_but(job.name, gone, (), "nothing of the kind is declared any more", job.as_of)


def note_parts(job: Job, champion: str, found: Measurement) -> None:
    """Report slices that got worse and bounds between groups that are broken, of the champion's newest known window.

    Parameters
    ----------
    champion : str
        Its bundle.
    found : Measurement
        Of any bundle; where a later window was known before, it says nothing about parts.
    """
    if found.champion != champion or found.slices is None:
        return
    later = job.database.measurements(job.name, since=found.end, champion=champion)
    if any(each.slices is not None for each in later):
        return
    window = found.window
    parts: tuple[tuple[str, list[str], Severity], ...] = (
        ("slices", say_slices(found.slices), "info"),
        ("unfair", say_fairness(found.fairness or ()), "warning"),
    )
    for kind, said, severity in parts:
        finding = f"{kind}-{champion[:12]}"
        if said:
            summary = f"in {window}: {'; '.join(said)}"
            evidence = {"said": said}
            key = f"{kind}/{_place(window)}"
            note(job, key, kind, summary, kind, kind="monitor", severity=severity, evidence=evidence, finding=finding)
        else:
            job.database.end(job.name, [finding], f"nothing of the kind is left in {window}", job.as_of)


def _place(window: Window) -> str:
    return f"{window.start.isoformat()}/{window.end.isoformat()}"


def _note_labels(
    job: Job,
    action: str,
    bundle: str,
    place: str,
    summary: str,
    evidence: dict[str, Any],
    over: str | None,
    *,
    answers: bool,
) -> None:
    """Report labels of a bundle's window; where it is `over` that there are such, end the finding of one that answers.

    Those of a version that answers no more are for the record alone.
    """
    finding, key = f"{action}-{bundle[:12]}", f"{action}/{place}"
    if over is not None:
        if answers:
            job.database.end(job.name, [finding], over, job.as_of)
    elif answers:
        note(job, key, action, summary, action, kind="monitor", severity="warning", evidence=evidence, finding=finding)
    else:
        entry = Entry(f"{job.name}/monitor/{key}", job.name, job.as_of, "monitor", action, "monitor", summary, evidence)
        with job.database.transaction() as connection:
            job.database.write(connection, entry)


def magnitude(count: int) -> int:
    """Return the largest power of ten a count reaches: what is keyed by it is reported again as it grows tenfold."""
    return int("1".ljust(len(str(count)), "0"))
