"""Run the service: ``python -m infra.serving --releases DIR --journal DIR --port N``."""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import json
import logging
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import uvicorn
import uvloop

from expectations.errors import StorageError
from infra.serving.access import Access, is_loopback
from infra.serving.admission import Limits
from infra.serving.app import Service
from infra.serving.bounded_connections import ConnectionLimits, Crowd
from infra.serving.connections import IDLE_SECONDS, connection_class, cut_late
from infra.serving.journal_writer import Journal
from infra.serving.mounts import Mounts
from infra.serving.workers import Workers
from tasks.stores.releases import Releases

_SWITCH_SECONDS = 0.0005
"""A large request is scored in a thread, which may hold the interpreter no longer than this while others wait."""
_GRACE_SECONDS = 10
_RESTART_SECONDS = 1.0
_NOT_STARTED = 3
"""Exit code; uvicorn's own where it cannot listen."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's `mallopt`."""
_KEPT_BYTES, _MAPPED_BYTES = 8 << 20, 1 << 20
_OTHER_FILES = 1000
_EXTRA = {"request_id", "usecase", "status", "why"}
_log = logging.getLogger("driftwheel.serving")


class _Lines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **{name: value for name, value in record.__dict__.items() if name in _EXTRA},
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m infra.serving", description=__doc__)
    parser.add_argument("--releases", type=Path, required=True, help="folder of desired states and bundles")
    parser.add_argument("--journal", type=Path, required=True, help="folder predictions and feedback are written to")
    parser.add_argument("--host", default="127.0.0.1", help="any but a loopback address needs --keys")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument(
        "--keys", type=Path, help="file of API keys (`driftwheel keys`); as long as there is none, all is open"
    )
    parser.add_argument("--token", type=Path, help="file of what it proves itself with to the stack that started it")
    parser.add_argument("--workers", type=int, default=1, help="processes that answer; one version in all of them")
    parser.add_argument(
        "--durability",
        choices=["process", "power", "off"],
        default="process",
        help="what a logged prediction survives before it is answered: the death of the process; also a power cut "
        "(waits for the disk); off writes no journal",
    )
    parser.add_argument(
        "--answer-unlogged", action="store_true", help="answer also where the journal cannot be written; counted"
    )
    parser.add_argument("--most-rows", type=int, default=10_000, help="rows in a request")
    parser.add_argument("--most-bytes", type=int, default=16 * 1024 * 1024, help="bytes in a request's body")
    parser.add_argument(
        "--max-connections",
        type=int,
        default=ConnectionLimits.total,
        help="of a worker; for one more the quietest is closed",
    )
    parser.add_argument(
        "--max-connections-per-address",
        type=int,
        default=ConnectionLimits.per_address,
        help="of a worker; a proxy in front is one address, and so is this machine",
    )
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--parent", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--workers-folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if min(options.max_connections, options.max_connections_per_address) < 1:
        parser.error("expected at least one connection")
    if options.keys is None and not is_loopback(options.host):
        parser.error(f"expected --keys FILE to listen on {options.host}; make a key with `driftwheel keys add NAME`")
    return options


def main() -> None:
    """Serve until SIGTERM or SIGINT; then finish what is being answered, close the journal and exit."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Lines())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    sys.setswitchinterval(_SWITCH_SECONDS)
    _keep_freed_memory()
    options = _arguments()
    options.max_connections = _have_room_for(options.max_connections)
    if options.worker is None and Access(options.keys, loopback=is_loopback(options.host)).open:
        _log.warning("there is no API key: everything is open, on %s alone", options.host)
    if options.worker is None and options.durability != "process":
        _log.warning("durability is %s", options.durability)
    if options.workers > 1 and options.worker is None:
        sys.exit(_supervise(options))
    _serve(options)


def _have_room_for(connections: int) -> int:
    """Take as many file handles as connections and all else may need: many a shell gives 1024.

    Returns
    -------
    int
        How many connections there are handles for: fewer where the system allows no more.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _OTHER_FILES
    if not 0 <= soft < wanted:
        return connections
    allowed = wanted if hard < 0 else min(hard, wanted)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    room = min(connections, allowed - min(_OTHER_FILES, allowed // 4))
    if room < connections:
        _log.warning("%d file handles are allowed, enough for %d connections", allowed, room)
    return room


def _keep_freed_memory() -> None:
    """Let the next request have what one freed, up to a bound: to get it from the kernel anew costs 28 page faults.

    Measured with 100 rows a request. Other C libraries than glibc are left as they are.
    """
    tune = getattr(ctypes.CDLL(None), "mallopt", None)
    if tune is not None:
        tune(_TRIM_THRESHOLD, _KEPT_BYTES)
        tune(_MMAP_THRESHOLD, _MAPPED_BYTES)


def _serve(options: argparse.Namespace) -> None:
    try:
        journal = Journal(options.journal, options.durability)
    except StorageError as error:
        _log.error("%s", error)
        sys.exit(_NOT_STARTED)
    workers = Workers(options.workers_folder, options.worker) if options.workers_folder else None
    service = Service(
        Mounts(Releases(options.releases), workers, options.most_rows),
        journal,
        Access(options.keys, loopback=is_loopback(options.host)),
        workers,
        Limits(options.most_bytes, options.answer_unlogged),
        Crowd(ConnectionLimits(options.max_connections, options.max_connections_per_address)),
        options.token.read_text(encoding="ascii") if options.token else "",
    )
    server = uvicorn.Server(
        uvicorn.Config(
            service,
            host=options.host,
            port=options.port,
            access_log=False,
            log_config=None,
            log_level="warning",
            server_header=False,
            proxy_headers=False,
            date_header=False,
            lifespan="on",
            loop="uvloop",
            http=connection_class(service.predictions, service.crowd),
            ws="none",
            timeout_keep_alive=int(IDLE_SECONDS),
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
    )
    service.every_second.append(lambda: cut_late(server.server_state.connections))
    if options.worker is not None:
        service.every_second.append(_Orphaned(options.parent))
    for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises them again when done; the journal comes after
        signal.signal(number, lambda *_: None)
    sockets = None if options.worker is None else [_bind(options.host, options.port)]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(server.serve(sockets))
    service.close()
    journal.close()


def _bind(host: str, port: int) -> socket.socket:
    """Take a port together with the other workers; the kernel spreads connections over those that listen."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    taken = socket.socket(family, socket.SOCK_STREAM)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    taken.bind((host, port))
    return taken


class _Orphaned:
    """Ends this worker, in good order, when the process that started it is gone."""

    def __init__(self, parent: int) -> None:
        self.parent = parent

    def __call__(self) -> None:
        if os.getppid() != self.parent:
            signal.raise_signal(signal.SIGTERM)


def _supervise(options: argparse.Namespace) -> int:
    """Run workers that share a port; one that dies is started again."""
    try:
        reserved = _bind(options.host, options.port)  # never listens: it keeps the port ours while workers come and go
    except OSError as error:
        _log.error("cannot listen on %s:%d: %s; is another --port free?", options.host, options.port, error.strerror)
        return _NOT_STARTED
    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    with tempfile.TemporaryDirectory(prefix="driftwheel-workers-") as folder:

        def start(worker: int) -> subprocess.Popen[bytes]:
            command = [sys.executable, "-m", "infra.serving", *sys.argv[1:]]
            command += ["--worker", str(worker), "--parent", str(os.getpid()), "--workers-folder", folder]
            return subprocess.Popen(command)

        workers = {worker: start(worker) for worker in range(options.workers)}
        while not stopping:
            time.sleep(_RESTART_SECONDS / 4)
            for worker, process in workers.items():
                if process.poll() is not None and not stopping:
                    _log.error("worker %d ended with %d and is started again", worker, process.returncode)
                    time.sleep(_RESTART_SECONDS)
                    workers[worker] = start(worker)
        for process in workers.values():
            process.terminate()
        reserved.close()
        return max(process.wait() for process in workers.values())


if __name__ == "__main__":
    main()
