"""What another package brings is declared, collected, learnt, packed and served; nothing here knows of it."""

from __future__ import annotations

import os
from pathlib import Path

import httpx
import pytest

from expectations.errors import BundleError
from expectations.loading import load_use_case
from tasks.bundles.bundle import load_bundle
from tasks.bundles.row_frames import jsonable
from tasks.stores.releases import Served
from tests.integration.test_service import Running
from tests.unit.test_training import released, rows

PACKAGES = Path(__file__).parents[1] / "packages"
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
  policy: {trigger: acme.impatient, cooldown: 1w}
"""


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Path:
    """As pip would have it: on the path of this process, and of those it starts."""
    known = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(PACKAGES), *([known] if known else [])]))
    monkeypatch.syspath_prepend(PACKAGES)
    return PACKAGES


def test_a_model_of_another_package_is_served(installed: Path, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "usecase.yaml").write_text(USE_CASE)
    (tmp_path / "suite.yaml").write_text("[]")
    usecase = load_use_case(str(tmp_path))
    collected = rows(usecase, "2024-02-01")
    bundle, judged, _ = released(usecase, collected, tmp_path / "bundle")
    assert judged.judgement.outcome == "passed"
    assert bundle.manifest.family == "acme.line"
    assert 0 < bundle.manifest.metrics["acme.worst"] < 10
    bundle.prove()

    service = Running(tmp_path)
    service.releases.add("wear", bundle.folder, bundle.digest)
    service.releases.set_desired("wear", champion=Served(bundle=bundle.digest, version="1"))
    service.start()
    try:
        asked = jsonable(collected.select([column.name for column in bundle.manifest.columns]).head(3))
        answer = httpx.post(f"{service.url}/wear/invocations", json={"dataframe_records": asked}).json()
        assert answer["predictions"] == pytest.approx(bundle.predict(collected.head(3)).tolist())
        explained = httpx.post(f"{service.url}/wear/explain", json={"dataframe_records": asked[:1]}).json()
        (first,) = explained["explanations"]
        assert first["base"] + sum(first["contributions"].values()) == pytest.approx(answer["predictions"][0])
        assert explained["scale"] == "value"
    finally:
        service.stop()

    monkeypatch.undo()  # it is removed again
    with pytest.raises(BundleError, match=r"'acme.line'|'halve'"):
        load_bundle(bundle.folder, bundle.digest)
