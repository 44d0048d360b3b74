"""A connection that knows a head answers what one that parses everything answers; where there are many, some go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from uvicorn import Config
from uvicorn.server import ServerState

from infra.serving.admission import Admitted, Limits
from infra.serving.bounded_connections import ConnectionLimits, Crowd
from infra.serving.connections import (
    HEAD_SECONDS,
    IDLE_SECONDS,
    MAX_HEAD_BYTES,
    MAX_HEADS,
    REQUEST_SECONDS,
    Connection,
    connection_class,
    cut_late,
)
from infra.serving.replies import Reply


class Echo:
    """Answers with what it was asked; a key of `no` opens nothing."""

    def __init__(self) -> None:
        self.limits = Limits(body=200)
        self.at_sight = 0
        self.revoked = False
        self.access = SimpleNamespace(refusals={503: 0})
        self.looked: list[int] = []
        """How much had come of each body that was looked at before it was whole."""
        self.refuses = False
        self.due: list[Callable[[], None]] = []
        """Replies that are not made yet, where `slow`."""
        self.slow = False

    def admit(self, headers: list[tuple[bytes, bytes]]) -> Admitted | Reply:
        known = dict(headers)
        if known.get(b"x-api-key") == b"no" or self.revoked:
            return Reply(401, b"{}", b"none")
        return Admitted(
            known.get(b"x-request-id", b"new"), "csv" if known.get(b"content-type") == b"text/csv" else "json"
        )

    def admit_again(self, headers: list[tuple[bytes, bytes]], before: Admitted) -> Admitted | Reply:
        self.at_sight += 1
        admitted = self.admit(headers)
        return Admitted(admitted.request_id, before.media) if isinstance(admitted, Admitted) else admitted

    def too_large(self, request_id: bytes) -> Reply:
        return Reply(413, b"{}", request_id)

    def refuse_at_opening(self, path: str, admitted: Admitted, parts: list[bytes]) -> Reply | None:
        self.looked.append(sum(map(len, parts)))
        return Reply(400, b"{}", admitted.request_id) if self.refuses else None

    def answer_parts(self, path: str, admitted: Admitted, parts: list[bytes], done: Any) -> None:
        self.answer(path, admitted, b"".join(parts), done)

    def answer(self, path: str, admitted: Admitted, body: bytes, done: Any) -> None:
        reply = Reply(200, b"%s|%s|%s" % (path.encode(), admitted.media.encode(), body), admitted.request_id)
        if self.slow:
            self.due.append(lambda: done(reply))
        else:
            done(reply)


class Wire(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        super().__init__()
        self.written, self.closed, self.address = b"", False, address
        self.half = False
        """Whether it is closed for what is written alone, and what still comes is read."""

    @property
    def ended(self) -> bool:
        """Whether nothing more is written."""
        return self.closed or self.half

    def write(self, data: Any) -> None:
        if self.half:
            raise RuntimeError("Cannot call write() after write_eof()")
        if not self.closed:
            self.written += data

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed, self.half = True, False

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.half = True

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": (self.address, 1), "sockname": ("127.0.0.1", 2)}.get(name, default)

    def abort(self) -> None:
        self.closed, self.half = True, False

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Forgetful(dict[bytes, Any]):
    """Remembers no head."""

    def __setitem__(self, key: bytes, value: Any) -> None: ...


async def app(scope: Any, receive: Any, send: Any) -> None:
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
    await send({"type": "http.response.body", "body": b"long"})


def opener(echo: Echo, limits: ConnectionLimits | None = None) -> Callable[..., tuple[Connection, Wire]]:
    kind = connection_class(echo, Crowd(limits or ConnectionLimits()))  # type: ignore[arg-type]
    return lambda **options: open_one(echo, kind=kind, **options)


def open_one(
    echo: Echo, *, forgetful: bool = False, kind: type[Connection] | None = None, address: str = "127.0.0.1"
) -> tuple[Connection, Wire]:
    kind = kind or connection_class(echo, Crowd(ConnectionLimits()))  # type: ignore[arg-type]
    if forgetful:
        kind.heads = Forgetful()
    config = Config(app=app, http=kind, interface="asgi3", access_log=False, log_config=None)
    config.ws_protocol_class = None  # type: ignore[attr-defined]
    config.loaded_app, config.loaded = app, True
    connection = kind(config=config, server_state=ServerState(), app_state={})
    wire = Wire(address)
    connection.connection_made(wire)
    return connection, wire


HEADS = [
    b"POST /a/invocations HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n",
    b"POST /b/invocations HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\nContent-Length: %d\r\n\r\n",
    b"POST /a/invocations HTTP/1.1\r\nhost: x\r\nx-request-id: mine\r\ncontent-length: %d\r\n\r\n",
    b"POST /a/invocations HTTP/1.1\r\nhost: x\r\nx-api-key: no\r\ncontent-length: %d\r\n\r\n",
    b"POST /a/invocations HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: %d\r\n\r\n",
    b"POST /a/invocations HTTP/1.0\r\nhost: x\r\ncontent-length: %d\r\n\r\n",
    b"POST /other HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n",
    b"\r\nPOST /a/invocations HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n",
    b"POST /a/invocations HTTP/1.1\r\nhost: x\r\ncontent-length: 0%d\r\n\r\n",
    b"POST /a/invocations HTTP/1.1\r\nhost: x\r\nx: %d\r\ntransfer-encoding: chunked\r\n\r\n",
    b"POST /a/invocations HTTP/1.1\r\nhost: x\r\nupgrade: h2c\r\nconnection: upgrade\r\ncontent-length: %d\r\n\r\n",
    b"POST /a/invocations HTTP/1.1\r\nhost: x\r\nx-long: " + b"y" * MAX_HEAD_BYTES + b"\r\ncontent-length: %d\r\n\r\n",
]
BODIES = [
    b"",
    b"{}",
    b"[]",
    b"\r\n\r\n{}",
    b"2\r\n{}\r\n0\r\n\r\n",
    b"z" * 201,
    b"POST /b/invocations HTTP/1.1\r\n\r\n",
]
KNOWN = [HEADS[0] % 2 + b"{}", HEADS[1] % 2 + b"[]", HEADS[0] % 0]
USUAL = st.sampled_from(KNOWN)
ODD = st.builds(
    lambda head, body, wrong: head % (len(body) + wrong) + body,
    st.sampled_from(HEADS),
    st.sampled_from(BODIES),
    st.sampled_from([0, 0, 0, 1]),
)


@given(
    st.lists(USUAL | ODD, min_size=1, max_size=8),
    st.lists(st.tuples(st.integers(0, 400), st.booleans()), max_size=4),
    st.booleans(),
)
def test_a_known_head_changes_no_answer(requests: list[bytes], cuts: list[tuple[int, bool]], apart: bool) -> None:
    stream = b"".join(requests)
    edges, at = set(), 0
    for request in requests:
        at += len(request)
        if apart:
            edges.add(at)
    edges |= {cut for cut, _ in cuts if 0 < cut < len(stream)}
    pieces = [stream[start:end] for start, end in zip([0, *sorted(edges)], [*sorted(edges), len(stream)], strict=True)]

    async def answers(*, forgetful: bool) -> tuple[bytes, bool, int]:
        echo = Echo()
        connection, wire = open_one(echo, forgetful=forgetful)
        for piece in [*KNOWN, *KNOWN, *pieces]:
            if piece and not wire.closed:
                connection.data_received(piece)
                for _ in range(4):
                    await asyncio.sleep(0)
        connection.connection_lost(None)
        return wire.written, wire.ended, echo.at_sight

    *knowing, at_sight = asyncio.run(answers(forgetful=False))
    *parsing, never = asyncio.run(answers(forgetful=True))
    assert knowing == parsing
    assert at_sight >= len(KNOWN) - 1  # all but a connection's first, which is never kept
    assert never == 0


def test_what_is_sent_again_is_answered_at_sight_but_for_its_key() -> None:
    async def ask() -> tuple[int, bytes]:
        echo = Echo()
        connection, wire = open_one(echo)
        for _ in range(5):
            connection.data_received(HEADS[0] % 2 + b"{}")
        echo.revoked = True
        connection.data_received(HEADS[0] % 2 + b"{}")
        assert wire.closed
        assert connection._whole is None  # an idle connection holds no body
        return echo.at_sight, wire.written

    at_sight, written = asyncio.run(ask())
    assert at_sight == 4  # a connection's first request is parsed, and so is one whose head is new
    assert written.count(b"HTTP/1.1 200") == 5
    assert written.count(b"HTTP/1.1 401") == 1


@pytest.mark.parametrize("refuses", [True, False])
def test_a_large_body_is_looked_at_once_and_refused_before_it_is_whole(*, refuses: bool) -> None:
    async def ask() -> tuple[Echo, Wire]:
        echo = Echo()
        echo.limits, echo.refuses = Limits(body=2_000_000), refuses
        connection, wire = open_one(echo)
        connection.data_received(HEADS[0] % 1_000_000)
        for _ in range(3):
            connection.data_received(b" " * 40_000)
        return echo, wire

    echo, wire = asyncio.run(ask())
    assert echo.looked == [80_000]
    assert wire.written.startswith(b"HTTP/1.1 400") == wire.half == refuses


@pytest.mark.parametrize("before", [b"", HEADS[0] % 2 + b"{}"], ids=["first", "after another"])
def test_the_body_of_a_request_that_was_refused_by_its_key_is_not_looked_at(before: bytes) -> None:
    async def ask() -> tuple[Echo, Wire]:
        echo = Echo()
        echo.limits = Limits(body=2_000_000)
        connection, wire = open_one(echo)
        if before:
            connection.data_received(before)
        echo.revoked = True
        connection.data_received(HEADS[0] % 1_000_000 + b" " * 100_000)
        return echo, wire

    echo, wire = asyncio.run(ask())
    assert echo.looked == []
    assert wire.half
    assert wire.written.rpartition(b"HTTP/1.1 ")[2].startswith(b"401")
    assert wire.written.count(b"HTTP/1.1 ") == 1 + bool(before)


@pytest.mark.parametrize("end", ["it is whole", "it is whole later", "its client", "it is late", "the service"])
def test_what_still_comes_of_a_refused_request_is_thrown_away_until(end: str) -> None:
    """A connection that is closed before is reset, and its client may never see the answer."""

    async def ask() -> None:
        echo = Echo()
        echo.limits, echo.revoked = Limits(body=2_000_000), True
        connection, wire = open_one(echo)
        if end == "it is whole":
            connection.data_received(HEADS[0] % 2 + b"{}")
        else:
            connection.data_received(HEADS[0] % 1_000_000 + b" " * 100_000)
            written = wire.written
            connection.data_received(b" " * 899_999)
            assert (wire.half, wire.closed, wire.written) == (True, False, written)
            if end == "its client":
                assert not connection.eof_received()  # which closes it
                return
            if end == "it is whole later":
                connection.data_received(b" " + HEADS[0] % 2 + b"{}")  # what follows is not answered
            elif end == "it is late":
                _age(connection, REQUEST_SECONDS + 1)
                assert cut_late([connection]) == 1
            else:
                connection.shutdown()
        assert wire.closed
        assert wire.written.count(b"HTTP/1.1 ") == wire.written.count(b"HTTP/1.1 401") == 1

    asyncio.run(ask())


@pytest.mark.parametrize(
    "rest", [b"zz\r\n", b"1\r\nxyz\r\n", b"0\r\n" + b"a: b\r\n" * 20_000], ids=["size", "end", "endless"]
)
@pytest.mark.parametrize("apart", [False, True])
def test_what_is_no_http_behind_a_refused_head_is_answered_no_more(rest: bytes, *, apart: bool) -> None:
    """The answer was given, and nothing can be written after it."""

    async def ask() -> Wire:
        echo = Echo()
        echo.revoked = True
        connection, wire = open_one(echo)
        head = (HEADS[0] % 2).replace(b"content-length: 2", b"transfer-encoding: chunked")
        assert b"chunked" in head
        for piece in (head, rest) if apart else (head + rest,):
            connection.data_received(piece)
        return wire

    wire = asyncio.run(ask())
    assert wire.closed
    assert wire.written.count(b"HTTP/1.1 ") == wire.written.count(b"HTTP/1.1 401") == 1


def test_heads_that_never_come_again_take_no_memory() -> None:
    async def ask() -> int:
        connection, _ = open_one(Echo())
        for number in range(3 * MAX_HEADS):
            connection.data_received(b"POST /%d/invocations HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n" % number)
        return len(connection.heads)

    assert 0 < asyncio.run(ask()) <= MAX_HEADS


# --- too many of them -------------------------------------------------------------------------------------------------

ASK = HEADS[0] % 2 + b"{}"
PROBE = b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n"


def _age(connection: Connection, seconds: float) -> None:
    """Have all that happened on a connection have happened so many seconds ago."""
    if connection.arriving_since is not None:
        connection.arriving_since -= seconds
    if connection.idle_since:
        connection.idle_since -= seconds


def test_the_oldest_that_never_asked_makes_room_then_the_one_idle_for_longest() -> None:
    async def crowd() -> list[str]:
        echo = Echo()
        open_more = opener(echo, ConnectionLimits(total=5))
        names = ["idle", "silent", "half a head", "idle for longer", "half a body"]
        made = {name: open_more() for name in names}
        for age, name in enumerate(names):
            made[name][0].arriving_since -= 10 - age  # type: ignore[operator]
        for name in ("idle", "idle for longer"):
            made[name][0].data_received(ASK)
        _age(made["idle for longer"][0], 5)
        made["half a head"][0].data_received(ASK[:20])
        made["half a body"][0].data_received(ASK[:-1])
        gone, echo.slow = [], True
        for _ in names:
            newcomer, _ = open_more()
            newcomer.data_received(ASK)
            gone += [name for name, (_, wire) in made.items() if wire.closed and name not in gone]
        return gone

    assert asyncio.run(crowd()) == ["silent", "half a head", "idle for longer", "idle", "half a body"]


def test_what_is_being_answered_is_never_closed_and_the_one_too_many_is_refused() -> None:
    async def crowd() -> None:
        echo = Echo()
        echo.slow = True
        open_more = opener(echo, ConnectionLimits(total=3))
        busy = [open_more() for _ in range(3)]
        for connection, _ in busy:
            connection.data_received(ASK)
        refused, wire = open_more()
        refused.data_received(ASK)
        assert wire.written.startswith(b"HTTP/1.1 503")
        assert b"retry-after" in wire.written
        assert wire.closed
        assert echo.access.refusals == {503: 1}
        probing, wire = open_more()
        probing.data_received(PROBE)
        await asyncio.sleep(0.01)
        assert wire.written.startswith(b"HTTP/1.1 200")
        assert wire.closed
        for reply in echo.due:
            reply()
        assert [wire.written[:12] for _, wire in busy] == [b"HTTP/1.1 200"] * 3
        assert not any(wire.closed for _, wire in busy)
        busy[0][0].data_received(ASK)  # as it was before the limit was reached

    asyncio.run(crowd())


def test_an_address_over_its_limit_loses_its_own_connections() -> None:
    async def crowd() -> None:
        open_more = opener(Echo(), ConnectionLimits(total=100, per_address=2))
        quiet = open_more(address="192.0.2.1")
        networks = ("192.0.2.2", "2001:db8::1", "::ffff:192.0.2.3")
        theirs = {address: [open_more(address=address) for _ in range(2)] for address in networks}
        for connection, _ in (quiet, *(each for one in theirs.values() for each in one)):
            _age(connection, 1)
        _age(quiet[0], 100)
        for address, again in zip(networks, ("192.0.2.2", "2001:db8::f:1", "192.0.2.3"), strict=True):
            open_more(address=again)
            assert [wire.closed for _, wire in theirs[address]] == [True, False]
        open_more(address="2001:db8:0:1::1")
        assert [wire.closed for _, wire in theirs["2001:db8::1"]] == [True, False]
        assert not quiet[1].closed

    asyncio.run(crowd())


def test_connections_that_come_and_go_leave_nothing_behind() -> None:
    async def crowd() -> None:
        open_more = opener(Echo(), ConnectionLimits(total=10, per_address=2))
        for number in range(50):
            connection, _ = open_more(address=f"192.0.2.{number}")
            connection.connection_lost(None)
            connection.connection_lost(None)
        assert not connection.crowd._by_address
        assert not connection.crowd._all

    asyncio.run(crowd())


@pytest.mark.parametrize(
    ("pieces", "seconds"),
    [
        ([], HEAD_SECONDS),
        ([b"\r\n"] * 3, HEAD_SECONDS),
        ([ASK[at : at + 1] for at in range(30)], HEAD_SECONDS),
        ([ASK, ASK[:30]], HEAD_SECONDS),
        ([ASK[:-1]], REQUEST_SECONDS),
        (
            [PROBE.replace(b"GET", b"POST").replace(b"\r\n\r\n", b"\r\ncontent-length: 9\r\n\r\n"), b"a"],
            REQUEST_SECONDS,
        ),
        ([ASK], IDLE_SECONDS),
    ],
    ids=[
        "silence",
        "line ends",
        "a head in drops",
        "half a second head",
        "half a body",
        "half a body of another",
        "idle",
    ],
)
def test_whoever_keeps_a_connection_waiting_loses_it(pieces: list[bytes], seconds: float) -> None:
    async def wait() -> None:
        connection, wire = open_one(Echo())
        for piece in pieces:
            _age(connection, 0.001)  # what trickles in gains no time
            connection.data_received(piece)
            await asyncio.sleep(0)
        _age(connection, seconds - 1)
        assert cut_late([connection]) == 0
        assert not wire.closed
        _age(connection, 2)
        assert cut_late([connection]) == 1
        assert wire.closed
        assert connection.crowd.closed["late"] == 1

    asyncio.run(wait())
