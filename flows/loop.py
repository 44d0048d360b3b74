"""Loop: the four flows in one process, for local work and for replay."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from prefect import flow, tags

from flows.collect import collect
from flows.dead_runs import process_tag
from flows.deploy import deploy
from flows.monitor import monitor
from flows.stage import FlowResult, open_job, present, run_name
from flows.train import train
from tasks.stores.places import Job
from tasks.stores.progress import part
from tasks.stores.stages import STAGES, stages_from
from tasks.stores.turns import Turn

_FLOWS: dict[str, Any] = {"train": train, "deploy": deploy}


@flow(name="loop", flow_run_name=run_name, persist_result=False)
def loop(usecase: str, as_of: datetime | None = None, namespace: str | None = None) -> FlowResult:
    """Look at production and, where it asks for it, turn the wheel once."""
    job = open_job(usecase, as_of, None, namespace)
    with present(job), tags(process_tag()):  # for the runs of its stages
        turn = begun_turn(job)
        if turn is not None:
            return turn_wheel(usecase, turn, namespace)
        with part("stage 1 of 2, collect"):
            collected = collect(usecase, job.as_of, None, namespace)
        with part("stage 2 of 2, monitor"):
            watched = monitor(usecase, job.as_of, namespace, announce=False)
        if watched.turn is not None:
            verdict = turn_wheel(usecase, job.database.turn(watched.turn), namespace, read=False)
        else:
            verdict = collected if collected.outcome == "held" else watched
        return verdict if verdict is collected else with_lost_rows(verdict, collected)


def with_lost_rows(verdict: FlowResult, collected: FlowResult) -> FlowResult:
    """Say what a collection lost in the verdict of what followed it."""
    if not collected.lost:
        return verdict
    return replace(verdict, lost=collected.lost, summary=f"{verdict.summary}; {collected.lost} rows lost (see `why`)")


def begun_turn(job: Job) -> Turn | None:
    """Return the turn to work on before anything else: one left open, or the first of all."""
    database = job.database
    left = database.open_turn(job.name)
    desired = job.releases.desired(job.name)
    if left is not None or (desired is not None and desired.champion is not None):
        return left
    with database.transaction() as connection:
        opened = database.request_turn(connection, job.name, "bootstrap", job.as_of)
    return database.turn(opened) if opened else database.open_turn(job.name)


def turn_wheel(usecase: str, turn: Turn, namespace: str | None, *, read: bool = True) -> FlowResult:
    """Run the stages a turn still needs.

    Parameters
    ----------
    read : bool
        Whether its collection reads the sources; not where they were read as of its instant before.
    """
    needed = stages_from(turn.state)
    if needed[:1] == ["collect"]:
        with part("stage 1 of 3 of a turn, collect"):
            collected = collect(usecase, turn.as_of, turn.id, namespace, announce=False, read=read)
        if collected.outcome != "done":
            return collected
        return with_lost_rows(turn_wheel(usecase, replace(turn, state=STAGES["collect"].then), namespace), collected)
    verdict = FlowResult("done", "", turn.id)
    for name in needed:
        with part(f"stage {[*STAGES].index(name) + 1} of {len(STAGES)} of a turn, {name}"):
            verdict = _FLOWS[name](usecase, turn.as_of, turn.id, namespace, announce=False)
        if verdict.outcome != "done":
            break
    return verdict
