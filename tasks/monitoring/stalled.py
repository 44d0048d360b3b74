"""Ask again for the stage of a turn that no run has touched for a while, and give it up at last."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Connection

from tasks.stores.finding_kinds import describe
from tasks.stores.ledger import Entry
from tasks.stores.places import Job
from tasks.stores.stages import STAGES, stage_at
from tasks.stores.turns import Turn

SILENCE = timedelta(minutes=2)
"""How long an open turn may lie untouched before it is announced again."""
MAX_ANNOUNCEMENTS = 5
"""How often a stage is asked for before its turn is given up."""


def announce_stalled(job: Job) -> str | None:
    """Ask again for the next stage of an open turn that no run has touched for a while; returns the turn.

    A stage killed on a server leaves its turn open, and the event that started it is spent. Asking twice is harmless:
    a stage claims its turn before it works. A turn that does not move however often it is asked for is given up, so
    that it does not hold back the next one for ever.
    """
    turn = job.database.stalled_turn(job.name, SILENCE)
    if turn is None or not job.announce:
        return None
    waits_for = stage_at(turn.state)
    if waits_for is None:
        return None
    event = STAGES[waits_for].event
    with job.database.transaction() as connection:
        if job.database.announced(connection, turn.id, event) >= MAX_ANNOUNCEMENTS:
            _give_up(job, connection, turn)
            return None
        job.database.post(
            connection,
            job.name,
            event,
            {"driftwheel.turn": turn.id, "driftwheel.cause": turn.cause},
            {"turn_id": turn.id, "as_of": turn.as_of.isoformat(), "decision": turn.decision},
        )
    return turn.id


def _give_up(job: Job, connection: Connection, turn: Turn) -> None:
    if not job.database.give_up(connection, turn.id, SILENCE):  # a run took it up after all
        return
    summary = (
        f"the turn of {turn.as_of:%Y-%m-%d} stood at {turn.state} and did not move in {MAX_ANNOUNCEMENTS} attempts; "
        "see the logs of its flow runs, then `driftwheel run loop`"
    )
    key = f"{job.name}/{turn.id}/given-up"
    entry = Entry(key, job.name, job.as_of, "monitor", "failed", turn.cause, summary, {"state": turn.state}, turn.id)
    job.database.report(connection, entry, describe(job.name, "stalled", "failure", summary))
    job.database.resolve(connection, job.name, "approval", summary, job.as_of)
