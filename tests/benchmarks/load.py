"""A load generator for one HTTP/1.1 server: few connections, prepared requests, latency of each.

It is lean (about 20 µs of CPU a request) so that on two cores the server is what is measured.
"""

from __future__ import annotations

import ctypes
import itertools
import selectors
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_PR_SET_TIMERSLACK = 29


@dataclass(frozen=True)
class Load:
    """What a run of load saw.

    Attributes
    ----------
    rate : float
        Answers a second.
    p50, p95, p99 : float
        Latency in milliseconds.
    failed : int
        Answers with a status other than 200.
    """

    requests: int
    seconds: float
    p50: float
    p95: float
    p99: float
    failed: int

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.requests / self.seconds


def request(path: str, body: bytes, headers: Sequence[str] = ()) -> bytes:
    """Write a POST of JSON as bytes on the wire."""
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json", *headers]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


class _Connection:
    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sent = 0.0
        self.buffer = b""

    def send(self, content: bytes, now: float) -> None:
        self.sent, self.buffer = now, b""
        self.socket.sendall(content)

    def done(self) -> int:
        """Read; return the status once the whole answer is there, else 0."""
        part = self.socket.recv(1 << 18)
        if not part:
            raise ConnectionError("the server closed the connection")
        self.buffer = self.buffer + part if self.buffer else part
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return 0
        head = self.buffer[:end].lower()
        at = head.find(b"content-length:")
        if at >= 0:
            stop = head.find(b"\r", at)
            length = int(head[at + 15 : stop if stop > 0 else None])
            complete = len(self.buffer) >= end + 4 + length
        else:  # chunked
            complete = self.buffer.endswith(b"0\r\n\r\n")
        return int(head[9:12]) if complete else 0


def drive(
    port: int, requests: Sequence[bytes], *, seconds: float, connections: int = 8, rate: float | None = None
) -> Load:
    """Send requests in turn for a while.

    Parameters
    ----------
    rate : float, optional
        Requests a second at even distances, latency then counted from when each was due; at full speed where not given.
    """
    selector = selectors.SelectSelector()  # waits to the microsecond; epoll in Python to the millisecond
    _wake_in_time()
    made = [_Connection(port) for _ in range(connections)]
    for connection in made:
        selector.register(connection.socket, selectors.EVENT_READ, connection)
    idle = list(made)
    source = itertools.cycle(requests)
    latencies: list[float] = []
    failed = 0
    begun = time.perf_counter()
    due, end = begun, begun + seconds
    while True:
        now = time.perf_counter()
        if now >= end and len(idle) == connections:
            break
        while idle and now < end and (rate is None or due <= now):
            idle.pop().send(next(source), due if rate else now)
            due += 1 / rate if rate else 0
        wait = max(0.0, due - time.perf_counter()) if rate and idle and due < end else 1.0
        for key, _ in selector.select(wait):
            connection: _Connection = key.data
            status = connection.done()
            if status:
                latencies.append(time.perf_counter() - connection.sent)
                failed += status != 200
                idle.append(connection)
    took = time.perf_counter() - begun
    for connection in made:
        connection.socket.close()
    selector.close()
    p50, p95, p99 = np.percentile(np.array(latencies) * 1000, [50, 95, 99]).tolist()
    return Load(len(latencies), took, p50, p95, p99, failed)


def _wake_in_time() -> None:
    """Ask Linux not to wake this thread later than it asked for, which it may by 50 µs else."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
