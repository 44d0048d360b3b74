"""Run flows in this process."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
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

from expectations.errors import DriftwheelError
from expectations.production import Release
from flows.collect import collect
from flows.dead_runs import process_tag
from flows.deploy import deploy
from flows.instants import refuse_future
from flows.loop import loop
from flows.monitor import monitor
from flows.open_turns import turn_for
from flows.stage import FlowResult
from flows.train import train
from infra.environment import debugging
from infra.logs import mask_logs
from infra.settings import Settings
from tasks.stores.retries import TRANSIENT_STATUSES, is_transient, server_error

P = ParamSpec("P")
R = TypeVar("R")

_SETTINGS: dict[Any, Any] = {  # Prefect's type of a setting is private
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,
    # what passes by itself is asked again after 2 and 4 s; Prefect's own 5 times take minutes
    PREFECT_CLIENT_MAX_RETRIES: 2,
    PREFECT_CLIENT_RETRY_EXTRA_CODES: TRANSIENT_STATUSES,
    PREFECT_API_REQUEST_TIMEOUT: 15.0,  # longer than its database waits for a lock (`infra.pages`), and then it says so
}
_STAGES: dict[str, Any] = {"train": train, "deploy": deploy}


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
        logging.raiseExceptions = debugging()  # a server that is away takes no lines: that is reported once, here
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
def run_flow(name: str, usecase: str, as_of: datetime | None, *, recalibrate: bool = False) -> FlowResult:
    """Run one flow; `train` and `deploy` go on with the open turn, `train` opens one where there is none."""
    instant = as_of or datetime.now(UTC)
    refuse_future(instant)
    if name == "collect":
        return collect(usecase, instant)
    if name == "monitor":
        return monitor(usecase, instant)
    if name == "loop":
        return loop(usecase, instant)
    turn = turn_for(Settings(), name, usecase, instant, recalibrate=recalibrate)
    verdict: FlowResult = _STAGES[name](usecase, instant, turn)
    return verdict


@quietly
def deploy_by_hand(
    usecase: str, version: str, plan: Release | None = None, *, new_signature: bool = False
) -> FlowResult:
    """Release a version: its number, `challenger`, or `previous`; as `flows.deploy.deploy` says."""
    verdict: FlowResult = deploy(usecase, datetime.now(UTC), version=version, plan=plan, new_signature=new_signature)
    return verdict
