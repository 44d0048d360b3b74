"""Runs of schedules that a clock that was ahead planned, or ran: they would keep Prefect from planning until then."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterTags,
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelling

from flows.prefect_runs import CLOCK_MARGIN, DEPLOYED_TAG, HANDED_OUT_AHEAD, handed_out_ahead, read_pages
from flows.superseded import SCHEDULED_TAG

_MAX_RUNS_A_LOOK = 200


def plan_anew(client: SyncPrefectClient) -> list[str]:
    """Let Prefect plan the schedules of deployments anew of which it planned, or ran, when its clock was ahead.

    It plans nothing more where it sees runs to come, and no date twice. So once its clock was set back a schedule would
    stand still until what it had planned has come. That is removed, and so are the runs of dates that are yet to come:
    these come again. One that was handed out may have a process by now, which would wait until its date in a place
    that another run could have: its runner is told to end it, and it is removed by the next look.

    Returns
    -------
    list of str
        Names of the deployments, as in ``collect/NAME``.
    """
    found = []
    for deployment in our_deployments(client):
        if not deployment.schedules:
            continue
        now = datetime.now(UTC)
        coming = client.read_flow_runs(
            flow_run_filter=FlowRunFilter(
                deployment_id=FlowRunFilterDeploymentId(any_=[deployment.id]),
                tags=FlowRunFilterTags(all_=[SCHEDULED_TAG]),
                expected_start_time=FlowRunFilterExpectedStartTime(after_=now + CLOCK_MARGIN),
            ),
            sort=FlowRunSort.EXPECTED_START_TIME_ASC,
            limit=_MAX_RUNS_A_LOOK,
        )
        ahead = [run for run in coming if _ahead(client, run, now)]
        if not ahead:
            continue
        for run in ahead:
            with suppress(ObjectNotFound):  # somebody removed it meanwhile
                if run.state is not None and run.state.is_pending():
                    client.set_flow_run_state(run.id, Cancelling(message=HANDED_OUT_AHEAD))
                elif run.state is not None and not run.state.is_scheduled():
                    client.delete_flow_run(run.id)
        for schedule in deployment.schedules:  # as it is: Prefect drops what it planned by it
            client.update_deployment_schedule(deployment.id, schedule.id, active=schedule.active)
        found.append(f"{deployment.entrypoint.rpartition('.')[2] if deployment.entrypoint else ''}/{deployment.name}")
    return found


def our_deployments(client: SyncPrefectClient) -> list[DeploymentResponse]:
    """Return all deployments of use cases, of which Prefect names so many in one answer."""
    ours = DeploymentFilter(tags=DeploymentFilterTags(all_=[DEPLOYED_TAG]))
    return read_pages(lambda limit, offset: client.read_deployments(deployment_filter=ours, limit=limit, offset=offset))


def _ahead(client: SyncPrefectClient, run: FlowRun, now: datetime) -> bool:
    """Whether a run whose date is yet to come was planned, or begun, by a clock that was ahead.

    One at work is left alone until it ends, which may be by this clock again; Prefect hands none out a minute early.
    One that a person cancelled before that stays so.
    """
    state = run.state
    if state is None or state.is_running():
        return False
    if state.is_pending():
        return run.expected_start_time is not None and handed_out_ahead(run.expected_start_time, state.timestamp, now)
    if state.is_cancelled() or state.is_cancelling():
        return any(
            each.timestamp > now + CLOCK_MARGIN or each.is_pending() for each in client.read_flow_run_states(run.id)
        )
    return state.timestamp > now + CLOCK_MARGIN or state.is_final()
