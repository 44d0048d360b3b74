"""The clock of a whole stack is set forth by days, and back: nothing is lost or invisible, no command hangs.

Back by two days as well is part of `make soak`. Processes are told the time by a library that is preloaded
(``clock.c``): the monotonic clock goes on, as on a machine.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import polars as pl
import pytest
from prefect.client.schemas.objects import FlowRun

from infra.settings import Settings
from infra.stack import Stack
from tasks.stores.harvest import harvest
from tasks.stores.known import Known
from tasks.stores.lake import Lake
from tasks.stores.places import Job
from tests.e2e.conftest import point, wait

pytestmark = [
    pytest.mark.container,
    pytest.mark.skipif(shutil.which("gcc") is None, reason="needs a C compiler: make test-containers"),
    pytest.mark.timeout(7200 if "DRIFTWHEEL_CLOCK" in os.environ else 1800),
]
ROOT = Path(__file__).parents[2]
MAX_SECONDS = 300.0
"""For which a command may work at most, on a busy machine."""
TRIES = 3
FORTH = 5
WHOLE = "DRIFTWHEEL_CLOCK" in os.environ
"""Back by two days, too (`make soak`)."""
YAML = """
name: pumps
title: Will this pump stop within the hour?
task: binary_classification
clock: {column: time}
keys: [time, pump]
sources:
  readings: {kind: file, path: readings.csv}
label: {column: stops, available_after: 1h}
features:
  - numeric: [vibration]
model:
  candidates:
    - {family: lightgbm, rounds: 20, leaves: 7, patience: null}
gates:
  - {metric: roc_auc, min: 0.5}
monitoring:
  every: 1d
  performance: [{metric: roc_auc, drop: 0.03}]
schedule: {collect: "17 * * * *", monitor: "47 3 * * *", active: true}
"""


class Clock:
    """The clock of every process that has its environment."""

    def __init__(self, folder: Path) -> None:
        self._file, library = folder / "ahead", folder / "clock.so"
        self.set(0)
        source = ROOT / "tests/containers/clock.c"
        options = ("-shared", "-fPIC", "-O2", "-Wall", "-Werror")
        subprocess.run(["gcc", *options, "-o", library, source, "-ldl"], check=True)
        self.environment = {"CLOCK_OFFSET": str(self._file), "LD_PRELOAD": str(library)}
        self.days = 0.0

    def set(self, days: float) -> None:
        """Put it ahead by so many days, for everybody at once."""
        self.days = days
        with self._file.open("r+b" if self._file.exists() else "wb") as file:
            file.write(struct.pack("=q", round(days * 86400)))

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(days=self.days)


def write_pumps(folder: Path, now: datetime) -> pl.DataFrame:
    """Two months of readings, and twelve days of those to come."""
    folder.mkdir()
    hours = 24 * 72
    begin = (now - timedelta(days=60)).replace(minute=0, second=0, microsecond=0, tzinfo=None)
    times = [begin + timedelta(hours=hour) for hour in range(hours)]
    frame = pl.DataFrame(
        {
            "time": times * 2,
            "pump": ["north"] * hours + ["south"] * hours,
            "vibration": [round(1 + 0.1 * ((7 * number) % 20), 3) for number in range(2 * hours)],
        }
    ).with_columns(stops=(pl.col("vibration") > 1.9).cast(pl.Int64))  # noisy enough: every tenth is turned round
    turned = pl.int_range(2 * hours) % 10 == 0
    frame = frame.with_columns(stops=pl.when(turned).then(1 - pl.col("stops")).otherwise("stops")).sort("time", "pump")
    (folder / "readings.csv").write_text(frame.write_csv())
    (folder / "usecase.yaml").write_text(YAML)
    (folder / "suite.yaml").write_text("- {type: expect_column_values_to_not_be_null, kwargs: {column: pump}}\n")
    return frame


class Home:
    """A home whose stack, and whose commands, go by a clock of their own."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self.folder, self.clock = folder, clock
        self.answered: set[str] = set()

    def try_command(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", "from flows.cli import main; main()", *words],
            env=os.environ | self.clock.environment,
            cwd=ROOT, capture_output=True, text=True, timeout=MAX_SECONDS, check=False,
        )  # fmt: skip

    def command(self, *words: str) -> str:
        """Run a command to its end; where Prefect is busy with what is late or starts anew it says so: again, then."""
        for _ in range(TRIES):
            done = self.try_command(*words)
            if done.returncode == 0:
                return done.stdout
            if not re.search("the Prefect server at .* to answer\n.*\n→", done.stdout + done.stderr):
                break
            self.wait_until_all_works()
        raise AssertionError(done.stdout[-1500:] + done.stderr[-1500:])

    def wait_until_all_works(self) -> None:
        wait(lambda: self.try_command("status").returncode == 0, MAX_SECONDS)  # 1 where a part does not

    def ask(self) -> None:
        """Ask the service about now, as its clients' clocks have it, and remember what it answered for."""
        records = [
            {"time": (self.clock.now() - timedelta(hours=1 + number)).isoformat(), "pump": "north", "vibration": 1.5}
            for number in range(5)
        ]
        addresses = Settings().addresses()
        assert addresses is not None
        answer = httpx.post(
            f"{addresses.service}/pumps/invocations", json={"dataframe_records": records}, timeout=MAX_SECONDS
        )
        assert answer.status_code == httpx.codes.OK, answer.text
        self.answered |= set(answer.json()["ids"])


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    clock = Clock(tmp_path)
    settings = point(monkeypatch, tmp_path / "home")
    stack = Stack(settings)
    write = write_pumps(tmp_path / "pumps", clock.now())
    write.write_parquet(tmp_path / "readings.parquet")
    made = Home(tmp_path, clock)
    made.command("add", str(tmp_path / "pumps"))
    with monkeypatch.context() as told:
        for name, value in clock.environment.items():
            told.setenv(name, value)
        addresses = stack.start(("prefect", "mlflow", "service", "runner"))
    for name, value in settings.child_environment(addresses).items():
        monkeypatch.setenv(name, value)
    try:
        yield made
    finally:
        stack.stop()


@contextmanager
def prefect() -> Iterator[object]:
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: os.environ["PREFECT_API_URL"]}), get_client(sync_client=True) as client:
        yield client


def next_collection() -> datetime | None:
    """When Prefect will bring in the next rows, as it has planned."""
    now = datetime.now(UTC)
    coming = [run.expected_start_time for run in collections() if run.state is not None and run.state.is_scheduled()]
    return min((each for each in coming if each > now), default=None)


def collections() -> list[FlowRun]:
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterDeploymentId

    with prefect() as client:
        deployment = client.read_deployment_by_name("collect/pumps")
        ours = FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(any_=[deployment.id]))
        return list(client.read_flow_runs(flow_run_filter=ours))


def test_set_forth_by_days_and_back_nothing_is_lost_and_nothing_stands_still(home: Home) -> None:
    home.command("run", "loop", "pumps")
    first = next_collection()
    home.ask()
    jumps = [(FORTH, ["loop"]), (0, ["collect", "monitor"])]
    if WHOLE:
        jumps += [(-2, ["loop"]), (0, ["collect"])]
    for days, flows in jumps:
        home.clock.set(days)
        home.ask()
        for flow in flows:
            home.command("run", flow, "pumps")
        home.ask()
        home.wait_until_all_works()
        # of what was asked about a time before the model's; nothing else, and nothing that waits for days to come
        assert {each["kind"] for each in json.loads(home.command("alert", "list", "--json"))} <= {"stray"}

    # schedules go on within their hour, not when it is five days later again
    assert first is not None
    soon = datetime.now(UTC) + timedelta(hours=1, minutes=2)
    try:
        wait(lambda: (found := next_collection()) is not None and found < soon, 4 * 60)
    except AssertionError:
        for run in collections():  # what stands in its way
            print(run.expected_start_time, run.state and (run.state.name, run.state.timestamp), run.name)
        raise

    # every row of the source is there once; those of days to come are seen when these have come
    settings = Settings()
    job = Job(settings.use_case("pumps"), settings.places(), home.clock.now())
    source = pl.read_parquet(home.folder / "readings.parquet").with_columns(pl.col("time").dt.replace_time_zone("UTC"))
    lake = Lake(job.places.lake, "pumps")
    for now in (datetime.now(UTC), datetime.now(UTC) + timedelta(days=FORTH)):
        for table in ("raw", "clean"):
            seen = Known(lake, job.usecase.spec, now).rows(table).select("time", "pump").sort("time", "pump")
            due = source.filter(pl.col("time") < now).select("time", "pump")
            late = seen["time"].max()
            assert late is not None
            assert late > now - timedelta(hours=2, minutes=15)
            assert seen.rows() == due.filter(pl.col("time") <= late).rows()

    # every prediction that was answered is in the lake, once
    httpx.post(f"{settings.addresses().service}/journal/seal", timeout=60).raise_for_status()
    harvest(job.places.journal, "pumps", lake)
    ids = lake.scan("predictions").select("id").collect()["id"].to_list()
    assert len(ids) == len(set(ids))
    assert home.answered <= set(ids)
    assert len(home.answered) == 5 * (1 + 2 * len(jumps))
