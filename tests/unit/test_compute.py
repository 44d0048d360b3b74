"""Jobs run in their order, each when its result is asked for; settings say where."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from expectations.errors import ComputeError, DriftwheelError, TrainingError
from expectations.families import Report
from flows.commands.shared import read_settings
from infra.settings import Settings
from tasks.compute.compute import COMPUTES, ComputeSettings, computing, current_compute, open_compute
from tasks.compute.local import LocalCompute
from tasks.compute.ray_own import _short_parent, environment, own_folder
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


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of temporary files whose path is short enough for the sockets of Ray."""
    with tempfile.TemporaryDirectory(prefix="dw-", dir="/tmp") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


def test_nobody_else_looks_into_the_folder_of_a_ray_of_our_own_and_its_token_is_one_a_process(short: Path) -> None:
    tokens = list[str]()
    for _ in range(2):
        with own_folder() as made:
            folder = made.token.parent
            assert folder.parent == short
            assert (folder.stat().st_mode & 0o777, made.token.stat().st_mode & 0o777) == (0o700, 0o600)
            assert made.written.parent == folder
            made.written.chmod(0o777)  # as Ray does with the one it is given
            assert folder.stat().st_mode & 0o777 == 0o700
            tokens.append(made.token.read_text(encoding="ascii"))
        assert list(short.iterdir()) == []
    assert tokens[0] == tokens[1]
    assert len(tokens[0]) == 64


def test_folders_of_killed_trainings_are_removed_and_no_other(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left, another = short / "dw-ray-left", short / "another"
    for each in (left, another):
        (each / "r").mkdir(parents=True)
    (short / "dw-ray-link").symlink_to(another)
    with own_folder() as first, own_folder() as second:
        kept = {first.token.parent, second.token.parent, another, short / "dw-ray-link"}
        assert set(short.iterdir()) == kept
        assert all(each.token.exists() for each in (first, second))
    assert (another / "r").is_dir()
    (left / "r").mkdir(parents=True)
    monkeypatch.setattr(os, "getuid", lambda: short.stat().st_uid + 1)  # to root other users' are open, too
    with own_folder():
        assert left.is_dir()


@pytest.mark.parametrize(
    ("folder", "taken"),
    [("/tmp", "/tmp"), ("/var/tmp", "/var/tmp"), ("/tmp/Bücher", "/tmp"), ("/var/folders/x0/abcdefgh", "/tmp")],
)
def test_paths_of_the_sockets_of_ray_are_short_and_plain(
    monkeypatch: pytest.MonkeyPatch, folder: str, taken: str
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", folder)
    assert _short_parent() == taken


def test_where_no_folder_can_be_made_the_error_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/none-of-that-name")
    with pytest.raises(ComputeError, match=r"No such file.*Set TMPDIR"), own_folder():
        pass


def test_words_of_the_environment_are_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIFTWHEEL_A", "before")
    monkeypatch.delenv("DRIFTWHEEL_B", raising=False)
    monkeypatch.delenv("DRIFTWHEEL_C", raising=False)
    with environment({"DRIFTWHEEL_A": "1", "DRIFTWHEEL_B": "2"}, ["DRIFTWHEEL_C"]):
        os.environ["DRIFTWHEEL_C"] = "3"
        assert (os.environ["DRIFTWHEEL_A"], os.environ["DRIFTWHEEL_B"]) == ("1", "2")
    assert os.environ["DRIFTWHEEL_A"] == "before"
    assert not {"DRIFTWHEEL_B", "DRIFTWHEEL_C"} & set(os.environ)
