"""Prefect's door to monitoring."""

from __future__ import annotations

from prefect import task
from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from tasks.monitoring import courses, deciding, harvesting, reporting, rising, stalled, watching
from tasks.monitoring.deciding import Watched
from tasks.monitoring.saying import say_measured
from tasks.stores.measurements import Measurement
from tasks.stores.places import Job
from tasks.stores.progress import say_stage
from tasks.stores.stopwatch import timed


def _measure(job: Job) -> list[Measurement]:
    measured = watching.measure_windows(job)
    for each in measured:
        say_stage("monitor: %s", say_measured(each))
    return measured


def _decide(job: Job) -> Watched:
    watched = deciding.decide_now(job)
    decision = watched.decision
    say_stage("monitor: %s (%s): %s", decision.action, decision.cause, decision.summary)
    about = _about(watched)
    create_markdown_artifact(
        key=f"decision-{job.name}".replace("_", "-"),
        markdown=f"**{decision.action}** ({decision.cause}), {about}, as of {job.as_of:%Y-%m-%d %H:%M} UTC\n\n"
        f"{decision.summary}",
        description=f"{about}: {decision.action}. {decision.summary}",
    )
    return watched


def _about(watched: Watched) -> str:
    """Name the window that was decided about."""
    return f"window {watched.measurement.name}" if watched.measurement else "no new window"


def _report(job: Job, watched: Watched) -> str | None:
    due = reporting.due_for_report(job, watched)
    link = reporting.report_decision(job, due) if due else None
    if due and link:
        create_link_artifact(
            key=f"report-{job.name}".replace("_", "-"),
            link=link,
            link_text=f"Evidently's report, {_about(due)}",
            description=f"{_about(due)}: {due.decision.action}. {due.decision.summary}",
        )
    return link


harvest_journal = task(name="harvest the journal", cache_policy=NO_CACHE, persist_result=False)(
    timed("monitoring", harvesting.harvest_journal, "step 1 of 8, harvesting the journal")
)
measure_windows = task(name="measure windows", cache_policy=NO_CACHE, persist_result=False)(
    timed("monitoring", _measure, "step 2 of 8, measuring windows")
)
watch_loss = task(name="look at the loss", cache_policy=NO_CACHE, persist_result=False)(
    timed("monitoring", rising.watch_loss, "step 3 of 8, looking at the loss by the hour")
)
decide = task(name="decide", cache_policy=NO_CACHE, persist_result=False)(
    timed("monitoring", _decide, "step 5 of 8, deciding")
)
announce_stalled = task(name="announce a stalled turn", cache_policy=NO_CACHE, persist_result=False)(
    timed("monitoring", stalled.announce_stalled, "step 6 of 8, looking for a stalled turn")
)
show_course = task(name="show the course", cache_policy=NO_CACHE, persist_result=False)(
    timed("monitoring", courses.show_course, "step 7 of 8, showing the course in MLflow and Evidently")
)
draw_report = task(name="draw the report", cache_policy=NO_CACHE, persist_result=False)(
    timed("monitoring", _report, "step 8 of 8, drawing the report")
)
