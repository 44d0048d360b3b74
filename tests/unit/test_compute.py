"""Jobs run in their order, each when its result is asked for; settings say where."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from expectations.errors import ComputeError, DriftwheelError, TrainingError
from expectations.families import Report
from flows.commands.shared import read_settings
from infra.settings import Settings
from tasks.compute.compute import COMPUTES, ComputeSettings, computing, current_compute, open_compute
from tasks.compute.local import LocalCompute
from tasks.compute.ray_worker import run_job, versions
from tasks.modelling.processors import available_processors, limited_processors

begun: list[int] = []


def work(shared: int, item: int, report: Report) -> int:
    begun.append(item)
    if item == 13:
        raise TrainingError("a lucky number", "13", "Take another")
    report(0, {"loss": float(item)})
    return shared * item


def test_jobs_of_this_process_run_one_after_the_other_each_when_it_is_asked_for() -> None:
    begun.clear()
    heard: list[tuple[int, float]] = []

    def hear(at: int) -> Report:
        def report(_: int, values: Mapping[str, float]) -> None:
            heard.append((at, values["loss"]))

        return report

    found = current_compute().jobs(work, 10).map(iter([3, 1, 13, 2]), hear)
    assert begun == []
    assert next(found) == 30
    assert begun == [3]
    assert next(found) == 10
    with pytest.raises(TrainingError, match="lucky"):
        next(found)
    assert begun == [3, 1, 13]
    assert heard == [(0, 3.0), (1, 1.0)]


def test_what_was_said_counts_until_its_block_ends() -> None:
    closed: list[str] = []

    class Elsewhere(LocalCompute):
        def close(self) -> None:
            closed.append("closed")

    assert isinstance(current_compute(), LocalCompute)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks.compute.local.LocalCompute", Elsewhere)
        with computing(ComputeSettings()):
            assert isinstance(current_compute(), Elsewhere)
            assert closed == []
        assert closed == ["closed"]
    assert type(current_compute()) is LocalCompute


@pytest.mark.parametrize("name", COMPUTES)
def test_each_is_made_without_connecting_to_anything(name: str) -> None:
    open_compute(ComputeSettings(name, "192.0.2.1:6379")).close()


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        computing(ComputeSettings("ray")),
        pytest.raises(ComputeError, match=r"the package ray.*Install driftwheel\[ray\]"),
    ):
        list(current_compute().jobs(work, 10).map([3, 1]))


def test_a_node_with_other_versions_is_refused_by_name() -> None:
    found = run_job({**versions(), "lightgbm": "0.1"}, 1, [], 0, 3, None)
    assert isinstance(found.error, ComputeError)
    assert "expected lightgbm 0.1 on every node of Ray; found lightgbm " in str(found.error)


def test_jobs_beside_each_other_take_the_processors_they_were_given() -> None:
    before = available_processors()
    with limited_processors(1):
        assert available_processors() == 1
    with limited_processors(10**6):
        assert available_processors() == before


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("COMPUTE", "dask", "compute: .*none of local, ray"),
        ("RAY_ADDRESS", "ray://head:10001", "ray_address: .*no HOST:PORT"),
        ("RAY_ADDRESS", "head", "ray_address: .*no HOST:PORT"),
        ("RAY_CORES", "0", "ray_cores: .*greater than or equal to 1"),
    ],
)
def test_where_jobs_run_is_set_from_outside(monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str) -> None:
    monkeypatch.setenv(f"DRIFTWHEEL_{name}", value)
    with pytest.raises(DriftwheelError, match=says):
        read_settings()


def test_settings_reach_the_stages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DRIFTWHEEL_HOME", str(tmp_path))
    assert Settings().places().compute == ComputeSettings()
    for name, value in (("COMPUTE", "ray"), ("RAY_ADDRESS", "head:6379"), ("RAY_CORES", "4")):
        monkeypatch.setenv(f"DRIFTWHEEL_{name}", value)
    assert Settings().places().compute == ComputeSettings("ray", "head:6379", 4)
