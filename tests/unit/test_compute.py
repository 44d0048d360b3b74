"""Jobs run in their order, each when its result is asked for; settings say where."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from expectations.errors import TrainingError
from expectations.families import Report
from tasks.compute.compute import COMPUTES, ComputeSettings, computing, current_compute, open_compute
from tasks.compute.local import LocalCompute

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
