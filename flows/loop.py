"""Loop: the four flows in one process, for local work and for replay."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from prefect import flow

from flows.collect import collect
from flows.deploy import deploy
from flows.monitor import monitor
from flows.stage import Verdict, open_job, present, run_name
from flows.train import train
from tasks.stores.database import Turn
from tasks.stores.places import Job


@flow(name="loop", flow_run_name=run_name, persist_result=False)
def loop(usecase: str, as_of: datetime | None = None, namespace: str | None = None) -> Verdict:
    """Look at production and, where it asks for it, turn the wheel once."""
    job = open_job(usecase, as_of, None, namespace)
    with present(job):
        collected = collect(usecase, job.as_of, None, namespace)
        turn, watched = find_turn(job, usecase, namespace)
        if turn is None:
            verdict = collected if collected.outcome == "held" else watched
        else:
            verdict = turn_wheel(usecase, turn, namespace)
        return verdict if verdict is collected else told_too(verdict, collected)


def told_too(verdict: Verdict, collected: Verdict) -> Verdict:
    """Say what a collection lost in the verdict of what followed it."""
    if not collected.lost:
        return verdict
    return replace(verdict, lost=collected.lost, summary=f"{verdict.summary}; {collected.lost} rows lost (see `why`)")


def find_turn(job: Job, usecase: str, namespace: str | None) -> tuple[Turn | None, Verdict]:
    """Return the turn to work on: one left open, the first of all, or one monitoring asks for now."""
    database = job.database
    left = database.open_turn(job.name)
    if left is not None:
        return left, Verdict("kept", "a turn was left open")
    desired = job.releases.desired(job.name)
    if desired is None or desired.champion is None:
        with database.transaction() as connection:
            opened = database.request_turn(connection, job.name, "bootstrap", job.as_of)
        return (database.turn(opened) if opened else database.open_turn(job.name)), Verdict("kept", "no champion yet")
    watched = monitor(usecase, job.as_of, namespace, announce=False)
    return (database.turn(watched.turn) if watched.turn else None), watched


def turn_wheel(usecase: str, turn: Turn, namespace: str | None) -> Verdict:
    """Run the stages a turn still needs."""
    verdict = Verdict("done", "", turn.id)
    stages = {"requested": collect, "collecting": collect, "training": train, "deploying": deploy}
    order = [collect, train, deploy]
    for stage in order[order.index(stages[turn.state]) :]:
        verdict = stage(usecase, turn.as_of, turn.id, namespace, announce=False)
        if verdict.outcome != "done":
            break
    return verdict
