"""A model that was trained elsewhere is packed, proved and served, and answers as its own library does."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import polars as pl
import pytest

from expectations.loading import load_use_case
from tasks.bundles.row_frames import jsonable
from tasks.stores.desired_state import Served
from tests.integration.test_service import Running
from tests.unit.test_adopted import foreign
from tests.unit.test_training import released, rows


@pytest.mark.process
def test_an_adopted_model_is_served(make_use_case: Callable[..., Path], tmp_path: Path) -> None:
    import lightgbm

    folder = make_use_case()
    content, names = foreign(folder, "2011-03-01")
    shutil.rmtree(folder)
    changes = {
        "features": [{"numeric": names}],
        "model.first": {"family": "adopted", "file": "model.txt"},
        "gates": [{"metric": "rmse", "max": 1000}],
    }
    folder = make_use_case(changes=changes)
    (folder / "model.txt").write_bytes(content)
    usecase = load_use_case(str(folder))
    collected = rows(usecase, "2011-03-01")
    bundle, _, _ = released(usecase, collected, tmp_path / "bundle")

    service = Running(tmp_path)
    service.releases.add("rentals", bundle.folder, bundle.digest)
    service.releases.set_desired("rentals", champion=Served(bundle=bundle.digest, version="1"))
    service.start()
    try:
        newest = collected.tail(30)
        asked = jsonable(newest.select([column.name for column in bundle.manifest.columns]))
        url = f"{service.url}/rentals/invocations"
        together = httpx.post(url, json={"dataframe_records": asked}).json()["predictions"]
        alone = [httpx.post(url, json={"dataframe_records": [row]}).json()["predictions"][0] for row in asked]
        matrix = newest.select(names).cast(dict.fromkeys(names, pl.Float64)).to_numpy()
        theirs = lightgbm.Booster(model_str=content.decode()).predict(matrix)
        np.testing.assert_array_equal(together, theirs)
        assert alone == together
        explained = httpx.post(f"{service.url}/rentals/explain", json={"dataframe_records": asked[:1]}).json()
        (first,) = explained["explanations"]
        assert first["base"] + sum(first["contributions"].values()) == pytest.approx(together[0], rel=1e-12)
    finally:
        service.stop()
