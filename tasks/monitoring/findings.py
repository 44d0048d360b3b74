"""What is found to be wrong with what was served: an entry of the ledger, once, and a finding while it lasts."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from expectations.alert_rules import magnitude
from expectations.alerts import Severity
from tasks.bundles.feedback import Unmatched
from tasks.stores.finding_kinds import describe
from tasks.stores.ledger import Entry
from tasks.stores.places import Job

_UNMATCHED_FOR = timedelta(days=7)


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
