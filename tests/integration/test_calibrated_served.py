"""A calibrated classifier is served as one model, and its labels follow what errors cost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from expectations.loading import load_use_case
from tasks.bundles.row_frames import jsonable
from tasks.stores.desired_state import Served
from tests.integration.test_service import Running
from tests.unit.test_calibration import CLASSIFIER
from tests.unit.test_training import released, rows


@pytest.mark.process
def test_calibrated_probabilities_and_labels_by_cost_are_served(
    make_use_case: Callable[..., Path], tmp_path: Path
) -> None:
    costs = {"false_positive": 1, "false_negative": 8}
    usecase = load_use_case(str(make_use_case(changes={**CLASSIFIER, "model.calibration": "platt", "costs": costs})))
    collected = rows(usecase, "2011-04-01")
    bundle, _, _ = released(usecase, collected, tmp_path / "bundle")
    service = Running(tmp_path)
    service.releases.add("rentals", bundle.folder, bundle.digest)
    service.releases.set_desired("rentals", champion=Served(bundle=bundle.digest, version="1"))
    service.start()
    try:
        asked = jsonable(collected.select([column.name for column in bundle.manifest.columns]).tail(60))
        url = f"{service.url}/rentals/invocations"
        together = httpx.post(url, json={"dataframe_records": asked}).json()["predictions"]
        assert together == bundle.predict(collected.tail(60)).tolist()
        alone = httpx.post(url, json={"dataframe_records": asked[:1]}).json()["predictions"]
        assert alone == together[:1]
        body = {"dataframe_records": asked, "params": {"output": "label"}}
        labels = httpx.post(url, json=body).json()["predictions"]
        assert [bool(each) for each in labels] == [each >= 1 / 9 for each in together]
        assert any(1 / 9 <= each < 0.5 for each in together)
        explained = httpx.post(f"{service.url}/rentals/explain", json={"dataframe_records": asked[:1]}).json()
        assert explained["scale"] == "log-odds"
        (first,) = explained["explanations"]
        assert first["base"] + sum(first["contributions"].values()) == pytest.approx(first["score"])
    finally:
        service.stop()
