"""A network of the use case's own is declared in YAML, learns once its folder is trusted, and answers as it learnt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from expectations.loading import load_use_case
from tasks.bundles.row_frames import jsonable
from tasks.stores.desired_state import Served
from tests.conftest import needs_torch
from tests.integration.test_service import Running
from tests.unit.test_own_network import CANDIDATE, write
from tests.unit.test_training import released, rows


@pytest.mark.process
@needs_torch
def test_a_network_of_its_own_is_served(make_use_case: Callable[..., Path], tmp_path: Path) -> None:
    found = load_use_case(str(write(make_use_case(changes={"model.candidates": [CANDIDATE]}))))
    assert found.code is not None
    usecase = found.having(replace(found.code, trusted=True))
    collected = rows(usecase, "2011-03-01")
    bundle, judged, _ = released(usecase, collected, tmp_path / "bundle")
    assert judged.trained is not None
    assert bundle.manifest.family == "torch.module"

    service = Running(tmp_path)
    service.releases.add("rentals", bundle.folder, bundle.digest)
    service.releases.set_desired("rentals", champion=Served(bundle=bundle.digest, version="1"))
    service.start()
    try:
        asked = jsonable(collected.select([column.name for column in bundle.manifest.columns]).tail(30))
        url = f"{service.url}/rentals/invocations"
        together = httpx.post(url, json={"dataframe_records": asked}).json()["predictions"]
        alone = [httpx.post(url, json={"dataframe_records": [row]}).json()["predictions"][0] for row in asked]
        assert together == pytest.approx(bundle.predict(collected.tail(30)).tolist(), rel=1e-6)
        assert alone == pytest.approx(together, rel=1e-5)
        explained = httpx.post(f"{service.url}/rentals/explain", json={"dataframe_records": asked[:1]}).json()
        (first,) = explained["explanations"]
        assert first["base"] + sum(first["contributions"].values()) == pytest.approx(together[0], rel=1e-4)
    finally:
        service.stop()
