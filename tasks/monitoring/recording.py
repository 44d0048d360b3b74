"""Writing a decision down, once, with what follows from it: its findings, a turn, an event."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from expectations.alerts import Severity
from expectations.deciding import RECALIBRATE, TURNED
from tasks.deciding.policy import Decision
from tasks.monitoring.seen_windows import expected_status
from tasks.stores.finding_kinds import describe
from tasks.stores.findings import Found
from tasks.stores.ledger import Entry
from tasks.stores.measurements import Measurement
from tasks.stores.places import Job
from tasks.stores.stages import STAGES

_OVER = {
    "drift": "the newest window has no drift",
    "loss": "nothing is lost any more that a retraining would save",
    "held": "the newest data keeps to its expectations",
}


def is_decided(job: Job, key: str) -> bool:
    """Whether a decision with this key was recorded."""
    with job.database.reading() as connection:
        return job.database.stands(connection, f"{job.name}/decision/{key}")


def record_decision(
    job: Job, decision: Decision, key: str, evidence: dict[str, Any], found: Measurement | None
) -> tuple[bool, str | None]:
    """Write a decision down, once; returns whether this call did, and the turn it opened."""
    database = job.database
    turn = None
    with database.transaction() as connection:
        if database.stands(connection, key):  # decided before; a turn opened now would be a second one for it
            return False, None
        if decision.action in TURNED:
            cause = RECALIBRATE if decision.action == RECALIBRATE else decision.cause
            turn = database.request_turn(connection, job.name, cause, job.as_of, key)
        entry = Entry(
            key, job.name, job.as_of, "decision", decision.action, decision.cause, decision.summary, evidence, turn
        )
        database.write(connection, entry)
        _record_findings(job, connection, decision, found)
        if turn is not None:
            database.post(
                connection,
                job.name,
                STAGES["collect"].event,
                {"driftwheel.turn": turn, "driftwheel.cause": decision.cause},
                {"turn_id": turn, "as_of": job.as_of.isoformat(), "decision": key},
                deliver=job.announce,
            )
    return True, turn


def _record_findings(job: Job, connection: Connection, decision: Decision, measured: Measurement | None) -> None:
    """Record what a decision finds wrong, and resolve what it no longer finds.

    Drift is worth a message only where a loss is estimated beyond doubt; a loss that a retraining follows is not.
    """
    found: Found | None = None
    evidence: dict[str, Any] = {}
    if measured is not None:
        evidence = {**measured.window.to_dict(), "version": measured.version, "status": measured.status}
    if decision.action == "hold":
        found = describe(job.name, "held", "failure", decision.summary)
    elif decision.cause == "release":
        found = describe(job.name, "rollback", "warning", decision.summary, evidence)
    elif decision.cause == "drift" or (decision.cause == "unknown" and decision.alert):
        lost = measured is not None and expected_status(measured) == "violated"
        severity: Severity = "warning" if lost and decision.action not in TURNED else "info"
        found = describe(job.name, "drift", severity, decision.summary, evidence)
    elif decision.alert or decision.action in TURNED:
        found = describe(
            job.name, "loss", "info" if decision.action in TURNED else "warning", decision.summary, evidence
        )
    if found is not None:
        job.database.record(connection, found, job.as_of)
    if decision.action == "hold":  # no window was looked at
        return
    for key, how in _OVER.items():
        # a window whose labels have not come says nothing of a loss
        silent = measured is None or measured.status == "unknown"
        if (found is None or key != found.key) and not (key == "loss" and silent):
            job.database.resolve(connection, job.name, key, how, job.as_of)
