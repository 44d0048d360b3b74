"""Run flows in this process, and move versions by hand."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, ParamSpec, TypeVar

import httpx
from prefect import tags
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker, PrefectConsoleHandler
from prefect.settings import (
    PREFECT_API_REQUEST_TIMEOUT,
    PREFECT_CLIENT_MAX_RETRIES,
    PREFECT_CLIENT_RETRY_EXTRA_CODES,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    temporary_settings,
)

from expectations.errors import DriftwheelError, OvertakenError, ReleaseError
from expectations.production import Release
from flows.collect import collect
from flows.deploy import deploy
from flows.instants import refuse_future
from flows.loop import loop
from flows.monitor import monitor
from flows.stage import Verdict, process_tag, tell
from flows.train import train
from infra.logs import mask_logs
from infra.settings import Settings, debugging
from tasks.deployment import releasing, rollout
from tasks.deployment.rollout import Rollout
from tasks.stores.ledger import Entry
from tasks.stores.outbox import Alert, Severity
from tasks.stores.places import Job
from tasks.stores.progress import doing
from tasks.stores.registry import ModelVersion
from tasks.stores.retries import TRANSIENT_STATUSES, is_transient, server_error
from tasks.stores.turns import State

P = ParamSpec("P")
R = TypeVar("R")

_SETTINGS: dict[Any, Any] = {  # Prefect's type of a setting is private
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,
    # what passes by itself is asked again after 2 and 4 s; Prefect's own 5 times take minutes
    PREFECT_CLIENT_MAX_RETRIES: 2,
    PREFECT_CLIENT_RETRY_EXTRA_CODES: TRANSIENT_STATUSES,
    PREFECT_API_REQUEST_TIMEOUT: 15.0,  # longer than its database waits for a lock, and then it says so
}
_STAGES: dict[str, tuple[Any, State]] = {"train": (train, "training"), "deploy": (deploy, "deploying")}


def quietly(function: Callable[P, R]) -> Callable[P, R]:
    """Run flows without their traces in the terminal, and without Prefect's heartbeat thread.

    The thread holds every flow back for a second at its end. Our own crash detection is the turn's lease, so
    nothing depends on it here.
    """

    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        mask_logs()
        for handler in (*logging.getLogger().handlers, *logging.getLogger("prefect").handlers):
            if isinstance(handler, PrefectConsoleHandler):
                handler.addFilter(_is_not_prefects)
        logging.raiseExceptions = debugging()  # a server that is away takes no lines: that is told once, here
        try:
            with temporary_settings(_SETTINGS), tags(process_tag()):
                result = function(*args, **kwargs)
        except RuntimeError as error:
            if "Failed to reach API" not in str(error):
                raise
            raise _unreachable(httpx.ConnectError(str(error))) from error
        except httpx.HTTPError as error:
            if isinstance(error, httpx.HTTPStatusError) and not is_transient(error) and _is_ours(error):
                raise
            raise _unreachable(error) from error
        APILogWorker.drain_all()  # what is on its way to the server gets there before anybody stops it
        EventsWorker.drain_all()
        return result

    return call


def _is_not_prefects(record: logging.LogRecord) -> bool:
    """Keep lines of Prefect, traces among them, out of the terminal: its server has them, and the error is shown."""
    return not record.name.startswith("prefect")


def _is_ours(error: httpx.HTTPStatusError) -> bool:
    """Whether a request was wrong, which no server can help."""
    denied = (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN)
    return error.response.is_client_error and error.response.status_code not in denied


def _unreachable(error: httpx.HTTPError) -> DriftwheelError:
    return server_error(
        f"the Prefect server at {os.environ.get('PREFECT_API_URL', 'no address')} to answer",
        error,
        "Start it (`driftwheel up`), or see its log, and run again: what was committed stays, the rest is done then",
        "DRIFTWHEEL_PREFECT_LOGIN (user:password)",
    )


@quietly
def run_flow(name: str, usecase: str, as_of: datetime | None) -> Verdict:
    """Run one flow; `train` and `deploy` go on with the open turn, `train` opens one where there is none."""
    instant = as_of or datetime.now(UTC)
    refuse_future(instant)
    if name == "collect":
        return collect(usecase, instant)
    if name == "monitor":
        return monitor(usecase, instant)
    if name == "loop":
        return loop(usecase, instant)
    flow, state = _STAGES[name]
    turn = _turn_in(usecase, state, instant, may_open=name == "train")
    verdict: Verdict = flow(usecase, instant, turn)
    return verdict


def _turn_in(usecase: str, state: State, as_of: datetime, *, may_open: bool) -> str:
    settings = Settings()
    name, database = settings.use_case(usecase).name, settings.platform()
    left = database.open_turn(name)
    if left is None and may_open:
        with database.transaction() as connection:
            opened = database.request_turn(connection, name, "manual", as_of)
            if opened is not None:
                database.put_state(connection, opened, state)
                return opened
        left = database.open_turn(name)
    if left is None or left.state != state:
        raise ReleaseError(
            f"an open turn of {name} in {state}",
            f"one in {left.state}" if left else "none",
            f"Run `driftwheel run loop {usecase}` to do what comes before",
        )
    return left.id


def _job(usecase: str) -> Job:
    settings = Settings()
    return Job(settings.use_case(usecase), settings.places(), datetime.now(UTC))


def promote_version(usecase: str, wanted: str | None) -> str:
    """Bless a registered version in the service and make it the champion.

    Raises
    ------
    ReleaseError
        If there is no such version, or the service refuses it.
    """
    return deploy_version(usecase, wanted, Release()).summary


def deploy_version(usecase: str, wanted: str | None, plan: Release | None, *, new_signature: bool = False) -> Verdict:
    """Bless a registered version, roll it out as planned and make it the champion, or withdraw it.

    Parameters
    ----------
    wanted : str, optional
        The challenger where not given.
    plan : Release, optional
        The use case's own where not given.
    new_signature : bool
        Whether its inputs may differ from those served today.

    Raises
    ------
    ReleaseError
        If there is no such version, or the service refuses it.
    """
    job = _job(usecase)
    version = releasing.choose_version(job, wanted)
    with _refusals_told(job, version):
        doing(f"proving version {version.version} in the service")
        releasing.bless(job, version, new_signature=new_signature)
        steps = rollout.roll_out(job, version, plan or job.usecase.spec.release, new_signature=new_signature)
        if steps.kept:
            return Verdict(
                "done", _settle(job, version, "promoted", "asked for by hand", steps, new_signature=new_signature)
            )
    summary = f"version {version.version} was withdrawn {steps.summary}"
    key = f"{job.name}/withdrawn/{version.version}/{job.as_of.isoformat()}"
    cause = "guardrail" if steps.steps[-1].verdict.status == "violated" else "too few rows"
    _note(job, key, "withdrawn", cause, summary, "warning", {**asdict(version), **steps.to_dict()})
    return Verdict("refused", summary)


@contextmanager
def _refusals_told(job: Job, version: ModelVersion) -> Iterator[None]:
    """Put into the ledger, and tell, that the service (or its image) would not take a version.

    That somebody else was quicker is no refusal: what they did is in the ledger.
    """
    try:
        yield
    except OvertakenError:
        raise
    except ReleaseError as error:
        key = f"{job.name}/refused/{version.bundle}/{job.as_of.isoformat()}"
        _note(job, key, "refused", "service", f"version {version.version}: {error}", "failure", asdict(version))
        raise


def _note(
    job: Job, key: str, action: str, cause: str, summary: str, severity: Severity, evidence: dict[str, Any]
) -> None:
    with job.database.transaction() as connection:
        job.database.write(connection, Entry(key, job.name, job.as_of, "deploy", action, cause, summary, evidence))
        job.database.alert(connection, Alert(key, job.name, f"{job.name}: deploy {action}", summary, severity))
    tell(job)


def roll_back(usecase: str) -> str:
    """Make the champion before the present one champion again; the ledger says which that was.

    Raises
    ------
    ReleaseError
        If there was none before.
    """
    job = _job(usecase)
    desired = job.releases.desired(job.name)
    now = desired.champion if desired else None
    stood = _champions(job.database.entries(job.name))
    # what is served and lies below the top was a rollback that did not get to its end: finish it
    unfinished = [each for each in stood[:-1] if now is not None and each.evidence["bundle"] == now.bundle]
    before = unfinished or [each for each in stood if now is not None and each.evidence["bundle"] != now.bundle]
    if now is None or not before:
        raise ReleaseError("a champion before the present one", "none in the ledger", "See `driftwheel why`")
    last = before[-1].evidence
    version = ModelVersion(last["version"], last["bundle"], last["run"])
    releasing.restore_bundle(job, version)
    with _refusals_told(job, version):
        doing(f"proving version {version.version} in the service")
        # back to inputs that were served before, so they may differ from today's
        releasing.bless(job, version, new_signature=True)
        cause = f"from version {now.version}, asked for by hand"
        return _settle(job, version, "rolled back", cause, Rollout(()), new_signature=True)


def _champions(entries: Iterable[Entry]) -> list[Entry]:
    """Return the promotions that stand, the present champion's last: each bundle once, where it was promoted last.

    A rollback takes away those above the one it goes back to.
    """
    stood: list[Entry] = []
    for entry in entries:
        bundles = [each.evidence["bundle"] for each in stood]
        if entry.action == "promoted":
            stood = [each for each in stood if each.evidence["bundle"] != entry.evidence["bundle"]] + [entry]
        elif entry.action == "rolled back" and entry.evidence["bundle"] in bundles:
            del stood[bundles.index(entry.evidence["bundle"]) + 1 :]
    return stood


def _settle(
    job: Job, version: ModelVersion, action: str, cause: str, steps: Rollout, *, new_signature: bool = False
) -> str:
    doing(f"releasing version {version.version}")
    generation = releasing.release(job, version, new_signature=new_signature)
    summary = (
        f"version {version.version} is the champion (bundle {version.bundle[:12]}, generation {generation}): {cause}"
    )
    with job.database.transaction() as connection:
        job.database.write(
            connection,
            Entry(
                f"{job.name}/{action}/{generation}",
                job.name,
                job.as_of,
                "deploy",
                action,
                "manual",
                summary,
                {**asdict(version), "generation": generation, **steps.to_dict()},
            ),
        )
    releasing.settle(job, version)  # after the ledger: a registry that is away must not hide what is served
    tell(job)
    return summary
