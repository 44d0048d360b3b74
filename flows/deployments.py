"""Deployments and automations of every registered use case, and the process that runs them.

A use case has four (``collect/NAME``, ``train/NAME``, ``deploy/NAME``, ``monitor/NAME``); three events join them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.runner import Runner
from prefect.schedules import Cron, Schedule

from expectations.errors import DriftwheelError, StackError
from expectations.loading import LoadedUseCase
from flows.automations import EVENTS, automate
from flows.left_out import forget_left_out, note_left_out
from flows.messenger import Messenger, MonitorSchedules, note_schedules
from flows.planned import our_deployments, plan_anew
from flows.prefect_runs import DEPLOYED_TAG
from flows.superseded import skip_superseded, try_to_skip_superseded
from flows.worker_clock import end_when_idle
from infra import clock_watch
from infra.logs import mask_logs
from infra.reaching import refuse_strangers
from infra.settings import Settings
from infra.vital_signs import RUNNER, show
from tasks.stores.database import DEPLOYED, Database
from tasks.stores.flow_server import flow_server

SCHEDULED = ("collect", "monitor")
_SIGN_SECONDS = 1.0
_KEEP_UP_SECONDS = 10.0
_LOOKS_PER_REPAIR = 6
"""Looks at what piled up until automations are looked at, too."""
_PASSING = (httpx.HTTPError, httpx.InvalidURL, RuntimeError, ValueError, OSError)
"""Where Prefect is away, or something else answers in its place, as a proxy does with a page of its own."""
_DESCRIPTIONS = {
    "collect": "Bring in what is new, hold it against its expectations, repair it.",
    "train": "Train a challenger, judge it against the champion on the same rows, refit what passes.",
    "deploy": "Register, prove in the running service, release: what training left, or the `version` you give.",
    "monitor": "Harvest, measure the windows that are due, decide.",
    "loop": "Look at production and, where it asks for it, turn the wheel once, all in one process.",
    "score": "Predict a whole table with the champion; give its address, and where to.",
}


def build(client: SyncPrefectClient, usecase: LoadedUseCase, database: Database) -> list[RunnerDeployment]:
    """Make the deployments of a use case. An edit of a schedule in the UI wins until the YAML's own value changes."""
    schedule = usecase.spec.schedule
    wanted = _wanted(usecase)
    applied = json.loads(database.marked(usecase.name, DEPLOYED) or "{}")
    made = []
    for name, description in _DESCRIPTIONS.items():
        try:
            known = client.read_deployment_by_name(f"{name}/{usecase.name}")
        except ObjectNotFound:
            known = None
        fresh = known is None or any(wanted[key] != applied.get(key) for key in (name, "active") if key in wanted)
        cron = wanted.get(name)
        schedules = [utc_schedule(str(cron), name, active=schedule.active)] if fresh and name in SCHEDULED else None
        made.append(
            RunnerDeployment.from_entrypoint(
                f"flows.{name}.{name}",
                name=usecase.name,
                parameters={"usecase": usecase.name},
                tags=[DEPLOYED_TAG, usecase.name],
                description=f"{usecase.spec.title} {description}",
                schedules=schedules,
                paused=known.paused if known else False,
            )
        )
    return made


def utc_schedule(line: str, slug: str, *, active: bool) -> Schedule:
    """Make the schedule of a cron line; in UTC, where no hour comes twice and none is left out."""
    return Cron(line, timezone="UTC", slug=slug, active=active)


def remember(usecase: LoadedUseCase, database: Database) -> None:
    """Note which schedule of the YAML was applied; after it was."""
    database.mark(usecase.name, DEPLOYED, json.dumps(_wanted(usecase)))


def _wanted(usecase: LoadedUseCase) -> dict[str, str | bool]:
    schedule = usecase.spec.schedule
    return {"collect": schedule.collect, "monitor": schedule.monitor, "active": schedule.active}


def forget(client: SyncPrefectClient, kept: set[str]) -> None:
    """Remove deployments and automations of use cases that are no longer registered."""
    for deployment in our_deployments(client):
        if deployment.name not in kept:
            for target in EVENTS.values():
                for automation in client.read_automations_by_name(f"driftwheel: {target} {deployment.name}"):
                    client.delete_automation(automation.id)
            client.delete_deployment(deployment.id)


def register(pool: str, kind: str, names: Sequence[str], folder: Path | None) -> list[str]:
    """Register use cases with a worker pool: deployments and automations; again changes nothing.

    Parameters
    ----------
    pool : str
        Made if absent; one of containers is described by its worker (`flows.containers`).
    kind : {"process", "docker"}
    names : sequence of str
        Shipped use cases to add.
    folder : Path, optional
        Its folders are use cases to add.
    """
    settings = Settings()
    settings.tell_libraries()
    _await_server(os.environ.get("PREFECT_API_URL", ""), settings.prefect_login)
    database = settings.platform()
    found = [*names, *(str(path.parent) for path in sorted((folder or Path("/nowhere")).glob("*/usecase.yaml")))]
    for reference in found:
        try:
            usecase = settings.use_case(reference)
        except DriftwheelError as error:
            if Path(reference) not in database.use_cases().values():  # those that are registered are reported below
                note_left_out(settings, Path(reference).name, Path(reference), error)
        else:
            database.add_use_case(usecase.name, usecase.folder, usecase.digest)
    with get_client(sync_client=True) as client:
        with suppress(ObjectAlreadyExists):
            client.create_work_pool(WorkPoolCreate(name=pool, type=kind))
        return install(client, settings, lambda deployment: deployment.apply(work_pool_name=pool))


def install(client: SyncPrefectClient, settings: Settings, place: Callable[[RunnerDeployment], object]) -> list[str]:
    """Give every registered use case its deployments and automations, and return those that have them now.

    One that cannot be read is left out, and reported; it does not stop the others.

    Parameters
    ----------
    place : function of RunnerDeployment
        Makes it known to Prefect, for whoever is to run it.
    """
    database, installed = settings.platform(), []
    registered = database.use_cases()
    forget(client, set(registered))
    for name, folder in registered.items():
        try:
            usecase = settings.use_case(name)
        except DriftwheelError as error:
            note_left_out(settings, name, folder, error)
            continue
        for deployment in build(client, usecase, database):
            place(deployment)
        remember(usecase, database)
        automate(client, name)
        forget_left_out(settings, name)
        installed.append(name)
    schedules = MonitorSchedules(settings)
    for name in installed:
        note_schedules(settings, name, schedules)
    report_planned_anew(client)
    return installed


def report_planned_anew(client: SyncPrefectClient) -> None:
    """Let schedules go on that stood still because a clock was set back, and say which."""
    for name in plan_anew(client):
        print(f"{name} is planned anew: a clock was ahead when it was planned", flush=True)  # noqa: T201 - a server's log


def main() -> None:
    """Register every use case; run its flows until SIGTERM, or leave that to the workers of a pool."""
    mask_logs()
    parser = argparse.ArgumentParser(prog="python -m flows.deployments", description=main.__doc__)
    parser.add_argument("--pool", help="register with this pool of workers and end")
    parser.add_argument("--type", choices=["process", "docker"], default="process", help="what the pool runs flows in")
    parser.add_argument("--add", default="", help="shipped use cases to add first, separated by commas")
    parser.add_argument("--folder", type=Path, help="add every use case in this folder first")
    options = parser.parse_args()
    if options.pool:
        names = register(options.pool, options.type, [name for name in options.add.split(",") if name], options.folder)
        print(f"registered: {', '.join(names) or 'no use case'}", flush=True)  # noqa: T201 - the job's log
    else:
        _run()


def _run() -> None:
    settings = Settings()
    settings.tell_libraries()
    alive = settings.folder / "stack" / RUNNER
    alive.unlink(missing_ok=True)  # of a runner before this one
    _await_server(os.environ.get("PREFECT_API_URL", ""), settings.prefect_login)
    try:
        refuse_strangers(settings)  # nothing is made known to another home's server
    except StackError as error:
        sys.exit(str(error))
    runner = Runner(pause_on_shutdown=False, limit=4)
    with get_client(sync_client=True) as client:
        names = install(client, settings, runner.add_deployment)
        try_to_skip_superseded(client)  # what came due while nobody was there
    Messenger(settings).start()
    clock_watch.watch(lambda: end_when_idle(settings))
    if not names:
        print("no use case to run: waiting (driftwheel add NAME)", flush=True)  # noqa: T201 - the runner's log
        failed = ""
        while signal.sigtimedwait({signal.SIGTERM, signal.SIGINT}, _SIGN_SECONDS) is None:
            failed = _sign(alive, failed)
        return
    print(f"running the flows of {', '.join(names)}", flush=True)  # noqa: T201
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve(runner, settings, names, alive))


async def _serve(runner: Runner, settings: Settings, usecases: Sequence[str], alive: Path) -> None:
    """Run flows; a fault of what looks beside that ends all, and whoever supervises this process starts it anew.

    An odd answer, and a disk that cannot be written, may pass, and end no flow that is at work.
    """
    async with asyncio.TaskGroup() as group:
        beside = [group.create_task(each) for each in (_show_life(runner, alive), _keep_up(settings, usecases))]
        try:
            await runner.start()
        finally:
            for task in beside:
                task.cancel()


async def _show_life(runner: Runner, alive: Path) -> None:
    """Leave a sign of life whenever the runner has asked Prefect for work again."""
    seen, failed = None, ""
    while True:
        if runner.last_polled != seen:
            seen = runner.last_polled
            failed = _sign(alive, failed)
        await asyncio.sleep(_SIGN_SECONDS)


def _sign(alive: Path, before: str) -> str:
    """Leave a sign of life; returns why that failed, which is said where it is not what failed before."""
    try:
        show(alive)
    except OSError as error:
        failed = f"no sign of life can be left in {alive}: {error.strerror}"
        if failed != before:
            print(failed, flush=True)  # noqa: T201 - the runner's log
        return failed
    return ""


async def _keep_up(settings: Settings, usecases: Sequence[str]) -> None:
    """Let no runs of schedules pile up or stay away, and bring back automations that were deleted."""

    def look(repairs: bool) -> None:
        refuse_strangers(settings)  # its runs are not ours to cancel
        with get_client(sync_client=True) as client:
            skip_superseded(client)
            if repairs:
                for usecase in usecases:
                    automate(client, usecase)
                report_planned_anew(client)

    since_repair = 0
    while True:
        await asyncio.sleep(_KEEP_UP_SECONDS)
        since_repair += 1
        try:
            await asyncio.to_thread(look, since_repair >= _LOOKS_PER_REPAIR)  # the next look's, where this one fails
            since_repair %= _LOOKS_PER_REPAIR
        except ObjectNotFound as error:
            print(f"a deployment is gone; driftwheel up brings it back: {error}", flush=True)  # noqa: T201
        except DriftwheelError as error:
            print(error, flush=True)  # noqa: T201
        except _PASSING as error:
            print(f"whether runs pile up could not be seen: {type(error).__name__}", flush=True)  # noqa: T201


def _await_server(api: str, login: str) -> None:
    api, auth = flow_server(api, login)
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{api}/health", timeout=2, auth=auth).status_code == httpx.codes.OK:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.5)
    sys.exit(f"the Prefect server at {api} does not answer")


if __name__ == "__main__":
    main()
