"""A replay of the small use case, start to end, as `make demo` does with the large one."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

pytestmark = pytest.mark.system


def _policies(folder: Path) -> Path:
    file = folder / "policies.yaml"
    file.write_text("never: {trigger: trial, release_cost: 1000}\nmonthly: {trigger: schedule, windows: 1}\n")
    return file


def test_a_replay_tells_what_the_loop_gained_and_stops_what_it_started(
    make_use_case: Callable[..., Path], tmp_path: Path
) -> None:
    folder = make_use_case("small", {"monitoring.policy": {"trigger": "trial", "release_cost": 0.2}})
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("DRIFTWHEEL_", "PREFECT_", "MLFLOW_"))
    }
    environment |= {
        "DRIFTWHEEL_HOME": str(tmp_path / "home"),
        "DRIFTWHEEL_PREFECT_PORT": "0",
        "DRIFTWHEEL_MLFLOW_PORT": "0",
        "DRIFTWHEEL_SERVICE_PORT": "0",
        "DRIFTWHEEL_EVIDENTLY_PORT": "0",
    }
    command = [
        Path(sys.executable).parent / "driftwheel",
        "replay",
        str(folder),
        "--to",
        "2011-07-01",
        "--compare",
        "--json",
        str(tmp_path / "story.json"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=280)
    assert done.returncode == 0, done.stderr
    for number in range(1, 5):  # a line as each window ends, in a pipe, too
        assert re.search(rf"s\] window {number} of 4, 2011-.*; about [0-9]+ (s|min) left", done.stderr)
        assert re.search(rf"s\] comparison, window {number} of 4, 2011-.*; about [0-9]+ (s|min) left", done.stderr)

    story = json.loads((tmp_path / "story.json").read_text())
    walked = tmp_path / "backtest.json"
    command = [*command[:1], "backtest", *command[2:5], "--policy", str(_policies(tmp_path)), "--json", str(walked)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=280)
    assert done.returncode == 0, done.stderr
    assert "4 windows cannot distinguish policies" in done.stdout
    found = json.loads(walked.read_text())
    own, never, monthly = found["policies"]
    assert (own["name"], never["releases"], monthly["name"]) == ("default", 0, "monthly")
    assert own["decisions"] == [window["decision"] for window in story["windows"]]
    assert own["mean"] == pytest.approx(story["mean"]["loop"], rel=1e-9)
    assert never["mean"] == pytest.approx(story["mean"]["static"], rel=1e-9)
    assert own["trials"] == story["trials"] == 4
    assert monthly["trainings"] == 4
    assert found["oracle"]["cost"] <= min(each["cost"] for each in found["policies"])
    assert (tmp_path / "home" / "backtests" / "small.png").stat().st_size > 10_000
    table = pl.read_parquet(tmp_path / "home" / "backtests" / "small.parquet")
    assert len(table) == 4 * 5 // 2

    assert set(story) >= {
        "usecase",
        "metric",
        "windows",
        "mean",
        "retrains",
        "promotions",
        "refused",
        "requests",
        "failed_requests",
        "seconds",
    }
    assert [window["start"][:10] for window in story["windows"]] == [
        "2011-03-01",
        "2011-04-01",
        "2011-05-01",
        "2011-06-01",
    ]
    assert story["failed_requests"] == 0
    assert story["mean"]["loop"] < story["mean"]["static"]
    assert 1 <= story["retrains"] < 4
    assert story["promotions"] + story["refused"] == story["retrains"]
    assert story["compare"]["never"]["mean"] == pytest.approx(story["mean"]["static"])
    assert story["seconds"]["total"] == pytest.approx(sum(v for k, v in story["seconds"].items() if k != "total"))
    for window in story["windows"]:
        assert {"rows", "static", "loop", "champion", "drifted_columns", "cause", "decision", "promoted"} <= set(window)
    page = (tmp_path / "home" / "replays" / "small.html").read_text()
    assert "<svg" in page
    assert "of the <b>frozen</b> model. That is the first one, never replaced" in page
    assert "http" not in page
    assert "src=" not in page
    kept = json.loads((tmp_path / "home" / "replays" / "small.json").read_text())
    assert kept["mean"] == story["mean"]
    assert not (tmp_path / "home" / "stack.json").exists()
    why = subprocess.run([command[0], "why", "small-replay"], capture_output=True, text=True, env=environment)
    assert "retrain" in why.stdout
