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
from tasks.bundles.bundle import Bundle
from tasks.bundles.judged_rows import read_judged
from tasks.bundles.row_frames import jsonable
from tasks.stores.desired_state import Served
from tests.conftest import needs_torch
from tests.integration.test_service import Running
from tests.unit.test_adopted import foreign
from tests.unit.test_adopted_onnx import line
from tests.unit.test_text_backbone import use_case
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
    assert read_judged(bundle.folder, bundle.manifest) is None  # it may have learnt from these very rows

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


def of_scikit_learn(matrix: np.ndarray, label: np.ndarray) -> tuple[bytes, np.ndarray]:
    """Return trees behind a scaler, and what they say of the newest rows."""
    import skops.io
    from sklearn.ensemble import GradientBoostingRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), GradientBoostingRegressor(n_estimators=10, random_state=0))
    return skops.io.dumps(model.fit(matrix, label)), model.predict(matrix[-10:])


@pytest.mark.process
@pytest.mark.slow
@needs_torch
def test_a_graph_scikit_learn_and_a_text_network_are_served_beside_each_other(
    make_use_case: Callable[..., Path], tmp_path: Path
) -> None:
    plain = load_use_case(str(make_use_case("plain")))
    collected = rows(plain, "2011-03-01")
    names = ["temp", "hum", "windspeed"]
    matrix = collected.select(names).cast(dict.fromkeys(names, pl.Float64)).to_numpy()
    models = {
        "model.onnx": (line(), matrix[-10:] @ np.array([1.0, -2.0, 0.3])),
        "model.skops": of_scikit_learn(matrix, collected[plain.spec.label.column].to_numpy()),
    }
    made = dict[str, tuple[Bundle, pl.DataFrame, np.ndarray]]()
    for file, (content, expected) in models.items():
        name = file.partition(".")[2]
        first = {"family": "adopted", "file": file}
        gates = [{"metric": "rmse", "max": 1000}]
        folder = make_use_case(name, {"features": [{"numeric": names}], "model.first": first, "gates": gates})
        (folder / file).write_bytes(content)
        usecase = load_use_case(str(folder))
        frame = rows(usecase, "2011-03-01")
        made[name] = (released(usecase, frame, tmp_path / f"{name}-bundle")[0], frame.tail(10), expected)
    text = {"family": "torch.text", "backbone": "tasks.modelling:smallest_encoder", "text": "t", "epochs": 4}
    features = [{"tokens": ["t"], "tokenizer": "tasks.preprocessing:smallest_tokenizer.json", "at_most": 6}]
    gates = [{"metric": "roc_auc", "min": 0.0}]
    usecase = load_use_case(
        str(use_case(tmp_path / "mail", features=features, gates=gates, model={"candidates": [text]}))
    )
    mails = rows(usecase, "2024-01-31")
    bundle = released(usecase, mails, tmp_path / "mail-bundle")[0]
    asked = mails.tail(10)
    made["mail"] = (bundle, asked, bundle.predict(asked))

    service = Running(tmp_path)
    for name, (bundle, _, _) in made.items():
        service.releases.add(name, bundle.folder, bundle.digest)
        service.releases.set_desired(name, champion=Served(bundle=bundle.digest, version="1"))
    service.start()
    try:
        for name, (bundle, newest, expected) in made.items():
            asked = jsonable(newest.select([column.name for column in bundle.manifest.columns]))
            answer = httpx.post(f"{service.url}/{name}/invocations", json={"dataframe_records": asked}).json()
            np.testing.assert_allclose(answer["predictions"], expected, rtol=1e-6, err_msg=name)
            explained = httpx.post(f"{service.url}/{name}/explain", json={"dataframe_records": asked[:1]}).json()
            (first,) = explained["explanations"]
            total = first["base"] + sum(first["contributions"].values())
            total = 1 / (1 + np.exp(-total)) if name == "mail" else total  # its head is explained in log-odds
            assert total == pytest.approx(answer["predictions"][0], rel=1e-5), name
    finally:
        service.stop()
