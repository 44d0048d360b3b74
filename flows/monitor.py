"""Monitor: harvest what was served, measure the windows that are due, decide."""

from __future__ import annotations

from datetime import datetime

from prefect import flow

from flows.stage import Verdict, open_job, present, run_name, tell
from tasks.monitoring.task import announce_stalled, decide, draw_report, harvest_journal, measure_windows


@flow(name="monitor", flow_run_name=run_name, persist_result=False)
def monitor(
    usecase: str,
    as_of: datetime | None = None,
    namespace: str | None = None,
    announce: bool = True,
) -> Verdict:
    """Look at production as of an instant; a decision to retrain opens a turn and asks for new data."""
    job = open_job(usecase, as_of, None, namespace, announce=announce)
    with present(job):
        try:
            harvest_journal(job)
            measure_windows(job)
            watched = decide(job)
            announce_stalled(job)
        finally:  # what was found is told, also where something else fails
            tell(job)
        draw_report(job, watched)
        return Verdict(watched.decision.action, watched.decision.summary, watched.turn)
