"""Of a folder of MLflow the model's own file is taken, as its description says, and nothing outside of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from expectations.errors import TrainingError
from tasks.modelling.mlflow_folders import MAX_BYTES, find_model

COLUMNS = [{"type": "double", "name": name, "required": True} for name in ("x", "y y")]
TENSOR = [{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 2]}}]
BOOSTER = {"data": "model.lgb", "model_class": "lightgbm.basic.Booster", "serialization_format": "skops"}


def folder(at: Path, flavors: Any, inputs: Any = COLUMNS, content: bytes = b"tree\n") -> Path:
    """Return a folder as MLflow 3.17.2 writes it."""
    whole = at / "saved"
    whole.mkdir()
    (whole / "model.lgb").write_bytes(content)
    signature = {"inputs": json.dumps(inputs), "outputs": None, "params": None}
    said = {"flavors": flavors, "mlflow_version": "3.17.2", "signature": signature}
    (whole / "MLmodel").write_text(yaml.safe_dump(said))
    return whole


@pytest.mark.parametrize(
    ("inputs", "names"),
    [(COLUMNS, ("x", "y y")), (TENSOR, ()), ([{"type": "double"}], ()), (None, ()), ("x", ())],
)
def test_only_columns_have_names(inputs: Any, names: tuple[str, ...], tmp_path: Path) -> None:
    found = find_model(folder(tmp_path, {"python_function": {}, "lightgbm": BOOSTER}, inputs))
    assert found.path == (tmp_path / "saved" / "model.lgb").resolve()
    assert (found.name, found.features) == ("saved/model.lgb", names)


@pytest.mark.parametrize("place", ["/etc/passwd", "../outside", "deep/../model.lgb", "link", "..\\outside"])
def test_a_path_that_leads_out_of_it_is_not_followed(place: str, tmp_path: Path) -> None:
    whole = folder(tmp_path, {"lightgbm": BOOSTER | {"data": place}})
    (tmp_path / "outside").write_bytes(b"tree\n")
    (whole / "link").symlink_to(tmp_path / "outside")
    (whole / "deep").mkdir()
    with pytest.raises(TrainingError, match="a path that stays in the folder"):
        find_model(whole)


def test_a_description_that_is_a_link_out_of_it_is_not_read(tmp_path: Path) -> None:
    whole = folder(tmp_path, {"lightgbm": BOOSTER})
    (whole / "MLmodel").rename(tmp_path / "elsewhere")
    (whole / "MLmodel").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(TrainingError, match="a path that stays in the folder"):
        find_model(whole)


@pytest.mark.parametrize(
    ("flavors", "said"),
    [
        ({"sklearn": {"pickled_model": "model.pkl", "serialization_format": "cloudpickle"}}, "format='skops'"),
        ({"sklearn": {"pickled_model": "model.lgb", "serialization_format": "pickle"}}, "whatever it holds"),
        ({"xgboost": {"data": "model.pkl"}}, "whatever it holds"),
        ({"lightgbm": BOOSTER | {"model_class": "lightgbm.sklearn.LGBMClassifier"}}, "model.booster_"),
        ({"lightgbm": {"data": ["model.lgb"]}}, "a path under lightgbm.data"),
        ({"lightgbm": {"data": "gone.lgb"}}, "the file gone.lgb"),
        ({"pytorch": {"model_data": "data"}, "python_function": {}}, "pytorch"),
        ({"python_function": {"python_model": "python_model.pkl"}}, "code in a pickle"),
        ({}, "flavors of a model"),
        (["lightgbm"], "flavors of a model"),
    ],
)
def test_what_is_not_taken_is_said(flavors: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(TrainingError) as raised:
        find_model(folder(tmp_path, flavors))
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "YAML"),
        ("!!python/object/apply:os.system [id]", "YAML"),
        ("- a", "a mapping"),
        ("[" * 3_000, "YAML"),
        ("a" * (MAX_BYTES + 1), "at most 1 MiB"),
    ],
)
def test_a_description_that_is_none_is_refused(text: str, said: str, tmp_path: Path) -> None:
    (folder(tmp_path, {}) / "MLmodel").write_text(text)
    with pytest.raises(TrainingError, match=said):
        find_model(tmp_path / "saved")
