"""Prefect's door to monitoring."""

from __future__ import annotations

from prefect import task
from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from tasks.monitoring import deciding, harvesting, reporting, rising, stalled, watching
from tasks.monitoring.deciding import Watched
from tasks.stores.places import Job
from tasks.stores.progress import say_stage
from tasks.stores.stopwatch import timed


def _decide(job: Job) -> Watched:
    watched = deciding.decide_now(job)
    decision = watched.decision
    say_stage("monitor: %s (%s): %s", decision.action, decision.cause, decision.summary)
    create_markdown_artifact(
        key=f"decision-{job.name}".replace("_", "-"),
        markdown=f"**{decision.action}** ({decision.cause}), as of {job.as_of:%Y-%m-%d %H:%M}\n\n{decision.summary}",
        description=decision.summary,
    )
    return watched


def _report(job: Job, watched: Watched) -> str | None:
    due = reporting.due_for_report(job, watched)
    link = reporting.report_decision(job, due) if due else None
    if due and link:
        create_link_artifact(
            key=f"report-{job.name}".replace("_", "-"),
            link=link,
            link_text="Evidently's report",
            description=due.decision.summary,
        )
    return link


harvest_journal = task(name="harvest the journal", cache_policy=NO_CACHE, persist_result=False)(
    timed("monitoring", harvesting.harvest_journal, "step 1 of 7, harvesting the journal")
)
measure_windows = task(name="measure windows", cache_policy=NO_CACHE, persist_result=False)(
    timed("monitoring", watching.measure_windows, "step 2 of 7, measuring windows")
)
watch_loss = task(name="look at the loss", cache_policy=NO_CACHE, persist_result=False)(
    timed("monitoring", rising.watch_loss, "step 3 of 7, looking at the loss by the hour")
)
decide = task(name="decide", cache_policy=NO_CACHE, persist_result=False)(
    timed("monitoring", _decide, "step 5 of 7, deciding")
)
announce_stalled = task(name="announce a stalled turn", cache_policy=NO_CACHE, persist_result=False)(
    timed("monitoring", stalled.announce_stalled, "step 6 of 7, looking for a stalled turn")
)
draw_report = task(name="draw the report", cache_policy=NO_CACHE, persist_result=False)(
    timed("monitoring", _report, "step 7 of 7, drawing the report")
)
