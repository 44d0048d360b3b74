"""Real HTTP servers for tests: any for as long as a block lasts, and one in front of another that fails as told."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import BaseServer
from typing import TypeVar
from urllib.parse import urlsplit

Fault = Callable[[str, str], int]
"""Method and path of a request -> the status to answer instead of the server behind; 0 to let it through."""
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"}


Server = TypeVar("Server", bound=BaseServer)


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    """Let a server answer for as long as the block lasts, however that ends."""
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Front(ThreadingHTTPServer):
    """What was asked of it stands in `asked`, with what it answered itself."""

    daemon_threads = True

    def __init__(self, behind: str, fault: Fault) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behind, self.fault = urlsplit(behind), fault
        self.asked: list[tuple[str, str, int]] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Front

    def _answer(self) -> None:
        status = self.server.fault(self.command, self.path)
        self.server.asked.append((self.command, self.path, status))
        if self.headers.get("upgrade"):  # a web socket
            self._splice()
            return
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if status:
            self._send(status, {}, b"")
            return
        with closing(HTTPConnection(self.server.behind.netloc, timeout=60)) as behind:
            headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            behind.request(self.command, self.path, body, headers)
            answer = behind.getresponse()
            self._send(answer.status, dict(answer.getheaders()), answer.read())

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815 - named by the library

    def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _splice(self) -> None:
        host, port = self.server.behind.hostname, self.server.behind.port
        with socket.create_connection((host, port)) as behind:
            lines = [f"{self.command} {self.path} HTTP/1.1", f"Host: {host}:{port}"]
            lines += [f"{name}: {value}" for name, value in self.headers.items() if name.lower() != "host"]
            behind.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
            there = threading.Thread(target=_pour, args=(self.connection, behind), daemon=True)
            there.start()
            _pour(behind, self.connection)
            there.join(1)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


def _pour(source: socket.socket, target: socket.socket) -> None:
    try:
        while content := source.recv(65536):
            target.sendall(content)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


@contextmanager
def front(behind: str = "http://127.0.0.1:9", fault: Fault = lambda _method, _path: 0) -> Iterator[Front]:
    """Run one for as long as the block lasts."""
    with serving(Front(behind, fault)) as server:
        yield server


def times(status: int, count: int, *, but: str = "/health") -> Fault:
    """Fail so often, then no more; what is asked to know whether a server is there does not count."""
    left = [count]

    def fault(_: str, path: str) -> int:
        if but in path or left[0] <= 0:
            return 0
        left[0] -= 1
        return status

    return fault


def always(status: int, *, but: str = "/health") -> Fault:
    """Fail for ever."""
    return times(status, 2**60, but=but)
