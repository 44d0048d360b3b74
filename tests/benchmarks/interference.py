"""How single predictions fare while others ask for something heavy or odd.

    python tests/benchmarks/interference.py --packed FOLDER [--rate 1500] [--seconds 4] [--rounds 5] [--all]
    python tests/benchmarks/interference.py --packed FOLDER --loop          # how late the service's own event loop is

`FOLDER` is what `tests/benchmarks/serving.py --pack FOLDER` wrote. Single rows come at even distances; latency is
counted from when each was due. Each disturbance comes from another process of the lowest priority, as from another
machine, and is measured in turn with the same rows undisturbed. Where client, disturber and service share few cores,
much of the latency is the wait for one of them; `--loop` leaves that out (`tests/benchmarks/loop_delay.py`), and the
disturber then has the priority of all others.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import signal
import socket
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np

from tasks.bundles.bundle import load_bundle
from tests.benchmarks.load import Load, drive, request
from tests.benchmarks.serving import ROWS, Server, running, servers

_MILLION = 1_000_000


def disturbances(usecase: str, rows: list[dict[str, object]]) -> dict[str, list[tuple[int, bytes]]]:
    """Name what may disturb: connections, and what each asks for again and again."""
    ten_thousand = (rows * (10_000 // len(rows) + 1))[:10_000]
    one, names = json.dumps(rows[0]).encode(), list(rows[0])

    def ask(body: bytes, path: str = "invocations", *headers: str) -> bytes:
        return request(f"/{usecase}/{path}", body, headers)

    def table(records: list[dict[str, object]]) -> bytes:
        lines = [",".join(names), *(",".join(map(str, row.values())) for row in records)]
        return "\n".join(lines).encode().replace(b"None", b"")

    objects = b'{"dataframe_records":[' + one + b'],"params":{"a":[' + b"{}," * _MILLION + b"{}]}}"
    params, explain = (1, ask(objects)), (16, ask(json.dumps({"dataframe_records": rows[:100]}).encode(), "explain"))
    inputs = {"inputs": {name: [row[name] for row in ten_thousand] for name in names}}
    nan = json.dumps({"dataframe_records": [*ten_thousand[1:], {**rows[0], names[-1]: float("nan")}]})
    return {
        "a million objects in params": [params],
        "16 connections of /explain": [explain],
        "both": [params, explain],
        "10,000 rows": [(1, ask(json.dumps({"dataframe_records": ten_thousand}).encode()))],
        "10,000 rows by column": [(1, ask(json.dumps(inputs).encode()))],
        "10,000 rows, one with NaN": [(1, ask(nan.encode()))],
        "10,000 rows of CSV": [(1, _as_csv(ask(table(ten_thousand))))],
        "CSV of 16 MB of empty lines": [(1, _as_csv(ask(table(rows[:1]) + b"\n" * 15_900_000)))],
        "CSV of one endless line": [(1, _as_csv(ask(table(rows[:1]) + b"x" * 15_000_000)))],
        "16 MB of blanks": [(1, ask(b" " * 16_000_000))],
        "16 MB of brackets": [(1, ask(b"[" * 16_000_000))],
        "a column of a million objects": [
            (1, ask(b'{"dataframe_records":[' + one[:-1] + b',"z":[' + b"{}," * _MILLION + b"{}]}]}"))
        ],
        "a text of 16 MB": [(1, ask(b'{"dataframe_records":[' + one[:-1] + b',"z":"' + b"\\n" * 7_900_000 + b'"}]}'))],
        "feedback of a million objects": [(1, ask(b'{"feedback":[' + b"{}," * _MILLION + b"{}]}", "feedback"))],
        "4 connections of /metrics": [(4, b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n")],
        "4 connections of /openapi.json": [(4, b"GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n")],
    }


def _as_csv(asked: bytes) -> bytes:
    return asked.replace(b"application/json", b"text/csv", 1)


def _converse(port: int, content: bytes, stop: Event, seen: Counter[int]) -> None:
    connection: socket.socket | None = None
    while not stop.is_set():
        try:
            connection = connection or socket.create_connection(("127.0.0.1", port), timeout=60)
            with contextlib.suppress(BrokenPipeError):  # refused before all was sent
                connection.sendall(content)
            answer = b""
            while b"\r\n\r\n" not in answer:
                part = connection.recv(1 << 18)
                if not part:
                    raise ConnectionError
                answer += part
            head, _, body = answer.partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
            while len(body) < length:
                body += connection.recv(1 << 18) or b" " * length
            seen[int(head[9:12])] += 1
            if b"connection: close" in head.lower():
                raise ConnectionError
        except OSError:
            if connection is not None:
                connection.close()
            connection = None


def _disturb(port: int, asked: list[tuple[int, bytes]], begun: Event, stop: Event, nice: bool) -> None:
    if nice:
        os.setsid()
        own = Path("/proc/self/autogroup")
        if own.exists():  # Linux shares processors among sessions first: a priority counts only within one
            own.write_text("19", encoding="ascii")
        os.nice(19)
    seen: Counter[int] = Counter()
    threads = [
        threading.Thread(target=_converse, args=(port, content, stop, seen))
        for connections, content in asked
        for _ in range(connections)
    ]
    for thread in threads:
        thread.start()
    begun.set()
    started = time.monotonic()
    for thread in threads:
        thread.join()
    rates = ", ".join(f"{count / (time.monotonic() - started):.1f}/s of {status}" for status, count in seen.items())
    print(f"      answered meanwhile: {rates or 'nothing'}", flush=True)


@contextlib.contextmanager
def disturbed(port: int, asked: list[tuple[int, bytes]], *, nice: bool) -> Iterator[None]:
    """Have another process ask meanwhile, where it is nice only when nobody else needs the processor."""
    context = multiprocessing.get_context("spawn")
    begun, stop = context.Event(), context.Event()
    process = context.Process(target=_disturb, args=(port, asked, begun, stop, nice))
    process.start()
    begun.wait()
    try:
        yield
    finally:
        stop.set()
        process.join()


class _LoopDelay:
    """What a service that runs with a clock on its event loop says of it."""

    def __init__(self, server: Server, file: Path) -> None:
        self.server, self.file = server, file
        at = server.command.index("-m")
        clock = str(Path(__file__).with_name("loop_delay.py"))
        server.command[at : at + 2] = [clock, str(file)]

    def read(self) -> list[float]:
        """Return the delays since it was read last, in milliseconds."""
        assert self.server.process is not None
        self.file.unlink(missing_ok=True)
        self.server.process.send_signal(signal.SIGUSR1)
        end = time.monotonic() + 60
        while not self.file.exists():
            assert time.monotonic() < end, "the service does not say how late its loop is"
            time.sleep(0.01)
        found: list[float] = json.loads(self.file.read_text())
        return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packed", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--rate", type=float, default=1500, help="single rows a second")
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--all", action="store_true", help="all kinds of disturbances; else the first three")
    parser.add_argument("--only", default="", help="those whose name holds this")
    parser.add_argument("--loop", action="store_true", help="measure the service's event loop, not the client's wait")
    options = parser.parse_args()
    bundle = load_bundle(options.packed / "bundle")
    rows = json.loads((options.packed / ROWS).read_text())
    singles = [json.dumps({"dataframe_records": [row]}).encode() for row in rows]
    with tempfile.TemporaryDirectory() as scratch:
        server = next(each for each in servers(bundle, Path(scratch), rivals=False) if each.name == "driftwheel")
        requests = [request(server.path, body) for body in singles]
        kinds = list(disturbances(bundle.manifest.usecase, rows).items())
        if not options.all and not options.only:
            kinds = kinds[:3]
        clock = _LoopDelay(server, Path(scratch) / "delays.json") if options.loop else None
        with running([server], singles[0]):

            def go() -> Load:
                if clock is not None:
                    clock.read()
                load = drive(server.port, requests, seconds=options.seconds, rate=options.rate)
                if clock is None:
                    return load
                p50, p95, p99 = np.percentile(clock.read(), [50, 95, 99]).tolist()
                return replace(load, p50=p50, p95=p95, p99=p99)

            go()
            for name, asked in kinds:
                if options.only not in name:
                    continue
                alone, beside = [], []
                print(f"{name}{', delay of the loop' if clock else ''}:", flush=True)
                with disturbed(
                    server.port, asked, nice=clock is None
                ):  # what is begun for the first of them is at hand afterwards
                    time.sleep(options.seconds)
                for _ in range(options.rounds):
                    alone.append(go())
                    with disturbed(server.port, asked, nice=clock is None):
                        beside.append(go())
                for label, goes in (("alone", alone), ("beside it", beside)):
                    p50, p99 = (statistics.median(getattr(each, what) for each in goes) for what in ("p50", "p99"))
                    print(f"   {label:10} p50 {p50:.2f}, p99 {p99:.2f} ms, failed {sum(each.failed for each in goes)}")
                ratio = statistics.median(there.p99 / here.p99 for here, there in zip(alone, beside, strict=True))
                print(f"   p99 is {ratio:.2f} times as much", flush=True)


if __name__ == "__main__":
    main()
