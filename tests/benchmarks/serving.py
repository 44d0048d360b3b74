"""The service against `mlflow models serve` and BentoML, and against its own floor.

    python tests/benchmarks/serving.py [--usecase flights] [--seconds 4] [--rounds 3] [--trees 400 --leaves 31]
    python tests/benchmarks/serving.py --pack FOLDER        # writes the model and its requests, measures nothing
    python tests/benchmarks/serving.py --packed FOLDER      # measures them where there is only what the service needs

Every server runs the same bundle with its feature program, one process each (but for "2 workers"), on the same requests
over 8 connections; ours logs durably before it answers. Rounds are interleaved, medians are shown. CPU is that of the
server's processes, by request. BentoML lives in a virtual environment of its own, `build/rivals`.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import timeit
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from infra.ports import any_port
from infra.serving.protocol import Reader
from tasks.bundles.bundle import Bundle, load_bundle
from tasks.stores.desired_state import Served
from tasks.stores.releases import Releases
from tests.benchmarks.load import Load, drive, request

ROOT = Path(__file__).parents[2]
RIVALS = ROOT / "build" / "rivals"
ROWS = "rows.json"
_TURNS, _MOMENT = 15, 0.5
"""How often servers are asked in turn, and for how many seconds each."""
_LOAD = 0.7
FLOOR = """
import sys, uvicorn
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    headers = [(b"content-type", b"application/json"), (b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"{}"})
uvicorn.run(app, port=int(sys.argv[1]), access_log=False, log_level="warning", server_header=False, date_header=False,
            lifespan="off", loop="uvloop", http="httptools")
"""


@dataclass
class Server:
    """One server under load."""

    name: str
    command: list[str]
    path: str = "/invocations"
    environment: dict[str, str] = field(default_factory=dict)
    port: int = 0
    process: subprocess.Popen[bytes] | None = None
    seen: dict[str, list[tuple[Load, float]]] = field(default_factory=dict)

    def cpu(self) -> float:
        """CPU seconds of all its processes so far."""
        assert self.process is not None
        parent = psutil.Process(self.process.pid)
        return sum(sum(each.cpu_times()[:2]) for each in [parent, *parent.children(recursive=True)])


@contextlib.contextmanager
def running(servers: list[Server], one: bytes) -> Iterator[None]:
    """Start servers, wait until each predicts, and stop them all."""
    try:
        for server in servers:
            server.port = any_port()
            command = [part.replace("PORT", str(server.port)) for part in server.command]
            quiet = subprocess.DEVNULL if "--noisy" not in sys.argv else None
            server.process = subprocess.Popen(
                command, env={**os.environ, **server.environment}, stdout=quiet, stderr=quiet, start_new_session=True
            )
        for server in servers:
            deadline = time.monotonic() + 120
            while time.monotonic() < deadline:
                with contextlib.suppress(httpx.HTTPError):
                    answer = httpx.post(
                        f"http://127.0.0.1:{server.port}{server.path}",
                        content=one,
                        headers={"content-type": "application/json"},
                        timeout=10,
                    )
                    if answer.status_code == httpx.codes.OK:
                        break
                time.sleep(0.3)
            else:
                sys.exit(f"{server.name} does not answer; run with --noisy to see why")
        yield
    finally:
        for server in servers:
            if server.process is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(server.process.pid, 15)
        for server in servers:
            if server.process is not None:
                server.process.wait(20)


@contextlib.contextmanager
def alone(server: Server | None, servers: list[Server]) -> Iterator[None]:
    """Stop all other servers for a while, or all: two cores are few, and those that are idle still poll."""
    others = [each.process.pid for each in servers if each is not server and each.process is not None]
    for pid in others:
        os.killpg(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in others:
            os.killpg(pid, signal.SIGCONT)


def servers(bundle: Bundle, scratch: Path, rivals: bool) -> list[Server]:
    """Say which servers are measured."""
    name, python = bundle.manifest.usecase, sys.executable
    releases = Releases(scratch / "releases")
    releases.add(name, bundle.folder, bundle.digest)
    releases.set_desired(name, champion=Served(bundle=bundle.digest, version="1"))

    def own(label: str, *options: str) -> Server:
        journal = str(scratch / f"journal-{len(label)}{abs(hash(label))}")
        command = [python, "-m", "infra.serving", "--releases", str(releases.root), "--journal", journal]
        return Server(label, [*command, "--port", "PORT", *options], f"/{name}/invocations")

    (scratch / "floor.py").write_text(FLOOR)
    found = [
        Server("an empty ASGI app on uvicorn", [python, str(scratch / "floor.py"), "PORT"]),
        own("driftwheel"),
        own("driftwheel, no log", "--durability", "off"),
        own("driftwheel, safe against power cuts", "--durability", "power"),
        own("driftwheel, 2 workers", "--workers", "2"),
    ]
    if rivals:
        import mlflow

        model = scratch / "model"
        mlflow.pyfunc.save_model(
            path=str(model), loader_module="tasks.bundles.pyfunc", data_path=str(bundle.folder), pip_requirements=[]
        )
        mlflow_command = [str(Path(python).parent / "mlflow"), "models", "serve", "--model-uri", str(model)]
        found.append(
            Server(
                "mlflow models serve",
                [*mlflow_command, "--env-manager", "local", "--port", "PORT", "--workers", "1"],
                environment={  # it starts uvicorn by name
                    "MLFLOW_DISABLE_TELEMETRY": "true",
                    "PATH": f"{Path(python).parent}{os.pathsep}{os.environ['PATH']}",
                },
            )
        )
        bento = [str(RIVALS / "bin" / "bentoml"), "serve", "tests.benchmarks.rival_bento:Rival", "--port", "PORT"]
        found.append(
            Server(
                "BentoML, numpy",
                bento,
                environment={"BENCH_BUNDLE": str(bundle.folder), "PYTHONPATH": str(ROOT), "DO_NOT_TRACK": "1"},
            )
        )
    return found


def rivals_installed() -> None:
    """Make the rivals' environment, once."""
    if (RIVALS / "bin" / "bentoml").exists():
        return
    subprocess.run([sys.executable, "-m", "venv", str(RIVALS)], check=True)
    uv = str(Path(sys.executable).parent / "uv")
    wanted = ["bentoml==1.4.39", "--requirement", str(ROOT / "infra/images/serving/requirements.txt"), "scipy"]
    loose = [part.split("==")[0] for part in Path(wanted[2]).read_text().split()]
    subprocess.run(
        [uv, "pip", "install", "--quiet", "--python", str(RIVALS / "bin/python"), wanted[0], *loose], check=True
    )


def microseconds(call: Callable[[], object], number: int) -> float:
    """CPU microseconds of one call, the best of five."""
    timer = timeit.Timer(call, timer=time.process_time)
    return min(timer.repeat(5, number)) / number * 1e6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--usecase", default="flights")
    parser.add_argument("--learn-until", default="2013-03-01")
    parser.add_argument("--ask-until", default="2013-04-01")
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--family", help="the use case's first candidate of this family")
    parser.add_argument("--trees", type=int, help="another size of the first candidate")
    parser.add_argument("--leaves", type=int)
    parser.add_argument("--no-rivals", action="store_true")
    parser.add_argument("--noisy", action="store_true", help="show what the servers print")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--pack", type=Path, metavar="FOLDER", help="write the model and its requests, measure nothing")
    where.add_argument("--packed", type=Path, metavar="FOLDER", help="measure what --pack wrote, without rivals")
    options = parser.parse_args()
    if options.packed is not None:
        rows = json.loads((options.packed / ROWS).read_text())
        with tempfile.TemporaryDirectory() as scratch:
            _measure(load_bundle(options.packed / "bundle"), rows, Path(scratch), options, rivals=False)
        return
    from expectations.loading import load_use_case
    from tests.benchmarks.training import some_rows, train

    if not (options.no_rivals or options.pack):
        rivals_installed()
    usecase = load_use_case(options.usecase)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.pack or Path(scratch)
        bundle = train(usecase, options.learn_until, folder / "bundle", options.family, options.trees, options.leaves)
        rows = some_rows(usecase, bundle, options.ask_until)
        if options.pack:
            (folder / ROWS).write_text(json.dumps(rows))
        else:
            _measure(bundle, rows, folder, options, rivals=not options.no_rivals)


def _measure(
    bundle: Bundle, rows: list[dict[str, object]], scratch: Path, options: argparse.Namespace, *, rivals: bool
) -> None:
    report(bundle, rows, servers(bundle, scratch, rivals), options.seconds, options.rounds)


def report(bundle: Bundle, rows: list[dict[str, object]], measured: list[Server], seconds: float, rounds: int) -> None:
    """Drive every server and print the table."""
    bodies = {
        1: [json.dumps({"dataframe_records": [row]}).encode() for row in rows],
        100: [json.dumps({"dataframe_records": rows[at : at + 100]}).encode() for at in range(0, len(rows), 100)],
    }
    with running(measured, bodies[1][0]):
        for _ in range(rounds):
            for server in measured:
                with alone(server, measured):
                    for size, each in bodies.items():
                        requests = [request(server.path, body) for body in each]
                        drive(server.port, requests, seconds=0.5)
                        before = server.cpu()
                        load = drive(server.port, requests, seconds=seconds)
                        cost = (server.cpu() - before) / load.requests
                        server.seen.setdefault(str(size), []).append((load, cost))
        own = next(server for server in measured if server.name == "driftwheel")
        requests = [request(own.path, body) for body in bodies[1]]
        steady = []
        for server in (own, measured[0]):
            with alone(server, measured):
                rates = (_rate_at_load(server, requests), _LOAD * _median(server, "1"))
                steady += [(server, _steady(server, requests, seconds, rate)) for rate in rates]
        inside = _Inside(bundle, rows)
        ratios = _in_turn(measured, bodies, inside.native_hundred)
    failed = sum(load.failed for server in measured for loads in server.seen.values() for load, _ in loads)
    print(
        f"{bundle.manifest.usecase}, {bundle.manifest.family}, {json.dumps(bundle.manifest.recipe, default=str)[:160]}"
    )
    print("\n| server | req/s, 1 row | server CPU µs/req | p50 / p99 ms | req/s, 100 rows | server CPU µs/req |")
    print("|---|---|---|---|---|---|")
    for server in measured:
        p50, p99 = (statistics.median(getattr(load, name) for load, _ in server.seen["1"]) for name in ("p50", "p99"))
        print(
            f"| {server.name} | {_median(server, '1'):,.0f} | {_cost(server, '1'):,.0f} | {p50:.2f} / {p99:.2f} "
            f"| {_median(server, '100'):,.0f} | {_cost(server, '100'):,.0f} |"
        )
    print(f"\nfailed requests: {failed}")
    for server, found in steady:
        print(f"evenly asked, {server.name}: {found}")
    _parts(inside, measured, own)
    print(f"in turn, {_TURNS} times half a second each, the median ratio (and its quartiles):")
    for name, seen in ratios.items():
        low, middle, high = statistics.quantiles(seen, n=4)
        print(f"  {name}: {middle:.2f} ({low:.2f} to {high:.2f})")


def _in_turn(
    measured: list[Server], bodies: dict[int, list[bytes]], predict: Callable[[], object]
) -> dict[str, list[float]]:
    """Ask servers and the bare predictor in turn, for moments: what the machine does meanwhile, it does to all."""
    by_name = {server.name: server for server in measured}
    names = ("driftwheel", "driftwheel, no log", "driftwheel, 2 workers")
    ratios: dict[str, list[float]] = {}
    for _ in range(_TURNS):
        with alone(None, measured):
            begun, calls = time.perf_counter(), 0
            while time.perf_counter() - begun < _MOMENT:
                predict()
                calls += 1
            bare = calls / (time.perf_counter() - begun)
        rate = {}
        for name, (size, each) in itertools.product(names, bodies.items()):
            server = by_name[name]
            with alone(server, measured):
                requests = [request(server.path, body) for body in each]
                drive(server.port, requests, seconds=_MOMENT / 5)
                rate[name, size] = drive(server.port, requests, seconds=_MOMENT).rate
        for size in bodies:
            logged = rate["driftwheel", size] / rate["driftwheel, no log", size]
            ratios.setdefault(f"logged / not logged, rows a request: {size}", []).append(logged)
        for name in ("driftwheel", "driftwheel, 2 workers"):
            ratios.setdefault(f"100 rows, {name} / the bare predictor", []).append(rate[name, 100] / bare)
    return ratios


@dataclass(frozen=True)
class _Steady:
    """Latency, in milliseconds, of requests that come at even distances; and how busy they keep a server's core."""

    rate: float
    busy: float
    p50: float
    p95: float
    p99: float

    def __str__(self) -> str:
        spread = f"p50 {self.p50:.2f}, p95 {self.p95:.2f}, p99 {self.p99:.2f} ms, {self.p99 / self.p50:.0f} times"
        return f"{self.rate:,.0f} req/s, busy {self.busy:.0%}: {spread}"


def _steady(server: Server, requests: list[bytes], seconds: float, rate: float) -> _Steady:
    """Take the median of eleven goes, as the machine itself stalls now and then."""
    before, begun = server.cpu(), time.monotonic()
    goes = [drive(server.port, requests, seconds=seconds, rate=rate) for _ in range(11)]
    busy = (server.cpu() - before) / (time.monotonic() - begun)
    return _Steady(rate, busy, *(statistics.median(getattr(go, name) for go in goes) for name in ("p50", "p95", "p99")))


def _rate_at_load(server: Server, requests: list[bytes]) -> float:
    """Find at which rate a server is busy for 70 % of the time.

    That is less than 70 % of its full rate: then requests come eight at a time and share much of what is done for them.
    """
    rate = _median(server, "1") / 2
    for _ in range(4):  # one that sleeps less takes less for each
        before = server.cpu()
        load = drive(server.port, requests, seconds=1, rate=rate)
        rate = _LOAD * load.requests / (server.cpu() - before)
    return rate


def _median(server: Server, size: str) -> float:
    return statistics.median(load.rate for load, _ in server.seen[size])


def _cost(server: Server, size: str) -> float:
    return statistics.median(cost for _, cost in server.seen[size]) * 1e6


class _Inside:
    """The parts of the service, called by one thread of this process."""

    def __init__(self, bundle: Bundle, rows: list[dict[str, object]]) -> None:
        reader = Reader(bundle.manifest.columns, bundle.manifest.clock, bundle.manifest.timezone)
        executor = bundle.program.compile(reader.readings(bundle.program))
        read, _ = reader.read(json.dumps({"dataframe_records": rows}).encode())
        hundreds = [executor.matrix(read[at : at + 100]) for at in range(0, len(read), 100)]
        asked, values, matrices = (itertools.cycle(each) for each in (read, [*map(executor.one, read)], hundreds))
        ours, native = bundle.predictor, getattr(bundle.predictor, "native", bundle.predictor)
        self.features: Callable[[], object] = lambda: executor.one(next(asked))
        self.native: Callable[[], object] = lambda: native.predict_row(next(values))
        self.ours: Callable[[], object] = lambda: ours.predict_row(next(values))
        self.native_hundred: Callable[[], object] = lambda: native.predict(next(matrices))
        self.ours_hundred: Callable[[], object] = lambda: ours.predict(next(matrices))


def _parts(inside: _Inside, measured: list[Server], own: Server) -> None:
    features, native, ours = (microseconds(each, 20_000) for each in (inside.features, inside.native, inside.ours))
    alone, ours_of_many = (microseconds(each, 300) for each in (inside.native_hundred, inside.ours_hundred))
    floor, cost = _cost(measured[0], "1"), _cost(own, "1")
    total = floor + features + native
    print(
        f"alone, CPU µs a row: feature program {features:.1f}, native predictor {native:.1f}, empty app {floor:.1f}; "
        f"together {total:.1f}, ours {cost:.1f}: {cost / total:.2f} times"
    )
    print(
        f"the model alone, CPU µs: 1 row {native:.1f} native, {ours:.1f} as the service runs it; "
        f"100 rows {alone:.0f} and {ours_of_many:.0f}: {alone / ours_of_many:.1f} times as fast"
    )
    by_name = {server.name: server for server in measured}
    power = _median(by_name["driftwheel, safe against power cuts"], "1")
    print(f"with fdatasync / not logged: {power / _median(by_name['driftwheel, no log'], '1'):.2f}")
    for rival in ("mlflow models serve", "BentoML, numpy"):
        if rival in by_name:
            print(f"times {rival}: {_median(own, '1') / _median(by_name[rival], '1'):.1f}", end="  ")
            print(f"(100 rows: {_median(own, '100') / _median(by_name[rival], '100'):.1f})")


if __name__ == "__main__":
    main()
