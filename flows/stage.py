"""What every flow needs around its page: the job from its parameters, the turn's lease, and healing after a crash."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

import httpx
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext, TagsContext, TaskRunContext
from prefect.logging.handlers import APILogHandler
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL

from expectations.errors import AccessError, UnreachableError, UseCaseError
from flows.dead_runs import close_orphans, this_process
from flows.instants import plain_instant, refuse_future
from flows.left_out import end_left_out, note_left_out
from flows.lineage_events import reporting_lineage
from flows.messenger import send_messages
from flows.superseded import SCHEDULED_TAG, try_to_skip_superseded
from infra.logs import mask_logs
from infra.reaching import refuse_strangers
from infra.settings import Settings
from tasks.stores import events
from tasks.stores.places import Job
from tasks.stores.progress import LOGGER
from tasks.stores.pulses import Presence
from tasks.stores.retries import reason
from tasks.stores.turning import Stage

Outcome = Literal[
    "done",
    "held",
    "refused",
    "unknown",
    "unchanged",
    "retrain",
    "recalibrate",
    "rollback",
    "warn",
    "hold",
    "keep",
    "taken",
]
_log = logging.getLogger("driftwheel.flows")


@dataclass(frozen=True)
class FlowResult:
    """How a flow ended; what it found is a value, not an exception."""

    outcome: Outcome
    summary: str
    turn: str | None = None
    lost: int = 0
    """Rows of the sources that cannot be taken, and that no run reported before."""
    history: str = ""
    """What the service calls the state that it looks back into, where it was kept anew (`keep_history`)."""


def run_name() -> str:
    """Name a flow run by its use case and its instant."""
    given = flow_run.parameters
    as_of = given.get("as_of")
    instant = as_of if isinstance(as_of, datetime) else flow_run.scheduled_start_time
    name = given.get("namespace") or Path(str(given.get("usecase"))).name
    asked = f", version {given['version']} by hand" if given.get("version") else ""
    return f"{name} as of {instant:%Y-%m-%d %H:%M}{asked}"


def open_job(
    usecase: str,
    as_of: datetime | None,
    turn_id: str | None = None,
    namespace: str | None = None,
    *,
    announce: bool = True,
) -> Job:
    """Make the job of a flow run.

    Without `as_of` its instant is the *scheduled* start: a late run equals a punctual one.

    Raises
    ------
    InstantError
        If the instant has not come yet; a turn's own is looked at when the turn is claimed.
    StackError
        If another server took the place of one of this home's stack.
    """
    mask_logs()
    settings = Settings()
    refuse_strangers(settings)
    report_to_prefect()
    if SCHEDULED_TAG in flow_run.tags:  # workers of a pool have nobody else who does so after an outage
        with get_client(sync_client=True) as client:
            try_to_skip_superseded(client)
    try:
        loaded = settings.use_case(usecase, namespace)
    except UseCaseError as error:  # it could be read when its flows were started
        folder = settings.platform().use_cases().get(usecase)
        if folder is not None:
            note_left_out(settings, usecase, folder, error)
        raise
    end_left_out(settings, loaded.name)
    instant = plain_instant(as_of or flow_run.scheduled_start_time)
    if turn_id is None:
        refuse_future(instant, loaded.name)
    return Job(loaded, settings.places(), instant, turn_id, announce=announce)


def report_to_prefect() -> None:
    """Let what is reported in a flow stand in its log in Prefect; not on the console of every process."""
    reports = logging.getLogger(LOGGER)
    reports.propagate = False
    reports.setLevel(reports.level or logging.INFO)
    if not any(isinstance(handler, APILogHandler) for handler in reports.handlers):
        handler = APILogHandler(logging.INFO)
        handler.addFilter(lambda _: FlowRunContext.get() is not None or TaskRunContext.get() is not None)
        reports.addHandler(handler)


@contextmanager
def present(job: Job) -> Iterator[None]:
    """Note this flow run as running here, and mark those of processes that died as crashed, where Prefect answers.

    It is noted first: of one that is killed before nobody knows that it was here.

    Its tasks carry none of its tags: for those with tags Prefect asks its server for room, in a transaction that
    writes, and flows beside it wait for SQLite.
    """
    own = str(flow_run.id)
    with TagsContext(current_tags=set()), Presence(job.database, own, job.name, this_process()):
        try:
            close_orphans(job.database, PREFECT_API_URL.value() or "", job.places.flow_login, but=own)
        except httpx.HTTPError as error:  # the next run does it
            _log.warning("runs whose process died could not be marked as crashed: Prefect: %s", reason(error))
        with reporting_lineage(job, Settings()):
            yield


@contextmanager
def at_work(name: str, job: Job) -> Iterator[Stage]:
    """Claim the job's turn for a stage, close the runs a dead predecessor left, and send its events at the end."""
    if job.turn is not None:  # a turn keeps the instant it was requested for
        job = job.moved(job.database.turn(job.turn).as_of)
    with present(job):
        try:
            with Stage(job, name, str(flow_run.id)) as stage:
                if stage.before is not None and stage.before.tracking_run:
                    job.registry().fail_orphan(stage.before.tracking_run)
                refuse_future(job.as_of, job.name)  # a clock was ahead when the turn was opened: it ends here
                yield stage
        finally:
            send_waiting(job)


def send_waiting(job: Job) -> None:
    """Send waiting events and messages. A server that is away undoes nothing: they wait for the next run."""
    try:
        events.flush(job.database, job.places.flow_api or None, job.places.flow_login)
    except (UnreachableError, AccessError) as error:
        _log.error("%s", error)
    send_messages(Settings(), job.usecase)
