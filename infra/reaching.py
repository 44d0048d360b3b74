"""Whether the servers a command needs answer, before it begins: later it would be in the middle of something."""

from __future__ import annotations

import httpx

from infra.settings import Settings
from tasks.stores.retries import repeated, server_error

_TIMEOUT = 3.0
_FIRST_ERROR = 500


def await_servers(settings: Settings) -> None:
    """Wait until Prefect, MLflow and the service answer, those of the stack that is up or those named by settings.

    Raises
    ------
    UnreachableError
        If one does not answer in time, or with an error of its own.
    """
    places = settings.places()
    for name, address, path in (
        ("Prefect server", places.flow_api, "/health"),
        ("MLflow server", places.tracking, "/health"),
        ("service", places.service, "/livez"),
    ):
        if address.startswith(("http://", "https://")):
            _await(name, address, f"{address.rstrip('/')}{path}", settings.patience)


def _await(name: str, address: str, probe: str, seconds: float) -> None:
    def ask() -> None:
        answer = httpx.get(probe, timeout=_TIMEOUT)
        if answer.status_code >= _FIRST_ERROR or answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
            answer.raise_for_status()  # whatever else it answers: it is there

    try:
        repeated(ask, seconds)
    except httpx.HTTPError as error:
        raise server_error(
            f"the {name} at {address} to answer",
            error,
            "See `driftwheel status` and its log, start it (`driftwheel up`), and run again: what was committed stays",
            "its login",
        ) from error
