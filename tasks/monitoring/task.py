"""Prefect's door to monitoring."""

from __future__ import annotations

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from tasks.monitoring import watching
from tasks.monitoring.measuring import Measurement
from tasks.monitoring.watching import Watched
from tasks.stores.places import Job
from tasks.stores.stopwatch import timed


def _decide(job: Job, measured: list[Measurement]) -> Watched:
    watched = watching.decide_now(job, measured)
    link = f"\n\n[Evidently's report]({watched.report})" if watched.report else ""
    create_markdown_artifact(
        key=f"decision-{job.name}".replace("_", "-"),
        markdown=f"**{watched.decision.action}** ({watched.decision.cause}), as of {job.as_of:%Y-%m-%d %H:%M} UTC\n\n"
        f"{watched.decision.summary}{link}",
        description=watched.decision.summary,
    )
    return watched


harvest_journal = task(name="harvest the journal", cache_policy=NO_CACHE, persist_result=False)(
    timed("monitoring", watching.harvest_journal)
)
measure_windows = task(name="measure windows", cache_policy=NO_CACHE, persist_result=False)(
    timed("monitoring", watching.measure_windows)
)
announce_stalled = task(name="announce a stalled turn", cache_policy=NO_CACHE, persist_result=False)(
    timed("monitoring", watching.announce_stalled)
)
decide = task(name="decide", cache_policy=NO_CACHE, persist_result=False)(timed("monitoring", _decide))
