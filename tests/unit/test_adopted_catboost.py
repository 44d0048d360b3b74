"""CatBoost's JSON is answered with as CatBoost does, and is refused where it is not of symmetric trees of numbers."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expectations.errors import TrainingError
from tasks.modelling.adopted import predictor_of
from tasks.modelling.model_files import read_model

RECORDS = Path(__file__).parents[1] / "records" / "catboost"


def held(name: str) -> tuple[bytes, np.ndarray, np.ndarray]:
    """Return a file that CatBoost 1.2.10 wrote, rows, and what it says of them; see make.py beside them."""
    said = json.loads((RECORDS / f"{name}-said.json").read_text())
    answers = np.array(said["said"])
    return (
        (RECORDS / f"{name}.json").read_bytes(),
        np.array(said["rows"]),
        answers[:, 1] if name == "binary" else answers,
    )


@pytest.mark.parametrize(
    ("name", "task", "classes"),
    [
        ("binary", "binary_classification", ("early", "late")),
        ("multiclass", "multiclass_classification", ("high", "low", "middle")),
        ("regression", "regression", ()),
    ],
)
def test_it_is_answered_with_as_catboost_does(name: str, task: str, classes: tuple[str, ...]) -> None:
    content, rows, theirs = held(name)
    model = read_model(content, "m.json")
    assert (model.kind, model.tasks, model.classes, model.width) == ("catboost", (task,), classes, 3)
    assert model.features == ()
    predictor = predictor_of(model.kind, model.served, np.zeros(3))
    np.testing.assert_allclose(predictor.predict(rows), theirs, rtol=1e-12, atol=1e-15)
    alone = [predictor.predict_row(row) for row in rows.tolist()]
    np.testing.assert_array_equal(alone, predictor.predict(rows))


def changed(change: Callable[[Any], Any], name: str = "regression") -> bytes:
    said = copy.deepcopy(json.loads(held(name)[0]))
    change(said)
    return json.dumps(said).encode()


def test_its_features_have_names_where_it_was_trained_on_named_columns() -> None:
    def named(said: Any) -> None:
        for each, name in zip(said["features_info"]["float_features"], ("x", "y y", "n"), strict=True):
            each["feature_id"] = name

    assert read_model(changed(named), "m.json").features == ("x", "y y", "n")


def test_scale_and_bias_and_a_tree_without_splits_count() -> None:
    def scaled(said: Any) -> None:
        said["oblivious_trees"].append({"splits": [], "leaf_values": [3.0], "leaf_weights": [5]})
        said["scale_and_bias"] = [2, [said["scale_and_bias"][1][0] + 1]]

    _, rows, theirs = held("regression")
    bias = json.loads(held("regression")[0])["scale_and_bias"][1][0]
    found = predictor_of("catboost", read_model(changed(scaled), "m.json").served, np.zeros(3))
    np.testing.assert_allclose(found.predict(rows), 2 * (theirs - bias + 3) + bias + 1, rtol=1e-12)


def under(*path: Any, value: Any) -> Callable[[Any], None]:
    def change(said: Any) -> None:
        for key in path[:-1]:
            said = said[key]
        said[path[-1]] = value

    return change


TREE = ("oblivious_trees", 0)
LOSS = ("model_info", "params", "loss_function", "type")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (under("features_info", "categorical_features", value=[{}]), "categorical_features"),
        (under("features_info", "ctrs", value=[{}]), "ctrs"),
        (under("features_info", "text_features", value=[{}]), "text_features"),
        (lambda said: said.update(trees=[said.pop("oblivious_trees")]), "SymmetricTree"),
        (under(*LOSS, value="MultiClassOneVsAll"), "MultiClassOneVsAll"),
        (under(*LOSS, value="Poisson"), "Poisson"),
        (under(*LOSS, value="MultiClass"), "1 scores"),
        (under("scale_and_bias", value=[1, [0, 0]]), "2 scores"),
        (under("scale_and_bias", value=[float("nan"), [0]]), "no numbers"),
        (under(*TREE, "splits", 0, "split_type", value="OneHotFeature"), "OneHotFeature"),
        (under(*TREE, "splits", 0, "float_feature_index", value=3), "feature 3 of 3"),
        (under(*TREE, "splits", 0, "float_feature_index", value=-1), "a split of feature"),
        (under(*TREE, "splits", 0, "border", value=float("inf")), "borders that are no numbers"),
        (under(*TREE, "splits", value=[{}] * 17), "17 splits"),
        (under(*TREE, "leaf_values", value=[1.0]), "reshape"),
        (under(*TREE, "leaf_values", 0, value=None), "no numbers"),
        (under(*TREE, "leaf_weights", 0, value=-1), "weights"),
        (under("features_info", "float_features", value=[]), "0 features"),
        (under("features_info", "float_features", 0, "nan_value_treatment", value="Other"), "Other"),
        (under("features_info", value=[]), "a model as CatBoost writes it"),
    ],
)
def test_what_is_not_taken_is_said(change: Callable[[Any], Any], said: str) -> None:
    with pytest.raises(TrainingError) as raised:
        read_model(changed(change), "m.json")
    assert said in str(raised.value)


def test_the_binary_form_and_half_a_file_are_refused() -> None:
    with pytest.raises(TrainingError, match="format='json'"):
        read_model(b"CBM1\x00\x00", "m.cbm")
    with pytest.raises(TrainingError, match="a model as CatBoost writes it"):
        read_model(held("binary")[0][:5000], "m.json")
