"""Model files whose trees are none are refused by name, before a library ends the process on them or never ends."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from expectations.errors import TrainingError
from tasks.modelling.adopted import predictor_of, proved
from tasks.modelling.model_files import read_model
from tests.unit.test_adopted import OBJECTIVES, lightgbm_text, table


def with_line(text: str, key: str, at: int, value: str) -> bytes:
    """Change one of the values of a line of the first tree, and the tree's size in the head."""
    found = re.search(rf"^{key}=(.*)$", text, re.MULTILINE)
    assert found is not None
    values = found[1].split(" ")
    values[at : at + 1] = value.split(" ") if value else []
    changed = text[: found.start(1)] + " ".join(values) + text[found.end(1) :]
    size = re.search(r"^tree_sizes=(\d+)", changed, re.MULTILINE)
    assert size is not None
    grown = int(size[1]) + len(changed) - len(text)
    return (changed[: size.start(1)] + str(grown) + changed[size.end(1) :]).encode()


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("left_child", "0", "a node that lies below itself"),
        ("left_child", "99", "a child that is not there"),
        ("right_child", "-99", "a child that is not there"),
        ("split_feature", "3", "splits a feature that it has not"),
        ("split_feature", "-1", "splits a feature that it has not"),
        ("threshold", "x", "could not convert string to float: 'x'"),
        ("threshold", "1_0", "no numbers: '1_0"),
        ("decision_type", "1", "splits by categories, of which it names none"),
        ("left_child", "", "values of left_child for"),
        ("leaf_count", "", "values of leaf_count for"),
        ("num_leaves", "80000", "not as many leaves as the 80000"),
        ("num_cat", "5", "cat_boundaries"),
    ],
)
def test_trees_of_lightgbm_that_are_none_are_refused(key: str, value: str, said: str) -> None:
    content, _ = lightgbm_text(table())
    with pytest.raises(TrainingError, match=f"trees as LightGBM writes them.*tree 0: .*{said}"):
        read_model(with_line(content.decode(), key, 0, value), "model.txt")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("num_class=3", "num_class=0"),
        ("num_class=3", "num_class=99999999"),
        ("num_tree_per_iteration=3", "num_tree_per_iteration=9"),
        ("multiclass num_class:3", "multiclass num_class:9"),
    ],
)
def test_a_head_that_names_other_numbers_of_classes_is_refused(before: str, after: str) -> None:
    content, _ = lightgbm_text(table("multiclass_classification"))
    assert before in content.decode()
    with pytest.raises(TrainingError, match=r"num_class .* of all lines of its head"):
        read_model(content.decode().replace(before, after, 1).encode(), "model.txt")


@pytest.mark.parametrize("objective", ["multiclassova", "cross_entropy"])
def test_objectives_that_answer_no_probabilities_of_classes_are_refused(objective: str) -> None:
    content, _ = lightgbm_text(table("multiclass_classification"))
    with pytest.raises(TrainingError, match=f"an objective among binary, multiclass, .*found {objective}"):
        read_model(content.replace(b"objective=multiclass", f"objective={objective}".encode(), 1), "model.txt")


@pytest.mark.parametrize(
    "settings", [{"zero_as_missing": True}, {"use_missing": False}, {"boosting": "dart"}, {"min_data_in_leaf": 500}]
)
def test_all_kinds_of_lightgbms_trees_are_read(settings: dict[str, object]) -> None:
    content, _ = lightgbm_text(table("regression"), **settings)
    assert read_model(content, "model.txt").width == 3


def test_leaves_that_nothing_explains_are_refused() -> None:
    content, _ = lightgbm_text(table("regression"), linear_tree=True)
    with pytest.raises(TrainingError, match="train it without linear_tree"):
        read_model(content, "model.txt")


def test_trees_of_lightgbm_that_split_codes_of_categories_are_read_and_their_sets_held_together() -> None:
    import lightgbm

    random = np.random.default_rng(5)
    matrix = np.column_stack([random.integers(0, 9, 400), random.normal(size=400)])
    data = lightgbm.Dataset(matrix, (matrix[:, 0] % 3 == 1) + 0.1 * matrix[:, 1], categorical_feature=[0])
    text = lightgbm.train({"verbosity": -1, "num_threads": 1}, data, 3).model_to_string()
    assert read_model(text.encode(), "model.txt").width == 2
    with pytest.raises(TrainingError, match="sets of categories that are not there"):
        read_model(with_line(text, "cat_boundaries", 1, "77"), "model.txt")


@pytest.fixture(scope="module")
def trees_of_xgboost() -> bytes:
    xgboost = pytest.importorskip("xgboost")
    known = table()
    data = xgboost.DMatrix(known.matrix, label=known.label)
    return bytes(xgboost.train({"objective": "binary:logistic", "nthread": 1}, data, 3).save_raw("json"))


def put(key: str, value: object) -> Callable[[dict[str, Any]], None]:
    def change(learner: dict[str, Any]) -> None:
        learner["gradient_booster"]["model"]["trees"][0][key][0] = value

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (put("left_children", 0), "a node that lies below itself"),
        (put("left_children", 9999), "a child that is not there"),
        (put("right_children", -5), "a child that is not there"),
        (put("split_indices", 99), "splits a feature that it has not"),
        (put("split_conditions", None), "TypeError"),
        (lambda it: it["gradient_booster"]["model"]["trees"][0]["split_conditions"].pop(), "not as many values"),
        (lambda it: it["gradient_booster"]["model"]["trees"][0].pop("split_type"), "split_type"),
        (lambda it: it["gradient_booster"]["model"]["tree_info"].pop(), "trees of other outputs than its 1"),
        (put("left_children", 2**70), "OverflowError"),
        (lambda it: it.update(attributes=[]), "AttributeError"),
        (lambda it: it.update(attributes={"best_iteration": "x"}), "'x'"),
        (lambda it: it["learner_model_param"].update(base_score="[1E999]"), "base_score .inf. for 1 outputs"),
    ],
)
def test_trees_of_xgboost_that_are_none_are_refused(
    change: Callable[[dict[str, Any]], None], said: str, trees_of_xgboost: bytes
) -> None:
    model = json.loads(trees_of_xgboost)
    change(model["learner"])
    with pytest.raises(TrainingError, match=f"a model as XGBoost writes it.*{said}"):
        read_model(json.dumps(model, separators=(",", ":")).encode(), "model.json")


def test_numbers_beyond_32_bits_are_answered_as_xgboost_does(trees_of_xgboost: bytes) -> None:
    model = read_model(trees_of_xgboost, "model.json")
    rows = np.array([[1e300, 0.0, -1e300]])
    predictor = predictor_of(model.kind, model.content, np.zeros(3))
    assert (proved(model, predictor, rows, model.tasks[0]).distance or 0) < 1e-6


def test_what_xgboost_itself_refuses_is_said(trees_of_xgboost: bytes) -> None:
    content = json.loads(trees_of_xgboost)
    content["learner"]["feature_names"] = [1, 2, 3]
    model = read_model(json.dumps(content, separators=(",", ":")).encode(), "model.json")
    predictor = predictor_of(model.kind, model.content, np.zeros(3))
    with pytest.raises(TrainingError, match=r"a model that XGBoost itself loads.*Integer to String"):
        proved(model, predictor, np.zeros((2, 3)), model.tasks[0])


def test_json_nested_without_end_is_refused() -> None:
    with pytest.raises(TrainingError, match="RecursionError"):
        read_model(b'{"learner":' + b"[" * 200_000, "model.json")


def test_leaves_of_several_numbers_are_refused_also_where_xgboost_is_not_there_to_prove_it() -> None:
    xgboost = pytest.importorskip("xgboost")
    known = table("multiclass_classification")
    settings = {**OBJECTIVES[known.task][1], "multi_strategy": "multi_output_tree", "nthread": 1}
    booster = xgboost.train(settings, xgboost.DMatrix(known.matrix, label=known.label), 2)
    with pytest.raises(TrainingError, match="several numbers in each leaf"):
        read_model(bytes(booster.save_raw("json")), "model.json")
