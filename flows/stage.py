"""What every flow needs around its page: the job from its parameters, the turn's lease, and healing after a crash."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal
from uuid import UUID

import httpx
import psutil
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterName,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.context import FlowRunContext, TagsContext, TaskRunContext
from prefect.exceptions import ObjectNotFound
from prefect.logging.handlers import APILogHandler
from prefect.runtime import flow_run
from prefect.states import Crashed

from expectations.errors import AccessError, UnreachableError, UseCaseError
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
from tasks.stores.presences import PRESENCE, Process
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

_TICK = 0.05
"""Seconds between which the kernel tells when processes began, and what adding to large numbers takes from them."""
_UNHEARD = timedelta(days=1)
"""How long a run on another host that never said that it is there may still be at its beginning, or at its end."""


@dataclass(frozen=True)
class FlowResult:
    """How a flow ended; what it found is a value, not an exception."""

    outcome: Outcome
    summary: str
    turn: str | None = None
    lost: int = 0
    """Rows of the sources that cannot be taken, and that no run reported before."""


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


def this_process() -> Process:
    """Return this process."""
    return Process(socket.gethostname(), os.getpid(), _born(os.getpid()))


def _born(process: int) -> float:
    """Say when a process began, in seconds since the boot: when the clock is set, that stays what it is."""
    return psutil.Process(process).create_time() - psutil.boot_time()


def lives(process: Process, last_seen: datetime, silence: timedelta = PRESENCE) -> bool:
    """Whether a process may be alive; one on another host may while it has been heard of lately.

    One heard of later than now was so by a clock that was ahead, and would live until that has come.
    """
    if process.host != socket.gethostname():
        return abs(datetime.now(UTC) - last_seen) < silence
    try:
        return abs(_born(process.process) - process.born) < _TICK
    except psutil.NoSuchProcess:
        return False


TAG = "process"


def process_tag() -> str:
    """Name this process in a tag that every flow run it starts carries from its creation."""
    own = this_process()
    return f"{TAG}:{own.host}:{own.process}:{own.born!r}"


def tagged_process(labels: list[str]) -> Process | None:
    """Read the process from a flow run's tags."""
    for label in labels:
        kind, _, rest = label.partition(":")
        if kind == TAG:
            host, number, born = rest.rsplit(":", 2)
            return Process(host, int(number), float(born))
    return None


def close_orphans(job: Job) -> None:
    """Mark flow runs of this use case whose process died as crashed, however early it died."""
    known = job.database.present(job.name)
    for run, (process, seen) in known.items():
        if run != str(flow_run.id) and not lives(process, seen):
            mark_crashed(run)
            job.database.leave(run)
    unfinished = FlowRunFilterStateType(any_=[StateType.RUNNING, StateType.PENDING])
    named = FlowRunFilterName(like_=f"{job.name} as of")
    with get_client(sync_client=True) as client:
        found = client.read_flow_runs(
            flow_run_filter=FlowRunFilter(name=named, state=FlowRunFilterState(type=unfinished)), limit=50
        )
    for each in found:
        starter, began = tagged_process(each.tags), each.start_time or each.created
        if starter is None or began is None or str(each.id) in known:
            continue
        if not lives(starter, began, _UNHEARD):
            mark_crashed(str(each.id))


@contextmanager
def present(job: Job) -> Iterator[None]:
    """Note this flow run as running here, and mark those of processes that died as crashed, where Prefect answers.

    Its tasks carry none of its tags: for those with tags Prefect asks its server for room, in a transaction that
    writes, and flows beside it wait for SQLite.
    """
    try:
        close_orphans(job)
    except httpx.HTTPError as error:  # the next run does it
        _log.warning("runs whose process died could not be marked as crashed: Prefect: %s", reason(error))
    with (
        TagsContext(current_tags=set()),
        Presence(job.database, str(flow_run.id), job.name, this_process()),
        reporting_lineage(job, Settings()),
    ):
        yield


def mark_crashed(run_id: str) -> None:
    """Mark a Prefect run whose process is gone, if it still says that it runs."""
    with get_client(sync_client=True) as client:
        try:
            run = client.read_flow_run(UUID(run_id))
        except ObjectNotFound:
            return
        if run.state is not None and not run.state.is_final():
            client.set_flow_run_state(run.id, Crashed(message="its process died"), force=True)


@contextmanager
def at_work(name: str, job: Job) -> Iterator[Stage]:
    """Claim the job's turn for a stage, close the runs a dead predecessor left, and tell the world at the end."""
    if job.turn is not None:  # a turn keeps the instant it was requested for
        job = job.moved(job.database.turn(job.turn).as_of)
    try:
        with present(job), Stage(job, name, str(flow_run.id)) as stage:
            if stage.before is not None and stage.before.tracking_run:
                job.registry().fail_orphan(stage.before.tracking_run)
            refuse_future(job.as_of, job.name)  # a clock was ahead when the turn was opened: it ends here
            yield stage
    finally:
        tell(job)


def tell(job: Job) -> None:
    """Send waiting events and messages. A server that is away undoes nothing: they wait for the next run."""
    try:
        events.flush(job.database, job.places.flow_api or None, job.places.flow_login)
    except (UnreachableError, AccessError) as error:
        _log.error("%s", error)
    send_messages(Settings(), job.usecase)
