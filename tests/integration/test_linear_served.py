"""A linear model wins against trees that learnt too little, is packed, proved and served, alone or among many rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest

from expectations.loading import load_use_case
from tasks.bundles.row_frames import jsonable
from tasks.stores.desired_state import Served
from tests.integration.test_service import Running
from tests.unit.test_training import released, rows


@pytest.mark.process
def test_a_linear_candidate_wins_and_is_served(make_use_case: Callable[..., Path], tmp_path: Path) -> None:
    few = {"family": "lightgbm", "rounds": 2, "leaves": 3, "patience": None}
    changes = {"model.candidates": [few, {"family": "linear", "l2": 10.0}]}
    usecase = load_use_case(str(make_use_case(changes=changes)))
    collected = rows(usecase, "2011-04-01")
    bundle, judged, _ = released(usecase, collected, tmp_path / "bundle")
    assert judged.trained is not None
    assert judged.trained.contest["linear"] < judged.trained.contest["lightgbm"]  # of its rmse
    assert bundle.manifest.family == "linear"

    service = Running(tmp_path)
    service.releases.add("rentals", bundle.folder, bundle.digest)
    service.releases.set_desired("rentals", champion=Served(bundle=bundle.digest, version="1"))
    service.start()
    try:
        asked = jsonable(collected.select([column.name for column in bundle.manifest.columns]).tail(30))
        url = f"{service.url}/rentals/invocations"
        together = httpx.post(url, json={"dataframe_records": asked}).json()["predictions"]
        alone = [httpx.post(url, json={"dataframe_records": [row]}).json()["predictions"][0] for row in asked]
        assert alone == together
        np.testing.assert_array_equal(together, bundle.predict(collected.tail(30)))
        explained = httpx.post(f"{service.url}/rentals/explain", json={"dataframe_records": asked[:1]}).json()
        (first,) = explained["explanations"]
        assert first["base"] + sum(first["contributions"].values()) == pytest.approx(together[0], rel=1e-12)
        assert (explained["scale"], explained["method"].partition(":")[0]) == ("value", "exact")
    finally:
        service.stop()
