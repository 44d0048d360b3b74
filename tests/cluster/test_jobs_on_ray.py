"""Jobs on two nodes: the same answers, in the same order; whoever dies is begun again, what fails is reported."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from expectations.errors import ComputeError, TrainingError, UnreachableError
from expectations.families import Report
from expectations.gates import CrossValidation
from expectations.loading import load_use_case
from flows.backtest import backtest
from tasks.compute.compute import ComputeSettings, computing, current_compute
from tasks.compute.local import unheard
from tasks.compute.ray_own import own_folder
from tasks.training.cross_validation import cross_validate
from tasks.training.learning import Trained, learn
from tasks.training.live import Curves, Point, sending
from tests.cluster.jobs import dies, fails, where
from tests.unit.test_backtest import walked
from tests.unit.test_progress import reported
from tests.unit.test_training import rows

Make = Callable[..., Path]
PATIENT_SECONDS = 120.0
TREES = {"family": "lightgbm", "rounds": 40, "leaves": 15, "patience": 10}
CONTEST: dict[str, object] = {
    "model.candidates": [TREES, {"family": "linear"}, {"family": "torch.mlp", "hidden": [8], "epochs": 3}],
    "model.search": {
        "ranges": {"lightgbm": {"leaves": {"low": 2, "high": 63}, "learning_rate": {"low": 0.001, "high": 0.5}}},
        "trials": 10,
        "batch": 4,
    },
}


def learnt(make: Make, name: str) -> tuple[Trained, list[Point], dict[str, list[float]]]:
    """Search, let candidates compete, and cross-validate what won."""
    points: list[Point] = []
    usecase = load_use_case(str(make(name, CONTEST)))
    frame = rows(usecase, "2011-04-01")
    with sending(Curves(points.extend)):
        trained = learn(frame, usecase.spec)
    folds = cross_validate(frame, usecase.spec, trained.recipe, CrossValidation(folds=4))
    return trained, points, folds


def said(of: Trained) -> Any:
    tried = [(each.family, each.number, each.state, dict(each.values), str(each.score)) for each in of.attempts]
    return of.contest, of.curves, of.recipe, of.classes, tried


def test_answers_are_those_of_this_process_to_the_last_bit(on_ray: Any, make_use_case: Make) -> None:
    there, sent, folds = learnt(make_use_case, "there")
    with computing(ComputeSettings()):
        here, also, own = learnt(make_use_case, "here")
    assert said(there) == said(here)
    assert {each.state for each in there.attempts} == {"complete", "pruned"}
    assert folds == own
    assert sorted(each[:3] for each in sent) == sorted(each[:3] for each in also)
    usecase = load_use_case(str(make_use_case("again", CONTEST)))
    frame = rows(usecase, "2011-05-01")
    both = [each.predict(frame, repaired=True) for each in (there, here)]
    np.testing.assert_array_equal(*both)


def ended(processes: list[int]) -> bool:
    """Wait until processes are gone; whether they are."""
    until = time.monotonic() + PATIENT_SECONDS
    while (left := any(map(psutil.pid_exists, processes))) and time.monotonic() < until:
        time.sleep(0.1)
    return not left


@contextmanager
def once_on(nodes: int, folder: Path, then: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Let the jobs go on once so many nodes have one, and something was done; they do so anyway after a while."""
    until = time.monotonic() + PATIENT_SECONDS

    def watch() -> None:
        while len(list(folder.glob("on-*"))) < nodes and time.monotonic() < until:
            time.sleep(0.05)
        then()
        (folder / "go").touch()

    watching = threading.Thread(target=watch)
    watching.start()
    yield
    watching.join()


def test_both_nodes_work_at_once_with_a_core_each_and_say_what_they_do(on_ray: Any, tmp_path: Path) -> None:
    until = time.monotonic() + PATIENT_SECONDS

    def wait_for_words() -> None:
        while "job 0" not in found and time.monotonic() < until:
            time.sleep(0.05)

        begun.extend(heard)

    def hear(at: int) -> Report:
        heard.append(at)
        return unheard

    begun, heard = list[int](), list[int]()
    with reported() as found, once_on(2, tmp_path, wait_for_words):
        results = list(current_compute().jobs(where, tmp_path).map(range(4), hear))
    assert len({node for node, _, _ in results}) == 2
    assert {each[1:] for each in results} == {(1, "1")}
    assert found[0] == f"joining Ray at {on_ray.address}"
    assert found[1] == "job 0"  # of those that run at once, the one that is waited for
    assert sorted(heard) == [0, 1, 2, 3]
    assert 0 in begun
    assert len(begun) <= 2  # none is asked about that only waits for a core


def test_a_worker_that_dies_is_begun_again_and_heard_once(on_ray: Any, tmp_path: Path) -> None:
    heard: list[tuple[int, int]] = []

    def hear(at: int) -> Report:
        def report(step: int, _: Mapping[str, float]) -> None:
            heard.append((at, step))

        return report

    assert list(current_compute().jobs(dies, tmp_path).map([2, 0], hear)) == [3, 1]
    assert sorted(heard) == [(at, step) for at in (0, 1) for step in (0, 1, 2)]
    with pytest.raises(ComputeError, match=r"its worker died 3 times.*DRIFTWHEEL_COMPUTE=local"):
        list(current_compute().jobs(dies, tmp_path).map([9, 0]))
    assert len((tmp_path / "dies-9").read_text().splitlines()) == 3


def test_a_node_that_goes_away_takes_no_job_with_it(on_ray: Any, tmp_path: Path) -> None:
    gone = on_ray.add_node(num_cpus=1, **on_ray.node_arguments)

    def take_away() -> None:
        on_ray.remove_node(gone, allow_graceful=False)
        worker = int((tmp_path / f"on-{gone.node_id}").read_text().split()[-1])
        ended([worker])

    with once_on(3, tmp_path, take_away):
        results = list(current_compute().jobs(where, tmp_path).map(range(6)))
    assert len(results) == 6
    assert gone.node_id not in {node for node, _, _ in results}
    assert (tmp_path / f"on-{gone.node_id}").exists()


def test_what_fails_is_not_tried_again_and_said_as_this_process_says_it(on_ray: Any, tmp_path: Path) -> None:
    for compute in (ComputeSettings("ray", on_ray.address), ComputeSettings()):
        folder = tmp_path / compute.name
        folder.mkdir()
        with computing(compute):
            found = current_compute().jobs(fails, folder).map([0, 1, 2])
            assert next(found) == 0
            with pytest.raises(TrainingError, match=r"^expected a number; found the 1\. Take another$"):
                next(found)
            with pytest.raises(ZeroDivisionError, match=r"^seven$"):
                list(current_compute().jobs(fails, folder).map([7, 0]))
        assert len((folder / "fails-1").read_text().splitlines()) == 1
        assert len((folder / "fails-7").read_text().splitlines()) == 1


def test_a_job_alone_runs_here(tmp_path: Path) -> None:
    with computing(ComputeSettings("ray", "127.0.0.1:1")):
        assert list(current_compute().jobs(fails, tmp_path).map([3])) == [3]
        assert (tmp_path / "fails-3").read_text() == f"{os.getpid()}\n"
        with pytest.raises(UnreachableError, match=r"Ray at 127\.0\.0\.1:1 .* to answer; .*ray start"):
            list(current_compute().jobs(fails, tmp_path).map([3, 4]))


OWN = """
import contextlib, json, os, sys, tempfile
from pathlib import Path
import psutil
from tasks.compute.compute import ComputeSettings, computing, current_compute
from tests.cluster.jobs import fails

tempfile.tempdir = sys.argv[1]
before = dict(os.environ)
for _ in range(2 if sys.argv[2] == "well" else 1):  # a process trains again and again
    with computing(ComputeSettings("ray")):
        found = list(current_compute().jobs(fails, Path(sys.argv[1])).map([3, 4, 5]))
        started = psutil.Process().children(recursive=True)
        (token,) = Path(sys.argv[1]).glob("*/token")
        listening, commands = set(), []
        for one in started:
            with contextlib.suppress(psutil.NoSuchProcess):  # workers of jobs that are done come and go
                listening |= {each.laddr.ip for each in one.net_connections() if each.status == "LISTEN"}
                commands += one.cmdline()
        shown = any(token.read_text() in word for word in commands) or not commands
        modes = [each.stat().st_mode & 0o777 for each in (token, token.parent)]
        if sys.argv[2] == "killed":
            print(json.dumps([found, [one.pid for one in started], sorted(listening), shown, modes, {}]), flush=True)
            os.kill(os.getpid(), 9)
after = dict(os.environ)
changed = {name: after.get(name) for name in {*before, *after} if before.get(name) != after.get(name)}
print(json.dumps([found, [one.pid for one in started], sorted(listening), shown, modes, changed]))
"""


@pytest.mark.parametrize("end", ["well", "killed"])
def test_one_of_its_own_listens_on_loopback_alone_and_leaves_nothing(end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(prefix="dw-", dir="/tmp") as folder:  # a short one
        own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        done = subprocess.run(
            [sys.executable, "-c", OWN, folder, end], env=own, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == (0 if end == "well" else -signal.SIGKILL), done.stderr
        found, started, listening, shown, modes, changed = json.loads(done.stdout.splitlines()[-1])
        assert found == [3, 4, 5]
        assert set(listening) <= {"127.0.0.1", "::ffff:127.0.0.1"}
        assert listening
        assert (shown, modes) == (False, [0o600, 0o700])
        assert changed == {}
        assert ended(started)
        left = list(Path(folder).glob("dw-ray-*"))
        assert len(left) == (1 if end == "killed" else 0)
        monkeypatch.setattr(tempfile, "tempdir", folder)
        with own_folder() as made:
            assert list(Path(folder).glob("dw-ray-*")) == [made.token.parent]


def test_models_of_a_backtest_are_learnt_side_by_side_and_lose_the_same(on_ray: Any, make_use_case: Make) -> None:
    asked = {"every": {"trigger": "schedule", "windows": 1}}
    with walked(make_use_case, name="there") as past:
        there = backtest(past, asked)
    with computing(ComputeSettings()), walked(make_use_case, name="here") as past:
        here = backtest(past, asked)
    np.testing.assert_array_equal(there.table, here.table)
    assert [(each.name, each.actions, each.lost) for each in there.policies] == [
        (each.name, each.actions, each.lost) for each in here.policies
    ]


@pytest.mark.parametrize("token", ["none", "another"])
def test_who_has_not_the_token_is_told_how_to_show_it(cluster: Any, tmp_path: Path, token: str) -> None:
    own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    own |= {"HOME": str(tmp_path)}  # Ray keeps one there, too
    if token == "another":
        (tmp_path / "token").write_text("0" * 64)
        own |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")}
    script = OWN.replace('ComputeSettings("ray")', f'ComputeSettings("ray", "{cluster.address}")')
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path), "well"], env=own, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 1
    assert "AccessError: expected the token of Ray at" in done.stderr
    assert "RAY_AUTH_TOKEN_PATH" in done.stderr
