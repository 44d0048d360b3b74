"""Whether the servers a command needs answer, and are whose they should be, before it begins.

Later it would be in the middle of something.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import httpx

from infra.identity import require_proof
from infra.settings import Addresses, Settings
from tasks.stores.retries import repeated, server_error

_TIMEOUT = 3.0
_FIRST_ERROR = 500


@dataclass(frozen=True)
class _Server:
    """A server that flows talk to."""

    program: str
    name: str
    address: str
    probe: str
    own: str
    """Where it answers as a part of this home's stack; empty where it is not."""


def await_servers(settings: Settings, stack: Addresses | None) -> None:
    """Wait until Prefect, MLflow and the service answer, those of the stack that is up or those named by settings.

    Parameters
    ----------
    stack : Addresses, optional
        This home's stack, where it is up. Its servers must prove that they are; those named by settings need not.

    Raises
    ------
    UnreachableError
        If one does not answer in time, or with an error of its own.
    StackError
        If another server took the place of one of the stack's.
    """
    for server in _servers(settings, stack):
        _await(server, settings)


def refuse_strangers(settings: Settings) -> None:
    """Make sure that no other server took the place of one of this home's stack.

    One that does not answer is passed over: it may be back when it is needed.

    Raises
    ------
    StackError
        If one did.
    """
    for server in _servers(settings, settings.addresses()):
        if server.own:
            with suppress(httpx.HTTPError):
                require_proof(server.own, server.program, settings.token)


def answering_tracking(settings: Settings) -> bool:
    """Whether the MLflow server that settings name, or of the stack that is up, answers now.

    Raises
    ------
    StackError
        If another server took the place of the stack's.
    """
    for server in _servers(settings, settings.addresses()):
        if server.program == "mlflow":
            with suppress(httpx.HTTPError):
                _ask(server, settings)
                return True
    return False


def _servers(settings: Settings, stack: Addresses | None) -> Iterator[_Server]:
    places = settings.places()
    for program, name, address, api, probe in (
        ("prefect", "Prefect server", places.flow_api, "/api", "/health"),
        ("mlflow", "MLflow server", places.tracking, "", "/health"),
        ("service", "service", places.service, "", "/livez"),
    ):
        if address.startswith(("http://", "https://")):
            base = getattr(stack, program) if stack else ""
            own = base if address == f"{base}{api}" else ""
            yield _Server(program, name, address, f"{address.rstrip('/')}{probe}", own)


def _await(server: _Server, settings: Settings) -> None:
    try:
        repeated(lambda: _ask(server, settings), settings.patience)
    except httpx.HTTPError as error:
        raise server_error(
            f"the {server.name} at {server.address} to answer",
            error,
            "See `driftwheel status` and its log, start it (`driftwheel up`), and run again: what was committed stays",
            "its login",
        ) from error


def _ask(server: _Server, settings: Settings) -> None:
    """Ask a server whether it is there.

    Raises
    ------
    httpx.HTTPError
        If it does not answer, or with an error of its own.
    """
    if server.own:
        require_proof(server.own, server.program, settings.token)
    answer = httpx.get(server.probe, timeout=_TIMEOUT)
    if answer.status_code >= _FIRST_ERROR or answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
        answer.raise_for_status()  # whatever else it answers: it is there
