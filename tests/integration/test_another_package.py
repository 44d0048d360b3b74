"""A package that pip installed brings a source, a feature step and a family; nothing here knows of it.

It is built and installed offline into a folder of its own, which only the processes started here have on their path.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest

from expectations.errors import BundleError
from expectations.slots import SLOTS
from tasks.bundles.bundle import load_bundle
from tasks.stores.desired_state import Served
from tests.conftest import at_home
from tests.integration.test_service import Running

pytestmark = pytest.mark.process
BIN = Path(sys.executable).parent / "driftwheel"
USE_CASE = """
name: wear
title: How much does a machine wear?
task: regression
clock: {column: time}
keys: [time, machine]
sources:
  shifts: {kind: acme.shifts, hours: 300}
label: {column: wear, available_after: 1h}
features:
  - halve: [load]
  - numeric: [load]
model: {candidates: [{family: acme.line}]}
gates: [{metric: r2, min: 0.5}, {metric: acme.worst, max: 10}]
monitoring:
  every: 1w
  performance: [{metric: rmse, drop: 0.3}]
  drift: {scores: [acme.hellinger]}
  alert_rules: [{rule: acme.busy, above: 500}]
  policy: {trigger: acme.impatient, cooldown: 1w}
"""
ASKED = [{"time": f"2024-01-20T{hour:02}:00:00Z", "machine": "abc"[hour % 3], "load": 7.5 + hour} for hour in range(3)]
FIT = """
import json, sys
from datetime import UTC, datetime
import polars as pl
import driftwheel
fitted = driftwheel.fit(sys.argv[1], sys.argv[2], datetime(2024, 2, 1, tzinfo=UTC))
fitted.bundle.prove()
asked = pl.DataFrame(json.loads(sys.argv[3])).with_columns(pl.col("time").str.to_datetime(time_zone="UTC"))
manifest, judgement = fitted.bundle.manifest, fitted.judgement
print(json.dumps({"digest": fitted.bundle.digest, "family": manifest.family, "worst": manifest.metrics["acme.worst"],
                  "outcome": judgement.outcome, "predictions": fitted.bundle.predict(asked).tolist()}))
"""


@pytest.fixture
def installed(another_package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """On the path of the processes that are started, and not on that of this one."""
    at_home(tmp_path, monkeypatch)
    known = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(another_package), *([known] if known else [])]))
    assert find_spec("acme_driftwheel") is None
    yield another_package
    assert "acme_driftwheel" not in sys.modules


def ran(*command: str | Path) -> str:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def wear(tmp_path: Path) -> Path:
    folder = tmp_path / "wear"
    folder.mkdir()
    (folder / "usecase.yaml").write_text(USE_CASE)
    (folder / "suite.yaml").write_text("[]")
    return folder


def test_its_parts_are_listed_and_tried_as_those_that_are_built_in(installed: Path, wear: Path) -> None:
    listed = {(each["slot"], each["name"]) for each in json.loads(ran(BIN, "parts", "--json"))}
    assert {
        ("sources", "acme.shifts"),
        ("features", "halve"),
        ("candidates", "acme.line"),
        ("drift_scores", "acme.hellinger"),
        ("alert_rules", "acme.busy"),
    } <= listed
    ran(BIN, "check", wear)


def test_its_model_is_learnt_and_served(installed: Path, wear: Path, tmp_path: Path) -> None:
    made = tmp_path / "bundle"
    fitted = json.loads(ran(sys.executable, "-c", FIT, wear, made, json.dumps(ASKED)))
    assert fitted["outcome"] == "passed"
    assert fitted["family"] == "acme.line"
    assert 0 < fitted["worst"] < 10
    assert fitted["predictions"] == pytest.approx([2 * each["load"] for each in ASKED], abs=0.5)  # as it was made

    service = Running(tmp_path)
    service.releases.add("wear", made, fitted["digest"])
    service.releases.set_desired("wear", champion=Served(bundle=fitted["digest"], version="1"))
    service.start()
    try:
        answer = httpx.post(f"{service.url}/wear/invocations", json={"dataframe_records": ASKED}).json()
        assert answer["predictions"] == pytest.approx(fitted["predictions"])
        explained = httpx.post(f"{service.url}/wear/explain", json={"dataframe_records": ASKED[:1]}).json()
        (first,) = explained["explanations"]
        assert first["base"] + sum(first["contributions"].values()) == pytest.approx(answer["predictions"][0])
        assert explained["scale"] == "value"
    finally:
        service.stop()

    with pytest.raises(BundleError, match=r"'acme.line'|'halve'"):  # here, where it is not installed
        load_bundle(made, fitted["digest"])


def test_nothing_of_it_stands_here(installed: Path) -> None:
    (package,) = distributions(path=[str(installed)])
    slots = {slot.group: slot for slot in SLOTS.values() if slot.group}
    names = [(slots[each.group], each.name) for each in package.entry_points]
    assert len(names) == 7
    assert [slot.find(name) for slot, name in names] == [None] * 7
