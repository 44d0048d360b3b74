"""What is found to be wrong with what was served: an entry of the ledger, once, and a finding while it lasts."""

from __future__ import annotations

from typing import Any

from expectations.alerts import Severity
from tasks.stores.finding_kinds import describe
from tasks.stores.ledger import Entry
from tasks.stores.places import Job


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
