"""An ONNX graph as others export it says here what a plain session of it says, and a hostile one is refused first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from expectations.errors import TrainingError
from tasks.modelling.adopted import Adopted
from tasks.modelling.model_files import read_model
from tests.unit.test_adopted import NAMES, adopted, fitted, table

ML = "ai.onnx.ml"
ROWS_BY_3 = [None, 3]


def graph(
    nodes: Sequence[onnx.NodeProto],
    outputs: Sequence[onnx.ValueInfoProto],
    inputs: Sequence[onnx.ValueInfoProto] = (helper.make_tensor_value_info("X", TensorProto.FLOAT, ROWS_BY_3),),
    weights: Sequence[onnx.TensorProto] = (),
    **more: Any,
) -> bytes:
    made = helper.make_graph(nodes, "g", inputs, outputs, initializer=weights)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(ML, 3)]
    return helper.make_model(made, opset_imports=opsets, ir_version=9, **more).SerializeToString()


def classifier(classes: Sequence[str | int], *, zipmap: bool, label: bool = True) -> bytes:
    """Return a logistic regression as sklearn-onnx writes it."""
    words = isinstance(classes[0], str)
    labels = {"classlabels_strings" if words else "classlabels_ints": list(classes)}
    weights = np.linspace(-2, 2, 3 * len(classes)).tolist()
    nodes = [
        helper.make_node(
            "LinearClassifier",
            ["X"],
            ["label", "probabilities"],
            domain=ML,
            coefficients=weights,
            intercepts=[0.1] * len(classes),
            multi_class=0,
            post_transform="SOFTMAX",
            **labels,
        )
    ]
    kind = TensorProto.STRING if words else TensorProto.INT64
    outputs = [helper.make_tensor_value_info("label", kind, [None])] if label else []
    if zipmap:
        keys = {"classlabels_strings" if words else "classlabels_int64s": list(classes)}
        nodes.append(helper.make_node("ZipMap", ["probabilities"], ["mapped"], domain=ML, **keys))
        mapped = helper.make_map_type_proto(kind, helper.make_tensor_type_proto(TensorProto.FLOAT, None))
        outputs.append(helper.make_value_info("mapped", helper.make_sequence_type_proto(mapped)))
    else:
        outputs.append(helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, len(classes)]))
    return graph(nodes, outputs)


def line(last: str = "Identity", **changes: Any) -> bytes:
    """Return three weights and what comes of their sum, as torch writes a network of one layer."""
    weight = helper.make_tensor("w", TensorProto.FLOAT, [3, 1], [1.0, -2.0, 0.3])
    nodes = [helper.make_node("MatMul", ["X", "w"], ["s"]), helper.make_node(last, ["s"], ["y"])]
    return graph(
        nodes, [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])], **({"weights": [weight]} | changes)
    )


def stump(**changes: Any) -> bytes:
    """Return a tree of one split, as onnxmltools writes it."""
    said: dict[str, Any] = {
        "nodes_treeids": [0, 0, 0],
        "nodes_nodeids": [0, 1, 2],
        "nodes_featureids": [1, 0, 0],
        "nodes_truenodeids": [1, 0, 0],
        "nodes_falsenodeids": [2, 0, 0],
        "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF"],
        "nodes_values": [0.5, 0.0, 0.0],
        "target_treeids": [0, 0],
        "target_nodeids": [1, 2],
        "target_ids": [0, 0],
        "target_weights": [-1.0, 2.0],
        "n_targets": 1,
    }
    node = helper.make_node("TreeEnsembleRegressor", ["X"], ["y"], domain=ML, **(said | changes))
    return graph([node], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])])


def test_trees_of_one_class_or_of_classes_twice_are_refused() -> None:
    model = onnx.load_model_from_string(stump())
    (node,) = model.graph.node
    node.op_type = "TreeEnsembleClassifier"
    for said in list(node.attribute):
        said.name = said.name.replace("target_", "class_")
        if said.name == "n_targets":
            node.attribute.remove(said)
    node.output[:] = ["label", "y"]
    model.graph.output.insert(0, helper.make_tensor_value_info("label", TensorProto.STRING, [None]))
    for labels in ({"classlabels_strings": ["a"]}, {"classlabels_strings": ["a"], "classlabels_int64s": [0, 1]}):
        changed = onnx.ModelProto()
        changed.CopyFrom(model)
        changed.graph.node[0].attribute.extend(helper.make_attribute(*each) for each in labels.items())
        with pytest.raises(TrainingError, match="not two classes or more of one kind"):
            read_model(changed.SerializeToString(), "model.onnx")


def known(task: str) -> Any:
    """Return rows without missing values, which these graphs do not fill in."""
    rows = table(task)
    return replace(rows, matrix=np.nan_to_num(rows.matrix))


def plain(content: bytes, matrix: np.ndarray) -> list[Any]:
    return onnxruntime.InferenceSession(content).run(None, {"X": matrix.astype(np.float32)})


@pytest.mark.parametrize("zipmap", [False, True])
@pytest.mark.parametrize(("task", "classes"), [("binary_classification", (0, 1)), ("multiclass_classification", "abc")])
def test_classes_are_answered_as_a_plain_session_does(
    task: str, classes: Sequence[Any], zipmap: bool, tmp_path: Path
) -> None:
    rows, content = known(task), classifier(list(classes), zipmap=zipmap)
    model = fitted(adopted(tmp_path, content, "model.onnx"), rows, tmp_path)
    _, theirs = plain(content, rows.matrix)
    if zipmap:
        theirs = np.array([[row[each] for each in classes] for row in theirs])
    expected = theirs[:, 1] if len(classes) == 2 else theirs
    np.testing.assert_allclose(model.predict(rows.matrix), expected, rtol=0, atol=1e-6)
    assert str(model.proof).startswith("says what ONNX Runtime says of 400 rows, ")
    (tmp_path / "saved").mkdir()
    model.save(tmp_path / "saved")
    loaded = Adopted.load(tmp_path / "saved")
    np.testing.assert_array_equal(loaded.predict(rows.matrix), model.predict(rows.matrix))
    assert loaded.predict(rows.matrix[:0]).shape == (0, *expected.shape[1:])


def test_one_score_is_an_amount_or_a_probability_as_the_target_is(tmp_path: Path) -> None:
    amounts, halves = known("regression"), known("binary_classification")
    signal = amounts.matrix @ np.array([1.0, -2.0, 0.3])
    model = fitted(adopted(tmp_path, line(), "model.onnx"), amounts, tmp_path)
    np.testing.assert_allclose(model.predict(amounts.matrix), signal, atol=1e-5)
    parts = Adopted.load(saved(model, tmp_path)).contributions(amounts.matrix[:1])
    assert parts.sum() == pytest.approx(signal[0], abs=1e-5)
    sure = fitted(adopted(tmp_path, line("Sigmoid"), "sure.onnx"), halves, tmp_path)
    np.testing.assert_allclose(sure.predict(halves.matrix), 1 / (1 + np.exp(-signal)), atol=1e-6)
    with pytest.raises(TrainingError, match=r"predictions of a binary_classification"):
        fitted(adopted(tmp_path, line(), "log-odds.onnx"), halves, tmp_path)


def saved(model: Any, folder: Path) -> Path:
    (folder / "bundle").mkdir()
    model.save(folder / "bundle")
    return folder / "bundle"


def test_an_input_for_each_column_names_the_features(tmp_path: Path) -> None:
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in NAMES]
    nodes = [helper.make_node("Concat", list(NAMES), ["X"], axis=1), helper.make_node("ReduceSum", ["X", "on"], ["y"])]
    axes = helper.make_tensor("on", TensorProto.INT64, [1], [1])
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])
    content = graph(nodes, [output], inputs, [axes])
    assert read_model(content, "model.onnx").features == NAMES
    rows = known("regression")
    model = fitted(adopted(tmp_path, content, "model.onnx"), rows, tmp_path)
    np.testing.assert_allclose(model.predict(rows.matrix), rows.matrix.sum(axis=1), atol=1e-5)
    with pytest.raises(TrainingError, match="in its order: x, y z, n"):
        fitted(adopted(tmp_path, content, "model.onnx"), replace(rows, features=("n", "x", "y z")), tmp_path)


def test_trees_answer(tmp_path: Path) -> None:
    rows = known("regression")
    model = fitted(adopted(tmp_path, stump(), "model.onnx"), rows, tmp_path)
    np.testing.assert_array_equal(model.predict(rows.matrix), np.where(rows.matrix[:, 1] <= 0.5, -1.0, 2.0))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"nodes_truenodeids": [0, 0, 0]}, "tree 0: a node that lies below itself"),
        ({"nodes_falsenodeids": [7, 0, 0]}, "tree 0: a child that is not there"),
        ({"nodes_featureids": [3, 0, 0]}, "splits a feature that it has not"),
        ({"nodes_nodeids": [0, 1, 1]}, "two nodes of one number"),
        ({"nodes_treeids": [0, 1, 0]}, "a tree in several pieces"),
        ({"nodes_treeids": [0, 0]}, "not as many values for each node"),
        ({"target_ids": [0, 9]}, "leaves of other outputs than its 1"),
        ({"target_nodeids": [1, 8]}, "leaves that are not there"),
        ({"target_weights": [1.0]}, "not as many values for each leaf"),
    ],
)
def test_trees_that_are_none_are_refused_before_they_run(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(TrainingError, match=said):
        read_model(stump(**changes), "model.onnx")


def outside() -> onnx.TensorProto:
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[3, 1], data_location=TensorProto.EXTERNAL)
    weight.external_data.add(key="location", value="/etc/hostname")
    return weight


def endless() -> bytes:
    yes = helper.make_tensor_value_info("c", TensorProto.BOOL, [])
    kept = helper.make_tensor_value_info("s", TensorProto.FLOAT, [None, 1])
    nodes = [helper.make_node("Identity", ["go"], ["c"]), helper.make_node("Identity", ["v"], ["s"])]
    at = helper.make_tensor_value_info("i", TensorProto.INT64, [])
    go = helper.make_tensor_value_info("go", TensorProto.BOOL, [])
    body = helper.make_graph(nodes, "body", [at, go, helper.make_tensor_value_info("v", 1, [None, 1])], [yes, kept])
    loop = helper.make_node("Loop", ["", "", "X"], ["y"], body=body)
    return graph([loop], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])])


def one(node: onnx.NodeProto) -> bytes:
    return graph([node], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])])


def wide(*shape: int | None, kind: int = TensorProto.FLOAT) -> bytes:
    return line(inputs=[helper.make_tensor_value_info("X", kind, list(shape))])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (line(weights=[outside()]), "weights in another file, which is not read"),
        (endless(), "Loop, which runs a graph of its own"),
        (one(helper.make_node("Anything", ["X"], ["y"], domain="com.acme")), "Anything of com.acme"),
        (one(helper.make_node("RandomNormalLike", ["X"], ["y"])), "RandomNormalLike, which answers by chance"),
        (wide(1, 3), r"X: float \[1, 3\]"),
        (wide(None, None), "one input of numbers"),
        (wide(None, 10**12), "at most 1,048,576 features.*found 1,000,000,000,000"),
        (wide(None, 3, kind=TensorProto.INT64), r"X: int64 \[free, 3\]"),
        (graph([helper.make_node("ArgMax", ["X"], ["y"])], [helper.make_tensor_value_info("y", 7, None)]), "int64"),
        (one(helper.make_node("ReduceSum", ["X"], ["y"])), "scores of 3 rows for|Got 1|scores"),
        (b"\x08\x0a\x12\xff\xff", "an ONNX graph"),
        (line()[:-30], "an ONNX graph|a graph that ONNX Runtime runs"),
    ],
)
def test_what_could_do_harm_or_cannot_be_answered_with_is_refused(content: bytes, said: str) -> None:
    with pytest.raises(TrainingError, match=said):
        read_model(content, "model.onnx")


def test_rows_that_it_has_no_number_for_and_a_row_that_depends_on_others_are_said(tmp_path: Path) -> None:
    rows = table("regression")
    with pytest.raises(TrainingError, match=r"none for \d+ of 400, \d+ of them with missing values"):
        fitted(adopted(tmp_path, line(), "model.onnx"), rows, tmp_path)
    together = line("Softmax", weights=[helper.make_tensor("w", TensorProto.FLOAT, [3, 1], [1.0, 2.0, 3.0])])
    model = onnx.load_model_from_string(together)
    model.graph.node[1].attribute.append(helper.make_attribute("axis", 0))
    with pytest.raises(TrainingError, match="the same of a row alone as among others"):
        fitted(adopted(tmp_path, model.SerializeToString(), "model.onnx"), known("regression"), tmp_path)


def test_named_classes_are_those_of_the_label_in_their_order(tmp_path: Path) -> None:
    content = classifier(["b", "a", "c"], zipmap=False)
    with pytest.raises(TrainingError, match=r"as the label has: a, b, c; found one of 3: b, a, c"):
        fitted(adopted(tmp_path, content, "model.onnx"), known("multiclass_classification"), tmp_path)
    two = replace(known("binary_classification"), classes=("yes", "no"))
    with pytest.raises(TrainingError, match="Let `positive` be yes"):
        fitted(adopted(tmp_path, classifier(["no", "yes"], zipmap=True), "model.onnx"), two, tmp_path)
