"""Runs of schedules that piled up: the newest one does the work of all, the rest end at once."""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from datetime import UTC, datetime
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterNextScheduledStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled

from flows.prefect_runs import DEPLOYED_TAG, read_pages
from tasks.stores.retries import reason

SCHEDULED_TAG = "auto-scheduled"
"""What Prefect marks runs with that a schedule made."""
_log = logging.getLogger("driftwheel.flows")


def skip_superseded(client: SyncPrefectClient) -> int:
    """Cancel runs of schedules that are due and were overtaken by a later one that is due too; returns how many.

    A run does whatever is left to do up to its instant, so the later one does the work of all. After an outage, or
    where a schedule comes more often than its flow ends, they would pile up without bound.
    """
    due = FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])),
        tags=FlowRunFilterTags(all_=[SCHEDULED_TAG, DEPLOYED_TAG]),
        next_scheduled_start_time=FlowRunFilterNextScheduledStartTime(before_=datetime.now(UTC)),
    )
    waiting: dict[tuple[UUID | None, str], list[UUID]] = {}
    order = FlowRunSort.NEXT_SCHEDULED_START_TIME_ASC
    for run in read_pages(
        lambda limit, offset: client.read_flow_runs(flow_run_filter=due, sort=order, limit=limit, offset=offset)
    ):
        alike = run.deployment_id, json.dumps(run.parameters, sort_keys=True, default=str)
        waiting.setdefault(alike, []).append(run.id)
    superseded = [run for runs in waiting.values() for run in runs[:-1]]
    for run_id in superseded:
        said = "skipped: a later run of this schedule is due, which does its work too"
        with suppress(ObjectNotFound):  # somebody removed it meanwhile
            client.set_flow_run_state(run_id, Cancelled(message=said))
    return len(superseded)


def try_to_skip_superseded(client: SyncPrefectClient) -> None:
    """Cancel them where Prefect answers; where it does not that is logged, and left to the next look."""
    try:
        skip_superseded(client)
    except httpx.HTTPError as error:
        _log.warning("whether runs pile up could not be seen: Prefect: %s", reason(error))
