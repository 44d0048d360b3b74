"""Connections that hold no more than they may: how many there are, and what each may send before it has asked.

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
from collections.abc import Collection
from dataclasses import dataclass

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from infra.serving.wire import last_words

MAX_HEADER_BYTES = 32 * 1024
_SETTLE_SECONDS = 0.1
"""A connection as new as this has had no time to ask, and is not closed to make room."""
_AT_ONCE = 64
"""Room for one connection of so many is made at once: to look for the quietest takes a while."""
_AROUND_HEADER = len(b": \r\n")
AROUND_HEAD = len(b"GET  HTTP/1.1\r\n\r\n")
_AROUND_PIECE = 24
"""What stands around what the parser reports; of a piece of a body its length in digits, line ends, and some room."""
TOO_LARGE = last_words(431, f"the headers are larger than {MAX_HEADER_BYTES} bytes")
NO_HTTP = last_words(400, "this is no HTTP/1.1 request")


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
        self._all: set[BoundedConnection] = set()
        self._by_address: dict[str, set[BoundedConnection]] = {}

    def join(self, connection: BoundedConnection) -> None:
        """Take a new connection in, and make room for it."""
        theirs = self._by_address.setdefault(connection.address, set())
        for members, limit in ((theirs, self.limits.per_address), (self._all, self.limits.total)):
            members.add(connection)
            if len(members) > limit:
                self._make_room(members, len(members) - limit + limit // _AT_ONCE, connection)

    def leave(self, connection: BoundedConnection) -> None:
        """Forget a connection that ended."""
        self._all.discard(connection)
        theirs = self._by_address.get(connection.address)
        if theirs is not None:
            theirs.discard(connection)
            if not theirs:
                del self._by_address[connection.address]

    def is_full(self, connection: BoundedConnection) -> bool:
        """Whether there are more connections than allowed, as none could be closed for this one."""
        theirs = self._by_address.get(connection.address, ())
        return len(self._all) > self.limits.total or len(theirs) > self.limits.per_address

    def _make_room(self, members: Collection[BoundedConnection], number: int, newcomer: BoundedConnection) -> None:
        now = time.monotonic()
        ranks = [(rank, id(each), each) for each in members if each is not newcomer and (rank := each.rank(now))]
        for _, _, quiet in heapq.nsmallest(number, ranks):
            self.leave(quiet)
            self.closed["quiet"] += 1
            quiet.transport.abort()


class BoundedConnection(HttpToolsProtocol):
    """One client's connection, of which no more is held than it may.

    What its requests are answered with is the matter of `infra.serving.connections.Connection`.
    """

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
    _unparsed_bytes = 0
    """What came and the parser did not report yet: a line that does not end."""
    in_headers = True
    """Whether the head of the request that arrives is not whole yet; also between requests."""
    _deaf = False
    """Whether what still comes is thrown away: the connection ends after the replies that are due."""
    _unread = False
    """Whether that is the rest of a request that was answered before it was whole."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn narrows it
        """Start the clock."""
        self.arriving_since = time.monotonic()
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

    def _refuse(self, answer: bytes) -> None:
        """Hear nothing more, and end the connection."""
        self._end_with(answer)
        self._deaf, self.arriving_since = True, None

    def _end_with(self, answer: bytes) -> None:
        """End the connection: at once where it has had its answer, after a reply that is due, else after this one."""
        if self._unread:
            self.transport.close()
        elif not self._ends_after_what_is_due():
            self.transport.write(answer)
            self.transport.close()

    def end_unread(self) -> None:
        """End the connection after an answer whose request is still arriving: the rest of it is thrown away.

        Closed at once the kernel would reset it, and of clients that send all before they read (Python's own, and what
        builds on it) none would see the answer. It is closed once the rest is there or is no HTTP, by the client, or as
        late.
        """
        self._deaf = self._unread = True
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - ours says it as every error is said
        """Refuse what is no HTTP; a reply that is still due goes first, and then the connection ends."""
        if self._deaf and self.transport.is_closing():
            return
        self._end_with(NO_HTTP)

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

    def on_url(self, url: bytes) -> None:
        """Take the address in."""
        self.url += url
        self._header_bytes += len(url)
        self._unparsed_bytes -= len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header in; those that follow a body in pieces are counted and not kept."""
        self._header_bytes += len(name) + len(value)
        self._unparsed_bytes -= len(name) + len(value) + _AROUND_HEADER
        if self.in_headers:
            name = name.lower()
            if name == b"expect" and value.lower() == b"100-continue":
                self.expect_100_continue = True
            self.headers.append((name, value))
        elif self._header_bytes > MAX_HEADER_BYTES and (self._unread or not self._deaf):
            self._refuse(TOO_LARGE)

    def on_chunk_complete(self) -> None:
        """Count what stands around a piece of a body."""
        self._unparsed_bytes -= _AROUND_PIECE

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


def _address(client: tuple[str, int] | None) -> str:
    """Return whom a connection counts for: of an IPv6 client its network, which is one customer's."""
    host = client[0] if client is not None else ""
    if ":" not in host:
        return host
    address = ipaddress.IPv6Address(host.partition("%")[0])
    return str(address.ipv4_mapped or ipaddress.IPv6Address(int(address) >> 64 << 64))
