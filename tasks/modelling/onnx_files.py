"""ONNX files that others exported: what could read elsewhere, run without end or answer at random is refused first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from expectations.wording import one_line
from tasks.modelling.model_kinds import MAX_WIDTH, refused
from tasks.modelling.onnx_failures import onnx_failures
from tasks.modelling.onnx_scores import feeds, scores_output, table_of_scores
from tasks.modelling.onnx_session import session_of
from tasks.modelling.onnx_trees import ENSEMBLES, wrong_of_ensemble

if TYPE_CHECKING:
    from onnx import ModelProto, ValueInfoProto

MAX_BYTES = 256 << 20
_MAX_NODES = 20_000
_DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
_NUMBERS = {1, 11}
"""Float and double, as ONNX numbers types of tensors."""
_RANDOM = (
    *("Bernoulli", "Dropout", "Multinomial", "RandomNormal", "RandomNormalLike"),
    *("RandomUniform", "RandomUniformLike"),
)
_EXPORT = "Export it once more, as one file, with a free number of rows: see docs/adopting.md"


class Graph(NamedTuple):
    """What a graph takes and answers with.

    Attributes
    ----------
    features : tuple of str
        Their names, where each is an input of its own; else empty.
    width : int
        How many features there are.
    scores : int
        Of each row.
    labelled : bool
        Whether it answers with a class, too.
    classes : tuple of str
        Their names in the order of the scores; empty where they are but places, or it says none.
    """

    features: tuple[str, ...]
    width: int
    scores: int
    labelled: bool
    classes: tuple[str, ...]


def describe_graph(content: bytes, name: str) -> Graph:
    """Return what an ONNX file takes and answers with.

    Raises
    ------
    TrainingError
        If it is damaged, too large, names other files, holds operators of others, control flow or chance, takes other
        than numbers or answers with other than one score for each row, or each class of it.
    """
    if len(content) > MAX_BYTES:
        raise refused(name, f"at most {MAX_BYTES >> 20} MiB", f"{len(content) >> 20} MiB", "Adopt a smaller model")
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model_from_string(content)
    except DecodeError as error:
        raise refused(name, "an ONNX graph", one_line(error), _EXPORT) from error
    _refuse_hostile(model, name)
    features, width = _features_of(model, name)
    _refuse_wrong_trees(model, width, name)
    try:
        session = session_of(content)
        output, labelled = scores_output(session)
        probe = np.zeros((3, width))
        scores = table_of_scores(session.run([output], feeds(session, probe))[0])
    except ValueError as error:
        raise refused(
            name, "one output of scores, alone or beside one label", f"{error}", "Export a classifier or regressor"
        ) from error
    except onnx_failures() as error:
        raise refused(name, "a graph that ONNX Runtime runs", one_line(error), _EXPORT) from error
    if len(scores) != len(probe):
        raise refused(name, f"scores of {len(probe)} rows for {len(probe)}", f"{len(scores)}", _EXPORT)
    count = scores.shape[1]
    return Graph(features, width, count, labelled, _classes(model, count))


def _classes(model: ModelProto, count: int) -> tuple[str, ...]:
    """Return the names of classes that the graph's own labels are; none where they are but places, or not said."""
    for node in model.graph.node:
        for said in node.attribute:
            if said.name.startswith("classlabels_"):
                names = [each.decode("utf-8", "replace") for each in said.strings] or [str(each) for each in said.ints]
                ascending = sorted(names) if said.strings else [str(each) for each in sorted(said.ints)]
                if len(names) == count and names != [str(at) for at in range(count)]:
                    # ZipMap's are read in ascending order
                    return tuple(ascending if _by_class(model) else names)
    return ()


def _by_class(model: ModelProto) -> bool:
    return any(node.op_type == "ZipMap" for node in model.graph.node)


def _features_of(model: ModelProto, name: str) -> tuple[tuple[str, ...], int]:
    """Return the names of features, where each is an input of its own, and how many they are."""
    weights = {each.name for each in model.graph.initializer}
    inputs = [each for each in model.graph.input if each.name not in weights]
    tensors = [each.type.tensor_type for each in inputs]
    shapes = [[each.dim_value for each in tensor.shape.dim] for tensor in tensors]  # 0 where it is free
    sound = all(len(shape) == 2 and shape[0] == 0 < shape[1] for shape in shapes)
    if not inputs or not sound or not {tensor.elem_type for tensor in tensors} <= _NUMBERS:
        said = (f"{each.name}: {_said(each, shape)}" for each, shape in zip(inputs[:8], shapes, strict=False))
        raise refused(
            name,
            "one input of numbers (float or double) of shape [rows, features], or one of [rows, 1] for each feature",
            ", ".join(said) or "none",
            _EXPORT,
        )
    if shapes[0][1] > MAX_WIDTH:
        raise refused(name, f"at most {MAX_WIDTH:,} features", f"{shapes[0][1]:,}", "Adopt a smaller model")
    if len(inputs) == 1:
        return (), shapes[0][1]
    if any(shape[1] > 1 for shape in shapes):
        wide = next(each.name for each, shape in zip(inputs, shapes, strict=True) if shape[1] > 1)
        raise refused(name, "one feature in each of several inputs", f"more in {wide}", _EXPORT)
    return tuple(str(each.name) for each in inputs), len(inputs)


def _said(given: ValueInfoProto, sizes: Sequence[int]) -> str:
    from onnx import TensorProto

    kind = TensorProto.DataType.Name(given.type.tensor_type.elem_type).lower()
    return f"{kind} [{', '.join(str(size or 'free') for size in sizes)}]"


def _refuse_hostile(model: ModelProto, name: str) -> None:
    """Refuse what could read other files, run without end, or answer otherwise each time.

    Raises
    ------
    TrainingError
    """
    if len(model.graph.node) > _MAX_NODES:
        raise refused(name, f"at most {_MAX_NODES:,} nodes", f"{len(model.graph.node):,}", "Adopt a smaller model")
    for expected, found, do in _hostile(model):
        raise refused(name, expected, found, do)


def _hostile(model: ModelProto) -> Iterator[tuple[str, str, str]]:
    if any(each.data_location == each.EXTERNAL or each.external_data for each in _tensors(model)):
        yield "all weights in the one file", "weights in another file, which is not read", "Save it as one file"
    if model.functions or model.training_info:
        yield "a graph alone", "functions or training beside it", _EXPORT
    for node in model.graph.node:
        if node.domain not in _DOMAINS:
            yield (
                "ONNX's own operators",
                f"{node.op_type} of {node.domain}",
                "Export it without operators of others: no code but ONNX Runtime's own is run",
            )
        if any(said.type in (said.GRAPH, said.GRAPHS) or said.ref_attr_name for said in node.attribute):
            yield "no control flow", f"{node.op_type}, which runs a graph of its own", "Export it without branches"
        if node.op_type in _RANDOM and not (node.op_type == "Dropout" and len(node.input) < 3):
            yield "the same answer each time", f"{node.op_type}, which answers by chance", "Export it for inference"


def _refuse_wrong_trees(model: ModelProto, width: int, name: str) -> None:
    for node in model.graph.node:
        if node.domain == "ai.onnx.ml" and node.op_type.startswith("TreeEnsemble"):
            wrong = wrong_of_ensemble(node, width) if node.op_type in ENSEMBLES else f"{node.op_type}, of a later form"
            if wrong:
                raise refused(name, f"trees as {' and '.join(ENSEMBLES)} hold them", wrong, _EXPORT)


def _tensors(message: Any) -> Iterator[Any]:  # noqa: ANN401 - protobuf's own classes
    """Yield all tensors in a message, however deep."""
    from onnx import TensorProto

    waiting = [message]
    while waiting:
        each = waiting.pop()
        if isinstance(each, TensorProto):
            yield each
        for field, value in each.ListFields():
            if field.type == field.TYPE_MESSAGE:
                waiting.extend([value] if hasattr(value, "ListFields") else value)
