"""HTTP connections that cannot be held open for nothing: late and oversized requests are cut off.

Where there are too many connections, or too many from one address, the one that has been quiet for longest is closed to
make room: first those that never asked anything, then those between two requests, then those whose body is still on its
way. One whose answer is being made is never closed. Only where answers are being made on all of them is a new one
refused, and its probe is answered even then.
"""

from __future__ import annotations

import asyncio
import heapq
import ipaddress
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from http import HTTPStatus

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from infra.serving.access import OPEN_PATHS
from infra.serving.predicting import Admitted, Predictions
from infra.serving.replies import SAFE_HEADERS, Reply, error_body, request_id_of, unavailable

MAX_HEADER_BYTES = 32 * 1024
HEAD_SECONDS = 10.0
"""The head of a request must have arrived whole after this long; that of a new connection's first, too."""
REQUEST_SECONDS = 20.0
"""A request must have arrived whole after this long."""
IDLE_SECONDS = 75.0
"""A connection may lie idle between requests for so long."""
_SETTLE_SECONDS = 0.1
"""A connection as new as this has had no time to ask, and is not closed to make room."""
_AT_ONCE = 64
"""Room for one connection of so many is made at once: to look for the quietest takes a while."""
MAX_HEADS, MAX_HEAD_BYTES = 256, 2 * 1024
"""How many are remembered, and up to what size."""
_AROUND_HEADER = len(b": \r\n")
_AROUND_HEAD = len(b"GET  HTTP/1.1\r\n\r\n")
_AROUND_PIECE = 24
"""What stands around what the parser tells of; of a piece of a body its length in digits, line ends, and some room."""
_STATUS = {status.value: f"{status.value} {status.phrase}".encode() for status in HTTPStatus}
_SAFE = b"".join(b"%s: %s\r\n" % header for header in SAFE_HEADERS)


def _last_words(status: int, message: str) -> bytes:
    body = error_body("BAD_REQUEST", message)
    return b"HTTP/1.1 %s\r\n%scontent-length: %d\r\nconnection: close\r\n\r\n%s" % (
        _STATUS[status],
        _SAFE,
        len(body),
        body,
    )


_TOO_LARGE = _last_words(431, f"the headers are larger than {MAX_HEADER_BYTES} bytes")
_NO_HTTP = _last_words(400, "this is no HTTP/1.1 request")
_NO_UPGRADE = _last_words(400, "send no Upgrade header: this is HTTP/1.1 alone")
_PROBES = frozenset(path.encode("ascii") for path in OPEN_PATHS)


@dataclass(frozen=True)
class ConnectionLimits:
    """How many connections are held.

    Attributes
    ----------
    total : int
        At once.
    per_address : int
        Of those, from one address; of IPv6, from one /64 network. A proxy in front is one address, and so are all
        clients of this machine: over the limit such an address loses its own quietest connection, nothing else.
    """

    total: int = 2000
    per_address: int = 1000


class Crowd:
    """All open connections of a worker, and who goes where there are too many."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self.closed = {"quiet": 0, "late": 0}
        """Why -> connections closed that did nothing: to make room, or because they took too long."""
        self._all: set[Connection] = set()
        self._by_address: dict[str, set[Connection]] = {}

    def join(self, connection: Connection) -> None:
        """Take a new connection in, and make room for it."""
        theirs = self._by_address.setdefault(connection.address, set())
        for members, limit in ((theirs, self.limits.per_address), (self._all, self.limits.total)):
            members.add(connection)
            if len(members) > limit:
                self._make_room(members, len(members) - limit + limit // _AT_ONCE, connection)

    def leave(self, connection: Connection) -> None:
        """Forget a connection that ended."""
        self._all.discard(connection)
        theirs = self._by_address.get(connection.address)
        if theirs is not None:
            theirs.discard(connection)
            if not theirs:
                del self._by_address[connection.address]

    def is_full(self, connection: Connection) -> bool:
        """Whether there are more connections than allowed, as none could be closed for this one."""
        theirs = self._by_address.get(connection.address, ())
        return len(self._all) > self.limits.total or len(theirs) > self.limits.per_address

    def _make_room(self, members: Collection[Connection], number: int, newcomer: Connection) -> None:
        now = time.monotonic()
        ranks = [(rank, id(each), each) for each in members if each is not newcomer and (rank := each.rank(now))]
        for _, _, quiet in heapq.nsmallest(number, ranks):
            self.leave(quiet)
            self.closed["quiet"] += 1
            quiet.transport.abort()


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


class Connection(HttpToolsProtocol):
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
    crowd: Crowd
    """Of all connections of the subclass."""

    address = ""
    """Whom the connection counts for."""

    arriving_since: float | None = None
    """When the request now arriving began; None between requests."""
    unread_since: float | None = None
    """Since when the client does not read what it is sent; None where it does."""
    idle_since: float = 0.0
    _header_bytes = 0
    """Of the request that arrives: its address, its headers, and what may follow a body in pieces."""
    _whole: bytes | None = None
    """What came at once, from the first byte of a request on; only while it is parsed."""
    _untold_bytes = 0
    """What came and the parser did not tell of yet: a line that does not end."""
    in_headers = True
    """Whether the head of the request that arrives is not whole yet; also between requests."""
    _deaf = False
    """Whether what still comes is thrown away: the connection ends after the replies that are due."""
    _short = False
    _path = ""
    _admitted: Admitted
    _parts: list[bytes]
    _size = 0
    _last = False
    _turn: _Turn

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn narrows it
        """Start the clock."""
        self.arriving_since = time.monotonic()
        self._turn = _Turn()
        super().connection_made(transport)
        self.address = _address(self.client)
        self.crowd.join(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Make room for another."""
        self.crowd.leave(self)
        super().connection_lost(exc)

    def rank(self, now: float) -> tuple[int, float] | None:
        """Say when the connection's turn is to be closed for another, lower ones first; None where it is not."""
        if self.pipeline:
            return None
        if self.arriving_since is not None and not self.in_headers:
            return 2, self.arriving_since
        if self.cycle is not None and not self.cycle.response_complete:
            return None
        if self.idle_since:
            return 1, self.idle_since
        since = self.arriving_since or 0.0
        return (0, since) if now - since > _SETTLE_SECONDS else None

    def data_received(self, data: bytes) -> None:
        """Answer a request whose head is known, or parse what came; refuse headers that go on beyond the limit."""
        if self._deaf:
            return
        between = self.arriving_since is None
        if between and self._answers_at_sight(data):
            return
        self._whole = data if between else None
        self._untold_bytes += len(data)
        super().data_received(data)
        self._whole = None
        if self.arriving_since is None:
            self._untold_bytes = 0
            return
        self._untold_bytes = max(0, self._untold_bytes)
        size = self._untold_bytes + (self._header_bytes if self.in_headers else 0)
        if size > MAX_HEADER_BYTES and not self.transport.is_closing():
            self._refuse(_TOO_LARGE)

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

    def _refuse(self, answer: bytes) -> None:
        """Hear nothing more, and end the connection: after a reply that is due, else after this answer."""
        if not self._ends_after_what_is_due():
            self.transport.write(answer)
            self.transport.close()
        self._deaf, self._short, self.arriving_since = True, False, None

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - ours says it as every error is said
        """Refuse what is no HTTP; a reply that is still due goes first, and then the connection ends."""
        if self._deaf and self.transport.is_closing():
            return
        if not self._ends_after_what_is_due():
            self.transport.write(_NO_HTTP)
            self.transport.close()

    def eof_received(self) -> bool:  # type: ignore[override] # asyncio's own is bool | None
        """Keep a connection whose client sends no more open for the reply that is due."""
        return self._ends_after_what_is_due()

    def _ends_after_what_is_due(self) -> bool:
        # a request whose own body is still on its way has no reply that is due
        asked = self.arriving_since is None or self.in_headers or bool(self.pipeline)
        if self.cycle is None or self.cycle.response_complete or not asked:
            return False
        self.cycle.keep_alive = False
        self._deaf = True
        return True

    def on_response_complete(self) -> None:
        """Let the request that waited have its turn, and its time from now on."""
        if self.pipeline and self.arriving_since is not None:
            if self._deaf and len(self.pipeline) == 1:  # the rest of it was no HTTP
                self.transport.write(_NO_HTTP)
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

    def on_url(self, url: bytes) -> None:
        """Take the address in."""
        self.url += url
        self._header_bytes += len(url)
        self._untold_bytes -= len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header in; those that follow a body in pieces are counted and not kept."""
        self._header_bytes += len(name) + len(value)
        self._untold_bytes -= len(name) + len(value) + _AROUND_HEADER
        if self.in_headers:
            name = name.lower()
            if name == b"expect" and value.lower() == b"100-continue":
                self.expect_100_continue = True
            self.headers.append((name, value))
        elif self._header_bytes > MAX_HEADER_BYTES and not self._deaf:
            self._refuse(_TOO_LARGE)

    def on_headers_complete(self) -> None:
        """Choose the way the request goes."""
        self.in_headers = False
        self._untold_bytes -= _AROUND_HEAD
        upgrades = self.parser.should_upgrade()
        if self._deaf or upgrades or self._header_bytes > MAX_HEADER_BYTES:  # on upgrading, the parser drops the body
            if not self._deaf:
                self.in_headers = True  # whatever is due is due to an earlier request
                self._refuse(_NO_UPGRADE if upgrades else _TOO_LARGE)
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
                self._reply(admitted, keep=False)
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
        self._untold_bytes -= len(body)
        if self._deaf:
            return
        if not self._short or self.predictions is None:
            super().on_body(body)
            return
        self._size += len(body)
        if self._size <= self.predictions.limits.body:
            self._parts.append(body)
        elif not self.transport.is_closing():
            self._parts = []
            self._reply(self.predictions.too_large(self._admitted.request_id), keep=False)

    def on_chunk_complete(self) -> None:
        """Count what stands around a piece of a body."""
        self._untold_bytes -= _AROUND_PIECE

    def on_message_complete(self) -> None:
        """Answer, on the short way."""
        self.arriving_since, self.idle_since = None, time.monotonic()
        self.in_headers, self._header_bytes = True, 0
        if self._deaf:
            return
        if not self._short or self.predictions is None:
            super().on_message_complete()
            return
        self._short = False
        if self.transport.is_closing():
            return
        body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts = []
        keep = self.parser.should_keep_alive() and not self._last
        if keep:
            self._remember_head()
        self._begin_turn(keep=keep)
        self.predictions.answer(self._path, self._admitted, body, self._answered)

    def _answered(self, reply: Reply) -> None:
        """Send the reply of the short way, and let what was sent meanwhile have its turn."""
        self._turn.response_complete = True
        self.idle_since = time.monotonic()
        if not self.transport.is_closing():
            self._reply(reply, keep=self._turn.keep_alive)
        if self.pipeline:
            self.on_response_complete()

    def _reply(self, reply: Reply, *, keep: bool) -> None:
        self.transport.write(on_the_wire(reply, keep=keep))
        self.server_state.total_requests += 1
        if not keep:
            self.transport.close()
        if reply.after is not None:
            self.loop.call_soon(reply.after)

    def pause_writing(self) -> None:
        """Take no more requests from a client that does not read its answers."""
        super().pause_writing()
        self.unread_since = time.monotonic()
        self.flow.pause_reading()

    def resume_writing(self) -> None:
        """Go on with it."""
        super().resume_writing()
        self.unread_since = None
        self.flow.resume_reading()

    def shutdown(self) -> None:
        """End the connection, after the request that is arriving."""
        if self._short:
            self._last = True
        else:
            super().shutdown()


def connection_class(predictions: Predictions, crowd: Crowd) -> type[Connection]:
    """Make the protocol class of a service."""
    return type("ServiceConnection", (Connection,), {"predictions": predictions, "heads": {}, "crowd": crowd})


def _address(client: tuple[str, int] | None) -> str:
    """Return whom a connection counts for: of an IPv6 client its network, which is one customer's."""
    host = client[0] if client is not None else ""
    if ":" not in host:
        return host
    address = ipaddress.IPv6Address(host.partition("%")[0])
    return str(address.ipv4_mapped or ipaddress.IPv6Address(int(address) >> 64 << 64))


def on_the_wire(reply: Reply, *, keep: bool) -> bytes:
    """Write a reply as HTTP/1.1."""
    headers = b"".join(b"%s: %s\r\n" % header for header in reply.headers) if reply.headers else b""
    return b"HTTP/1.1 %s\r\n%sx-request-id: %s\r\n%s%scontent-length: %d\r\n\r\n%s" % (
        _STATUS[reply.status],
        _SAFE,
        reply.request_id,
        headers,
        b"" if keep else b"connection: close\r\n",
        len(reply.body),
        reply.body,
    )


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
