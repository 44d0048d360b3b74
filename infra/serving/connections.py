"""HTTP connections that cannot be held open for nothing: late and oversized requests are cut off."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

import msgspec

from infra.serving.access import OPEN_PATHS
from infra.serving.admission import Admitted
from infra.serving.bounded_connections import (
    AROUND_HEAD,
    MAX_HEADER_BYTES,
    NO_HTTP,
    TOO_LARGE,
    BoundedConnection,
    Crowd,
)
from infra.serving.pieces import PIECE_BYTES
from infra.serving.predicting import Predictions
from infra.serving.replies import Reply, request_id_of, unavailable
from infra.serving.wire import last_words, on_the_wire

HEAD_SECONDS = 10.0
"""The head of a request must have arrived whole after this long; that of a new connection's first, too."""
REQUEST_SECONDS = 20.0
"""A request must have arrived whole after this long."""
IDLE_SECONDS = 75.0
"""A connection may lie idle between requests for so long."""
MAX_HEADS, MAX_HEAD_BYTES = 256, 2 * 1024
"""How many are remembered, and up to what size."""
_NO_UPGRADE = last_words(400, "send no Upgrade header: this is HTTP/1.1 alone")
_PROBES = frozenset(path.encode("ascii") for path in OPEN_PATHS)


class _Turn:
    """Stands where uvicorn looks for the response under way, while a reply of the short way is."""

    __slots__ = ("disconnected", "keep_alive", "response_complete")
    message_event = asyncio.Event()
    """Set by uvicorn; nobody waits for it."""

    def __init__(self) -> None:
        self.disconnected, self.keep_alive, self.response_complete = False, True, True


class _Head(msgspec.Struct, frozen=True):
    """What the parser made of the head of a request that took the short way."""

    path: str
    headers: list[tuple[bytes, bytes]]
    admitted: Admitted
    length: int
    """Of the body."""


class Connection(BoundedConnection):
    """One client's connection.

    Requests for predictions take a short way, without a task and without ASGI's messages. All others go to the
    application; so do requests that are sent before the reply to the last one, which uvicorn then keeps in order.

    Clients send the same head again and again. One that was parsed is remembered, byte by byte, and what comes whole
    behind the same bytes needs no parser; keys are checked each time.
    """

    predictions: Predictions | None = None
    """Answers on the short way; set on a subclass by `connection_class`."""
    heads: dict[bytes, _Head]
    """Those remembered, by all connections of the subclass."""
    _whole: bytes | None = None
    """What came at once, from the first byte of a request on; only while it is parsed."""
    _short = False
    """Whether the request that arrives takes the short way."""
    _path = ""
    _admitted: Admitted
    _parts: list[bytes]
    _size = 0
    _last = False
    _turn: _Turn

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn narrows it
        """Begin without a reply that is due."""
        self._turn = _Turn()
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Answer a request whose head is known, or parse what came; refuse headers that go on beyond the limit."""
        if self._deaf and not self._unread:
            return
        between = self.arriving_since is None
        if between and self._answers_at_sight(data):
            return
        self._whole = data if between else None
        self._unparsed_bytes += len(data)
        super().data_received(data)
        self._whole = None
        if self.arriving_since is None:
            self._unparsed_bytes = 0
            return
        self._unparsed_bytes = max(0, self._unparsed_bytes)
        size = self._unparsed_bytes + (self._header_bytes if self.in_headers else 0)
        if size > MAX_HEADER_BYTES and not self.transport.is_closing():
            self._refuse(TOO_LARGE)

    def _refuse(self, answer: bytes) -> None:
        super()._refuse(answer)
        self._short = False

    def _answers_at_sight(self, data: bytes) -> bool:
        """Answer what is one whole request, behind a head that was parsed before, where no reply is due."""
        end = data.find(b"\r\n\r\n", 0, MAX_HEAD_BYTES) + 4
        head = self.heads.get(data[:end])
        if head is None or len(data) != end + head.length or self.predictions is None:
            return False
        if not (self.cycle is None or self.cycle.response_complete) or self._last or self.transport.is_closing():
            return False
        self._unset_keepalive_if_required()
        self.idle_since = time.monotonic()
        admitted = self.predictions.admit_again(head.headers, head.admitted)
        if isinstance(admitted, Reply):
            self._reply(admitted, keep=False)
            return True
        self._begin_turn(keep=True)
        self.predictions.answer(head.path, admitted, data[end:], self._answered)
        return True

    def _remember_head(self) -> None:
        """Keep the head of a request that came at once and whole, with nothing that is its alone."""
        data, names = self._whole, [name for name, _ in self.headers]
        if data is None or b"x-request-id" in names or b"content-length" not in names or b"transfer-encoding" in names:
            return
        end = data.find(b"\r\n\r\n", 0, MAX_HEAD_BYTES) + 4
        if len(data) != end + self._size:
            return
        if len(self.heads) >= MAX_HEADS:
            self.heads.clear()
        self.heads[data[:end]] = _Head(self._path, self.headers, self._admitted, self._size)

    def _begin_turn(self, *, keep: bool) -> None:
        turn = self._turn
        turn.response_complete, turn.keep_alive = False, keep
        self.cycle = turn  # type: ignore[assignment] # as much of a cycle as uvicorn looks at

    def on_response_complete(self) -> None:
        """Let the request that waited have its turn, and its time from now on."""
        if self.pipeline and self.arriving_since is not None:
            if self._deaf and len(self.pipeline) == 1:  # the rest of it was no HTTP
                self.transport.write(NO_HTTP)
                self.transport.close()
                return
            self.arriving_since = time.monotonic()
        super().on_response_complete()

    def on_message_begin(self) -> None:
        """Start the clock of a request; that of the first began with the connection."""
        if self._deaf:
            return
        if self.idle_since:
            self.arriving_since = time.monotonic()
        self.in_headers, self._header_bytes = True, 0
        self.url, self.headers, self.expect_100_continue = b"", [], False

    def on_headers_complete(self) -> None:
        """Choose the way the request goes."""
        self.in_headers = False
        self._unparsed_bytes -= AROUND_HEAD
        upgrades = self.parser.should_upgrade()
        if self._deaf or upgrades or self._header_bytes > MAX_HEADER_BYTES:  # on upgrading, the parser drops the body
            if not self._deaf:
                self.in_headers = True  # whatever is due is due to an earlier request
                self._refuse(_NO_UPGRADE if upgrades else TOO_LARGE)
            return
        path, _, query = self.url.partition(b"?")
        full = False
        if self.cycle is None:  # the first request; a connection that was answered before goes on
            self.arriving_since = time.monotonic()
            full = self.crowd.is_full(self)
        if full and path not in _PROBES:
            if self.predictions is not None:
                self.predictions.access.refusals[503] += 1
            too_many = unavailable("requests on all connections that are allowed at once", request_id_of(self.headers))
            self._refuse(on_the_wire(too_many, keep=False))
            return
        busy = self.cycle is not None and not self.cycle.response_complete
        self._short = (
            self.predictions is not None
            and not busy
            and not query
            and path.startswith(b"/")
            and path.endswith(b"/invocations")
            and b"%" not in path
            and self.parser.get_method() == b"POST"
            and self.parser.get_http_version() == "1.1"
            and not self.expect_100_continue
        )
        if self._short and self.predictions is not None:
            admitted = self.predictions.admit(self.headers)
            if isinstance(admitted, Reply):  # refused before a body is taken in
                self._reply(admitted, keep=False, whole=False)
            else:
                self._admitted = admitted
        if self._short:
            self._path, self._parts, self._size = path.decode("ascii"), [], 0
        else:  # what uvicorn does when a request begins, made up for
            url, headers, expects = self.url, self.headers, self.expect_100_continue
            super().on_message_begin()
            self.url, self.expect_100_continue = url, expects
            self.headers.extend(headers)
            super().on_headers_complete()
            if full:
                self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Gather the body; what is beyond the limit is counted and not kept."""
        self._unparsed_bytes -= len(body)
        if self._deaf:
            return
        if not self._short or self.predictions is None:
            super().on_body(body)
            return
        self._size += len(body)
        if self._size <= self.predictions.limits.body:
            self._parts.append(body)
            if self._size - len(body) <= PIECE_BYTES < self._size:
                refused = self.predictions.refuse_at_opening(self._path, self._admitted, self._parts)
                if refused is not None:
                    self._parts = []
                    self._reply(refused, keep=False, whole=False)
        else:
            self._parts = []
            self._reply(self.predictions.too_large(self._admitted.request_id), keep=False, whole=False)

    def on_message_complete(self) -> None:
        """Answer, on the short way."""
        self.arriving_since, self.idle_since = None, time.monotonic()
        self.in_headers, self._header_bytes = True, 0
        if self._deaf:
            if self._unread:
                self.transport.close()
            return
        if not self._short or self.predictions is None:
            super().on_message_complete()
            return
        self._short = False
        if self.transport.is_closing():
            return
        parts, self._parts = self._parts, []
        keep = self.parser.should_keep_alive() and not self._last
        if keep:
            self._remember_head()
        self._begin_turn(keep=keep)
        self.predictions.answer_parts(self._path, self._admitted, parts, self._answered)

    def _answered(self, reply: Reply) -> None:
        """Send the reply of the short way, and let what was sent meanwhile have its turn."""
        self._turn.response_complete = True
        self.idle_since = time.monotonic()
        if not self.transport.is_closing():
            self._reply(reply, keep=self._turn.keep_alive)
        if self.pipeline:
            self.on_response_complete()

    def _reply(self, reply: Reply, *, keep: bool, whole: bool = True) -> None:
        self.transport.write(on_the_wire(reply, keep=keep))
        self.server_state.total_requests += 1
        if not whole:
            self.end_unread()
        elif not keep:
            self.transport.close()
        if reply.after is not None:
            self.loop.call_soon(reply.after)

    def shutdown(self) -> None:
        """End the connection, after the request that is arriving."""
        if self._short and not self._deaf:
            self._last = True
        else:
            super().shutdown()


def connection_class(predictions: Predictions, crowd: Crowd) -> type[Connection]:
    """Make the protocol class of a service."""
    return type("ServiceConnection", (Connection,), {"predictions": predictions, "heads": {}, "crowd": crowd})


def cut_late(connections: Iterable[object]) -> int:
    """Close connections whose request is overdue; returns how many."""
    now, cut = time.monotonic(), 0
    for connection in list(connections):
        if isinstance(connection, Connection) and _is_overdue(connection, now):
            connection.transport.abort()
            connection.crowd.closed["late"] += 1
            cut += 1
    return cut


def _is_overdue(connection: Connection, now: float) -> bool:
    if connection.unread_since is not None and now - connection.unread_since > REQUEST_SECONDS:
        return True
    if connection.pipeline:  # what waits behind a reply is not read further, and that is not the client's delay
        return False
    if connection.arriving_since is not None:
        return now - connection.arriving_since > (HEAD_SECONDS if connection.in_headers else REQUEST_SECONDS)
    # a connection that took the ordinary way last has uvicorn's own timer as well
    idle = connection.cycle is None or connection.cycle.response_complete
    return idle and connection.unread_since is None and now - connection.idle_since > IDLE_SECONDS
