"""A connection that knows a head answers what one that parses everything answers."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from uvicorn import Config
from uvicorn.server import ServerState

from infra.serving.connections import MOST_HEAD_BYTES, MOST_HEADS, Connection, connection_class
from infra.serving.predicting import Admitted, Limits, Reply
from infra.serving.protocol import Media


class Echo:
    """Answers with what it was asked; a key of `no` opens nothing."""

    def __init__(self) -> None:
        self.limits = Limits(body=200)
        self.at_sight = 0
        self.revoked = False

    def admit(self, headers: list[tuple[bytes, bytes]]) -> Admitted | Reply:
        known = dict(headers)
        if known.get(b"x-api-key") == b"no" or self.revoked:
            return Reply(401, b"{}", b"none")
        return Admitted(
            known.get(b"x-request-id", b"new"), "csv" if known.get(b"content-type") == b"text/csv" else "json"
        )

    def admit_again(self, headers: list[tuple[bytes, bytes]], media: Media) -> Admitted | Reply:
        self.at_sight += 1
        admitted = self.admit(headers)
        return Admitted(admitted.request_id, media) if isinstance(admitted, Admitted) else admitted

    def too_large(self, request_id: bytes) -> Reply:
        return Reply(413, b"{}", request_id)

    def answer(self, path: str, admitted: Admitted, body: bytes, done: Any) -> None:
        done(Reply(200, b"%s|%s|%s" % (path.encode(), admitted.media.encode(), body), admitted.request_id))


class Wire(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written, self.closed = b"", False

    def write(self, data: Any) -> None:
        if not self.closed:
            self.written += data

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)}.get(name, default)

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


def open_one(echo: Echo, *, forgetful: bool = False) -> tuple[Connection, Wire]:
    kind = connection_class(echo)  # type: ignore[arg-type]
    if forgetful:
        kind.heads = Forgetful()
    config = Config(app=app, http=kind, interface="asgi3", access_log=False, log_config=None)
    config.ws_protocol_class = None  # type: ignore[attr-defined]
    config.loaded_app, config.loaded = app, True
    connection = kind(config=config, server_state=ServerState(), app_state={})
    wire = Wire()
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
    b"POST /a/invocations HTTP/1.1\r\nhost: x\r\nx-long: " + b"y" * MOST_HEAD_BYTES + b"\r\ncontent-length: %d\r\n\r\n",
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
        return wire.written, wire.closed, echo.at_sight

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


def test_heads_that_never_come_again_take_no_memory() -> None:
    async def ask() -> int:
        connection, _ = open_one(Echo())
        for number in range(3 * MOST_HEADS):
            connection.data_received(b"POST /%d/invocations HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n" % number)
        return len(connection.heads)

    assert 0 < asyncio.run(ask()) <= MOST_HEADS
