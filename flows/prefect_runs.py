"""Flow runs of a Prefect server, asked for without its own client, which the page does not load; and its pages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

import httpx

from tasks.stores.flow_server import flow_server
from tasks.stores.retries import repeated

DEPLOYED_TAG = "driftwheel"
"""What our deployments are tagged with, and so are their runs."""
PAGE = 200
"""Runs, or deployments, that Prefect names in one answer."""
MAX_READ = 100 * PAGE
"""Where reading ends, however many more there are."""
CLOCK_MARGIN = timedelta(minutes=1)
"""How much later than now a server's clock may be without having been ahead."""
HANDED_OUT_AHEAD = "a clock was ahead when it was handed out"
"""Why a run is cancelled of which `handed_out_ahead` is true."""
_SECONDS = 10.0
_UNFINISHED = ("RUNNING", "PENDING")

T = TypeVar("T")


def handed_out_ahead(due: datetime, since: datetime, now: datetime) -> bool:
    """Whether a run that is Pending waits for a date that a clock that was ahead had taken for now.

    Prefect hands none out a minute early. One begins within seconds of that, or never, and has a minute for it: its
    process may be on a host whose clock still is ahead.

    Parameters
    ----------
    due : datetime
        Its date.
    since : datetime
        When it was handed out, by the clock of then.
    """
    return due - now > CLOCK_MARGIN and abs(now - since) > CLOCK_MARGIN


def read_pages(ask: Callable[[int, int], Sequence[T]]) -> list[T]:
    """Return all that Prefect has of something, page by page.

    Parameters
    ----------
    ask : function of limit and offset
        Returns one page.
    """
    found: list[T] = []
    for offset in _offsets(found):
        found += ask(PAGE, offset)
    return found


async def read_pages_async(ask: Callable[[int, int], Awaitable[Sequence[T]]]) -> list[T]:
    """Return all that Prefect has of something, as `read_pages` does."""
    found: list[T] = []
    for offset in _offsets(found):
        found += await ask(PAGE, offset)
    return found


def _offsets(found: Sequence[object]) -> Iterator[int]:
    """Say where each page begins, until one was not full."""
    for offset in range(0, MAX_READ, PAGE):
        yield offset
        if len(found) < offset + PAGE:
            return


class PrefectRuns:
    """Flow runs of a Prefect server.

    Parameters
    ----------
    api, login : str
        As of `tasks.stores.flow_server.flow_server`.
    """

    def __init__(self, api: str, login: str) -> None:
        address, auth = flow_server(api, login)
        self._client = httpx.Client(base_url=address, auth=auth, timeout=_SECONDS)

    def __enter__(self) -> PrefectRuns:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def unfinished(self) -> list[dict[str, Any]]:
        """Return those that run or are about to, as Prefect's API names them; each once.

        Raises
        ------
        httpx.HTTPError
            If Prefect does not answer.
        """
        wanted = {"flow_runs": {"state": {"type": {"any_": list(_UNFINISHED)}}}, "sort": "ID_DESC"}

        def ask(limit: int, offset: int) -> list[dict[str, Any]]:
            page: list[dict[str, Any]] = self._ask(
                "POST", "/flow_runs/filter", {**wanted, "limit": limit, "offset": offset}
            ).json()
            return page

        return list({each["id"]: each for each in read_pages(ask)}.values())

    def crash(self, run: str, why: str = "its process died") -> bool:
        """Mark a run that nobody works on as crashed, if it still says that it runs; returns whether it did."""
        try:
            state = self._ask("GET", f"/flow_runs/{run}").json()["state"]
        except httpx.HTTPStatusError as error:
            if error.response.status_code == httpx.codes.NOT_FOUND:  # somebody removed it
                return False
            raise
        if state is None or state["type"] not in (*_UNFINISHED, "SCHEDULED", "PAUSED", "CANCELLING"):
            return False
        self._set(run, "CRASHED", why, force=True)
        return True

    def cancel(self, run: str, why: str) -> None:
        """Have whoever holds a run's process end it; Prefect marks it as cancelled itself where nobody does."""
        self._set(run, "CANCELLING", why, force=False)

    def _set(self, run: str, kind: str, message: str, *, force: bool) -> None:
        state = {"type": kind, "name": kind.capitalize(), "message": message}
        self._ask("POST", f"/flow_runs/{run}/set_state", {"state": state, "force": force})

    def _ask(self, method: str, path: str, body: object = None) -> httpx.Response:
        return repeated(lambda: self._client.request(method, path, json=body).raise_for_status())
