"""Writing a decision down, once, with what follows from it: its findings, a turn, an event."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from expectations.alert_views import DecisionMade
from expectations.deciding import RECALIBRATE, TURNED
from tasks.deciding.policy import Decision
from tasks.monitoring.alerting import note_decision
from tasks.monitoring.seen_windows import expected_status
from tasks.stores.finding_kinds import describe
from tasks.stores.ledger import Entry
from tasks.stores.measurements import Measurement
from tasks.stores.places import Job
from tasks.stores.stages import STAGES


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

    Held data and a release that is taken back are no alert rules: they stop the loop, and change who answers.
    """
    if decision.action == "hold":  # no window was looked at: what rules found stands
        job.database.record(connection, describe(job.name, "held", "failure", decision.summary), job.as_of)
        return
    made = DecisionMade(decision.action, decision.cause, decision.summary, decision.alert)
    evidence: dict[str, Any] = {}
    if measured is not None:
        evidence = {**measured.window.to_dict(), "version": measured.version, "status": measured.status}
        lost = expected_status(measured) == "violated"
        made = replace(made, window=measured.window, version=measured.version, status=measured.status, lost=lost)
    if decision.cause == "release":
        found = describe(job.name, "rollback", "warning", decision.summary, evidence)
        job.database.record(connection, found, job.as_of)
    job.database.resolve(connection, job.name, "held", "the newest data keeps to its expectations", job.as_of)
    note_decision(job, connection, made)
