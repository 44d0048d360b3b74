"""Send events from the outbox to the Prefect server over its API."""

from __future__ import annotations

import httpx

from tasks.stores.database import Database
from tasks.stores.flow_server import flow_server
from tasks.stores.retries import repeated, server_error

_TIMEOUT = 10.0


def resource(usecase: str) -> str:
    """Prefect resource id of a use case."""
    return f"driftwheel.usecase.{usecase}"


def flush(database: Database, api: str | None, login: str = "") -> int:
    """Send every waiting event; each is marked once the server has taken it, so a repeat is possible, a loss is not.

    Parameters
    ----------
    api : str or None
        Address of Prefect's API; without one events wait.
    login : str
        ``user:password``, where the server asks for one.

    Returns
    -------
    int
        How many were sent.

    Raises
    ------
    UnreachableError, AccessError
        If the server does not take them; they wait.
    """
    waiting = database.unsent()
    if not waiting or api is None:
        return 0
    body = [
        {
            "id": event.id,
            "event": event.name,
            "occurred": event.occurred.isoformat(),
            "resource": {
                "prefect.resource.id": resource(event.usecase),
                "prefect.resource.name": event.usecase,
                **event.labels,
            },
            "payload": event.payload,
        }
        for event in waiting
    ]
    api, auth = flow_server(api, login)
    try:
        # an event keeps its id: sent twice, it is the same one
        repeated(lambda: httpx.post(f"{api}/events", json=body, timeout=_TIMEOUT, auth=auth).raise_for_status())
    except httpx.HTTPError as error:
        raise server_error(
            f"the Prefect server at {api} to take {len(waiting)} event(s)",
            error,
            "Start it (`driftwheel up`) and run again; the events wait in the outbox",
            "DRIFTWHEEL_PREFECT_LOGIN (user:password)",
        ) from error
    for event in waiting:
        database.sent(event.id)
    return len(waiting)
