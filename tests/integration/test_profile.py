"""`driftwheel profile`: where a training's time and memory go, and nothing else of it stays."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest
import yaml
from click.testing import CliRunner, Result

from expectations.loading import load_use_case
from flows import training_profile
from flows.cli import main
from tasks.stores import engines
from tasks.stores.database import Database
from tasks.stores.lake import Lake
from tasks.stores.lake_tables import BATCH, COLLECTED
from tests.conftest import instant
from tests.unit.test_training import rows


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("DRIFTWHEEL_HOME", str(tmp_path / "home"))
    for name in ("MLFLOW_TRACKING_URI", "DRIFTWHEEL_MLFLOW"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    yield tmp_path / "home"
    engines.close_engines()


@pytest.fixture
def rentals(make_use_case: Callable[..., Path], home: Path) -> Path:
    """A use case with rows, of two short candidates, that was never trained."""
    folder = make_use_case()
    file = folder / "usecase.yaml"
    content = yaml.safe_load(file.read_text())
    content["model"]["candidates"] = [
        {"family": "lightgbm", "rounds": 20, "leaves": 7, "patience": None},
        {"family": "torch.mlp", "hidden": [8], "epochs": 3, "patience": None},
    ]
    file.write_text(yaml.safe_dump(content))
    loaded = load_use_case(str(folder))
    frame = rows(loaded, "2011-03-01")
    Database(f"sqlite:///{home / 'platform.db'}").add_use_case("rentals", folder, loaded.digest)
    collected = pl.lit(instant("2011-03-01")).dt.cast_time_unit("us").alias(COLLECTED)
    stamped = frame.with_columns(pl.lit(1, dtype=pl.Int64).alias(BATCH), collected)
    for table in ("raw", "clean"):
        Lake(str(home / "lake"), "rentals").append(table, stamped, transactions={"test": 1})
    return folder


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["profile", "rentals", *arguments], prog_name="driftwheel")


def files(folder: Path) -> set[str]:
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    return {each for each in names if not each.startswith(("platform.db", "privacy.key", "lake"))}


@pytest.mark.slow
def test_a_training_is_profiled_and_only_that_stays(rentals: Path, home: Path, tmp_path: Path) -> None:
    done = call("--out", "found", "--json")
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["usecase"] == "rentals"
    assert said["rows"] == len(rows(load_use_case(str(rentals)), "2011-03-01"))
    assert said["against_champion"] is False
    steps = {"/".join(each["path"]): each for each in said["steps"]}
    learning = "training/learning and judging"
    assert {"training", "training/reading rows", learning, f"{learning}/fitting features"} < set(steps)
    assert {f"{learning}/learning lightgbm", f"{learning}/learning torch.mlp"} < set(steps)
    assert steps["training"]["share"] == 1
    direct = [each for each in said["steps"] if len(each["path"]) == 2]
    assert 0.9 < sum(each["share"] for each in direct) <= 1
    assert all(0 <= each["grown"] < each["peak"] <= steps["training"]["peak"] for each in said["steps"])
    assert {"aten::addmm"} < {each["name"] for each in said["operators"]["torch.mlp"]}
    assert sorted(Path(each).name for each in said["files"]) == [
        "operators-torch.mlp.txt",
        "profile.json",
        "python.html",
        "python.speedscope.json",
        "trace-torch.mlp.json.gz",
    ]
    page = (tmp_path / "found" / "python.html").read_text()
    assert "Content-Security-Policy" in page
    assert "train_challenger" not in page  # nothing of it goes through MLflow
    assert "rehearse" in page
    speedscope = json.loads((tmp_path / "found" / "python.speedscope.json").read_text())
    assert "rehearse" in {each["name"] for each in speedscope["shared"]["frames"]}
    assert files(home) == set()
    assert Database(f"sqlite:///{home / 'platform.db'}").entries("rentals") == []


@pytest.mark.slow
def test_one_candidate_is_profiled_in_a_table_and_a_folder_of_the_home(rentals: Path, home: Path) -> None:
    done = call("--candidate", "lightgbm")
    assert done.exit_code == 0, done.output
    assert "learning lightgbm" in done.stdout
    assert "torch.mlp" not in done.stdout
    assert "peak memory" in done.stdout
    assert "MLflow: none answers" in done.stdout
    assert {Path(each).name for each in files(home)} == {"profile.json", "python.html", "python.speedscope.json"}


def test_what_was_never_collected_is_said(make_use_case: Callable[..., Path], tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["profile", str(make_use_case()), "--out", "found"])
    assert done.exit_code == 1
    assert "a clean table" in done.stderr
    assert "driftwheel run collect rentals" in done.stderr
    assert not (tmp_path / "found").exists()


def test_a_candidate_that_is_not_there_is_said(rentals: Path) -> None:
    done = call("--candidate", "lightgmb", "--out", "found")
    assert done.exit_code == 1
    assert "one of lightgbm, torch.mlp" in done.stderr


def test_a_folder_that_is_there_is_left_alone(rentals: Path, tmp_path: Path) -> None:
    (tmp_path / "found").mkdir()
    done = call("--out", "found")
    assert done.exit_code == 1
    assert "that is not there yet" in done.stderr


def test_an_interrupted_profile_leaves_nothing(
    rentals: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(training_profile, "rehearse", interrupted)
    for _ in range(2):  # the first one's profiler has stopped
        done = call("--out", "found")
        assert done.exit_code == 130
    assert not (tmp_path / "found").exists()
    assert files(home) == set()
