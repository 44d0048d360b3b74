"""Collect: bring in what is new, hold it against its expectations, repair it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from prefect import flow

from flows.conclusions import conclude_collection
from flows.stage import FlowResult, at_work, open_job, run_name
from tasks.bundles.history_state import keep_history
from tasks.cleaning.task import clean
from tasks.collection.task import collect as collect_sources


@flow(name="collect", flow_run_name=run_name, persist_result=False)
def collect(
    usecase: str,
    as_of: datetime | None = None,
    turn_id: str | None = None,
    namespace: str | None = None,
    announce: bool = True,
    read: bool = True,
    asked_since: datetime | None = None,
) -> FlowResult:
    """Bring a use case's data up to an instant; with a turn, hand on to `train`.

    The sources are not read where the caller did so as of this instant. What the service looks back into is kept for
    requests of event times from `asked_since` on; of the last days where that is not given.
    """
    with at_work("collect", open_job(usecase, as_of, turn_id, namespace, announce=announce)) as stage:
        collected = collect_sources(stage.job) if read else None
        cleaned = clean(stage.job)
        history = keep_history(stage.job, since=asked_since)
        return replace(conclude_collection(stage, collected, cleaned), history=history)
