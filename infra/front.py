"""The door in front of every page of the local stack: no page from elsewhere may read it or change anything.

Prefect's and Evidently's own servers answer any Host and let pages of any origin in. `Front` wraps the server's
application in its own process, so there is no way round it, and nothing is copied.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

from infra.identity import PROOF, prove
from infra.serving.access import is_of_this_machine

_SAME = frozenset({b"same-origin", b"none"})

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


def foreign(headers: list[tuple[bytes, bytes]], *, reads: bool) -> str:
    """Say why a request may come from a page of another origin; empty where it does not.

    Parameters
    ----------
    headers : list of (bytes, bytes)
        Names in lower case.
    reads : bool
        Whether the request is a GET or HEAD: those may follow a link from elsewhere, as a whole page.

    Notes
    -----
    The name in Host must be this machine's own (against DNS rebinding), at any port (a tunnel may lead here). Origin,
    where a browser sends one, must be exactly that Host. ``Sec-Fetch-Site`` covers what is sent without Origin.
    """
    found: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        if name in (b"host", b"origin", b"sec-fetch-site", b"sec-fetch-mode", b"sec-fetch-dest"):
            found.setdefault(name, []).append(value.strip().lower())
    hosts = found.get(b"host", [])
    if len(hosts) != 1 or not is_of_this_machine(hosts[0]):
        return "the Host is not this machine"
    if any(origin != b"http://" + hosts[0] for origin in found.get(b"origin", [])):
        return "the Origin is another page's"
    if any(site not in _SAME for site in found.get(b"sec-fetch-site", [])):
        linked = found.get(b"sec-fetch-mode") == [b"navigate"] and found.get(b"sec-fetch-dest") == [b"document"]
        if not (reads and linked):
            return "the request comes from another page"
    return ""


class Front:
    """An ASGI application in front of another.

    Parameters
    ----------
    application : ASGI application
    program : str
        Its name in the stack.
    token : str
        The home's, for `prove`.
    """

    def __init__(self, application: Application, program: str, token: str) -> None:
        self._application, self._program, self._token = application, program, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 403 to what is foreign, prove who answers, else hand on."""
        if scope["type"] not in ("http", "websocket"):
            await self._application(scope, receive, send)
            return
        reads = scope["type"] == "http" and scope["method"] in ("GET", "HEAD")
        if why := foreign(list(scope["headers"]), reads=reads):
            await _refuse(scope["type"], why, send)
        elif scope["path"] == PROOF:
            nonce = parse_qs(scope["query_string"].decode("latin-1")).get("nonce", [""])[0]
            proof = json.dumps({"proof": prove(self._token, self._program, nonce)})
            await _answer(send, 200, b"application/json", proof.encode())
        else:
            await self._application(scope, receive, _unframed(send))


def _unframed(send: Send) -> Send:
    """Let no page from elsewhere show this one in a frame, to have it clicked on."""

    async def add(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = [(name, value) for name, value in message.get("headers", []) if name.lower() != b"x-frame-options"]
            message = {**message, "headers": [*kept, (b"x-frame-options", b"SAMEORIGIN")]}
        await send(message)

    return add


async def _refuse(kind: str, why: str, send: Send) -> None:
    if kind == "websocket":  # closed before it is accepted, which the client sees as 403
        await send({"type": "websocket.close", "code": 1008, "reason": why})
        return
    body = f"403: {why}. This page is only for a browser on this machine: http://127.0.0.1 or http://localhost.\n"
    await _answer(send, 403, b"text/plain; charset=utf-8", body.encode())


async def _answer(send: Send, status: int, media: bytes, body: bytes) -> None:
    headers = [(b"content-type", media), (b"content-length", str(len(body)).encode()), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
