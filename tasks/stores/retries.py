"""Which faults of a server pass by themselves, and asking again while they may."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import httpx

from expectations.errors import AccessError, DriftwheelError, UnreachableError

T = TypeVar("T")

SECONDS = 6.0
"""How long a request is repeated; a server that starts, or whose database is locked, is back in seconds."""
TRANSIENT_STATUSES = frozenset({429, 502, 503, 504})
_DENIED_STATUSES = (401, 403)
_FIRST_PAUSE, _MAX_PAUSE = 0.2, 2.0
_NUMBER = re.compile(r"\[Errno -?\d+\] ")


def is_transient(error: httpx.HTTPError) -> bool:
    """Whether a request may succeed if it is sent again; what a server answers for a reason will not change."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code in TRANSIENT_STATUSES
    return isinstance(error, httpx.TimeoutException | httpx.NetworkError | httpx.RemoteProtocolError)


def repeated(request: Callable[[], T], seconds: float = SECONDS) -> T:
    """Send a request, and again where its fault may pass, with growing pauses.

    Raises
    ------
    httpx.HTTPError
        The last one.
    """
    pauses = _Pauses(seconds)
    while True:
        try:
            return request()
        except httpx.HTTPError as error:
            wait = pauses.after(error)
        time.sleep(wait)


async def repeated_while_busy(request: Callable[[], Awaitable[T]], seconds: float = SECONDS) -> T:
    """Send a request, and again while the server answers that it is busy; that it is away is said at once.

    Raises
    ------
    httpx.HTTPError
        The last one.
    """
    pauses = _Pauses(seconds)
    while True:
        try:
            return await request()
        except httpx.HTTPStatusError as error:
            wait = pauses.after(error)
        await asyncio.sleep(wait)


class _Pauses:
    """How long to wait before each next try, longer and longer, until a deadline."""

    def __init__(self, seconds: float) -> None:
        self._deadline, self._pause = time.monotonic() + seconds, _FIRST_PAUSE

    def after(self, error: httpx.HTTPError) -> float:
        """Return the seconds to wait after a fault; raises it where it does not pass, or no time is left."""
        wait = self._pause * random.uniform(0.5, 1.0)  # noqa: S311 - that several do not come back at once
        if not is_transient(error) or time.monotonic() + wait > self._deadline:
            raise error
        self._pause = min(2 * self._pause, _MAX_PAUSE)
        return wait


def server_error(expected: str, error: httpx.HTTPError, remedy: str, login: str) -> DriftwheelError:
    """Return the error for a server that does not do what it should.

    Parameters
    ----------
    login : str
        Where the credentials it asks for are set.
    """
    if isinstance(error, httpx.HTTPStatusError) and error.response.status_code in _DENIED_STATUSES:
        return AccessError(expected, f"status {error.response.status_code}", f"Set {login} to what it asks for")
    return UnreachableError(expected, reason(error), remedy)


def reason(error: httpx.HTTPError) -> str:
    """Say in a few words why a request failed."""
    if isinstance(error, httpx.HTTPStatusError):
        return f"status {error.response.status_code}"
    if isinstance(error, httpx.TimeoutException):
        return "no answer in time"
    said = _NUMBER.sub("", str(error)) or type(error).__name__
    return said[:1].lower() + said[1:]
