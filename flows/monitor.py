"""Monitor: harvest what was served, measure windows that are due, try a challenger, decide; roll back what is worse."""

from __future__ import annotations

from datetime import datetime

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows.messenger import note_monitored
from flows.renewing import renew
from flows.stage import FlowResult, open_job, present, run_name, send_waiting
from flows.versions import take_back
from infra.settings import Settings
from tasks.monitoring.taking_back import release_to_take_back
from tasks.monitoring.task import (
    announce_stalled,
    decide,
    draw_report,
    harvest_journal,
    measure_windows,
    show_course,
    watch_loss,
)
from tasks.stores.places import Job
from tasks.stores.stopwatch import timed
from tasks.training.task import try_challenger

roll_back = task(name="roll back", cache_policy=NO_CACHE, persist_result=False)(take_back)

learn_intervals = task(name="learn intervals again", cache_policy=NO_CACHE, persist_result=False)(
    timed("monitoring", renew, "learning intervals again")
)


def take_back_release(job: Job) -> None:
    """Roll back to the champion before, where that was decided: now, or by a run that was killed before it did.

    Where that cannot be, it is alerted once, and monitoring goes on.
    """
    decision = release_to_take_back(job)
    if decision is not None:
        roll_back(job, decision)


def renew_intervals(job: Job) -> None:
    """Let the champion's intervals learn from what became known, where that is declared."""
    if job.usecase.spec.evaluation.intervals is not None:
        learn_intervals(job)


@flow(name="monitor", flow_run_name=run_name, persist_result=False)
def monitor(
    usecase: str,
    as_of: datetime | None = None,
    namespace: str | None = None,
    announce: bool = True,
) -> FlowResult:
    """Look at production as of an instant; a decision to retrain opens a turn and asks for new data."""
    job = open_job(usecase, as_of, None, namespace, announce=announce)
    with present(job):
        try:
            take_back_release(job)
            harvest_journal(job)
            measure_windows(job)
            watch_loss(job)
            try_challenger(job)
            watched = decide(job)
            take_back_release(job)
            renew_intervals(job)
            announce_stalled(job)
        finally:  # what was found is sent, also where something else fails
            send_waiting(job)
        show_course(job)
        draw_report(job, watched)
        note_monitored(Settings(), job.usecase)
        return FlowResult(watched.decision.action, watched.decision.summary, watched.turn)
