"""Model files that others trained: what one is, by its first bytes, never by running it, and what it says of itself."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from expectations.errors import TrainingError
from expectations.families import Task
from tasks.modelling.catboost_files import read_catboost, refuse_binary
from tasks.modelling.model_kinds import ModelFile, refused
from tasks.modelling.onnx_files import describe_graph
from tasks.modelling.skops_files import describe_estimator
from tasks.modelling.tree_structures import require_lightgbm_trees, require_xgboost_trees

_LIGHTGBM: Mapping[Task, Sequence[str]] = {
    "binary_classification": ("binary",),
    "multiclass_classification": ("multiclass",),  # of multiclassova they add up to no 1
    "regression": (
        *("regression", "regression_l1", "huber", "fair", "poisson"),
        *("quantile", "mape", "gamma", "tweedie"),
    ),
}
_XGBOOST: Mapping[Task, Sequence[str]] = {
    "binary_classification": ("binary:logistic",),
    "multiclass_classification": ("multi:softprob",),
    "regression": ("reg:squarederror",),
}
_CATBOOST: Mapping[Task, Sequence[str]] = {
    "binary_classification": ("Logloss", "CrossEntropy"),
    "multiclass_classification": ("MultiClass",),  # of MultiClassOneVsAll they add up to no 1
    "regression": ("RMSE", "MAE", "MAPE", "Quantile", "Huber", "Expectile", "Lq", "LogCosh"),
}
_PICKLES = (b"\x80", b"\x78\x9c", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"ZF")
"""How pickles begin, and those that joblib compressed."""
_UNLIKE = (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, RecursionError)
"""What reading JSON raises that is not built as is expected."""
_KEYS = re.compile(rb'"(learner|features_info|oblivious_trees)"')
"""The outermost of XGBoost's JSON, and of CatBoost's."""
_ENDINGS = (".pkl", ".pickle", ".joblib")
WAYS = (
    "LightGBM: booster.save_model('model.txt'); XGBoost: save_model('model.json'); "
    "CatBoost: save_model('model.json', format='json'); "
    "scikit-learn: skops.io.dump(model, 'model.skops'); others: export to ONNX"
)


def read_model(content: bytes, name: str) -> ModelFile:
    """Return what a model file says of itself.

    Parameters
    ----------
    name : str
        That of the file, for errors.

    Raises
    ------
    TrainingError
        If it is a pickle, of another kind, damaged, or a model that cannot be answered with as it is.
    """
    if is_pickle(name) or content.startswith(_PICKLES):
        raise TrainingError(
            "a model in its library's own format",
            f"{name}, a pickle or something compressed: to load a pickle is to run whatever it holds",
            f"Where you trained it, save it anew ({WAYS})",
        )
    for begins, read in _READERS.items():
        if content.startswith(begins):
            return read(content, name)
    raise TrainingError(
        "a model file of LightGBM (text), XGBoost (JSON, UBJ), CatBoost (JSON), skops or ONNX",
        f"{name}, which begins with {content[:8]!r}",
        f"Save it so where you trained it ({WAYS})",
    )


def is_pickle(name: str) -> bool:
    """Whether a file is a pickle by its name."""
    return name.lower().endswith(_ENDINGS)


def _task_of(objective: str, known: Mapping[Task, Sequence[str]], name: str) -> Task:
    for task, objectives in known.items():
        if objective in objectives:
            return task
    taken = ", ".join(each for objectives in known.values() for each in objectives)
    raise refused(name, f"an objective among {taken}", objective or "none", "Train it with one of these")


def _read_lightgbm(content: bytes, name: str) -> ModelFile:
    """Read the head of LightGBM's text, and hold its length against that: LightGBM ends the process on half a text."""
    head, _, trees = content.partition(b"\n\n")
    try:
        said = dict(line.split("=", 1) for line in head.decode("utf-8").splitlines() if "=" in line)
        features, sizes = said["feature_names"].split(" "), [int(size) for size in said["tree_sizes"].split()]
        outputs, width = int(said["num_class"]), int(said["max_feature_idx"]) + 1
        text = content.decode("utf-8")
    except (UnicodeDecodeError, KeyError, ValueError) as error:
        raise refused(name, "a head as LightGBM writes it", f"{error}", "Save it anew: booster.save_model") from error
    if not trees[sum(sizes) :].startswith(b"end of trees"):
        raise refused(
            name,
            f"{len(sizes)} trees of {sum(sizes):,} bytes together, and their end behind them",
            "none there: it was cut off or edited (line ends?)",
            "Copy it as it is, in binary, or save it anew",
        )
    task = _task_of(said.get("objective", "").partition(" ")[0], _LIGHTGBM, name)
    _require_outputs(said, outputs, len(sizes), name)
    starts = [sum(sizes[:at]) for at in range(len(sizes))]
    blocks = [trees[start : start + size].decode("utf-8") for start, size in zip(starts, sizes, strict=True)]
    try:
        require_lightgbm_trees(blocks, width)
    except ValueError as error:
        raise refused(name, "trees as LightGBM writes them", f"{error}", "Save it anew: booster.save_model") from error
    if len(features) != width:
        raise refused(name, f"{width} names of features", f"{len(features)}", "Save it anew: booster.save_model")
    coded = _pandas_categories(text)
    if coded:
        raise refused(
            name,
            "features that are numbers",
            f"{len(coded)} of pandas' type category, which it knows by their places in a list",
            "Train it on columns of numbers that the table has, too, and save it anew",
        )
    named = () if features == [f"Column_{at}" for at in range(width)] else tuple(features)
    return ModelFile("lightgbm", content, named, width, (task,), outputs)


def _require_outputs(said: Mapping[str, str], outputs: int, trees: int, name: str) -> None:
    """Refuse a head whose lines name other numbers of classes: LightGBM would write behind what it has room for."""
    named = dict(each.split(":", 1) for each in said.get("objective", "").split() if ":" in each)
    found = (said.get("num_tree_per_iteration"), named.get("num_class", said["num_class"]))
    if outputs < 1 or set(found) != {said["num_class"]} or trees % outputs:
        raise refused(
            name,
            f"num_class {outputs} of all lines of its head, and of its {trees} trees",
            f"num_tree_per_iteration {found[0]}, num_class of the objective {found[1]}",
            "Save it anew: booster.save_model",
        )


def _pandas_categories(text: str) -> list[list[Any]]:
    """Return the values of each categorical column of the frame that LightGBM's Python package learnt from."""
    line = text.rpartition("\npandas_categorical:")[2].strip()
    try:
        found = json.loads(line)
    except ValueError:
        return []  # it was written by another package than Python's
    return found if isinstance(found, list) else []


def _read_xgboost(content: bytes, name: str) -> ModelFile:
    try:
        learner = json.loads(content)["learner"]
        booster, settings = learner["gradient_booster"], learner["learner_model_param"]
        objective, kind = str(learner["objective"]["name"]), str(booster["name"])
        features, width = tuple(learner.get("feature_names") or ()), int(settings["num_feature"])
        outputs = max(1, int(settings["num_class"]))
        best = learner.get("attributes", {}).get("best_iteration")
        trees = booster["model"]["trees"] if kind == "gbtree" else []
        beside = int(booster["model"]["gbtree_model_param"].get("num_parallel_tree", 1)) if trees else 1
        rounds = len(trees) // (outputs * max(1, beside))
        categories = any(any(tree["split_type"]) for tree in trees)
        if trees and not categories:
            require_xgboost_trees(learner, outputs)
        found_best = None if best is None else int(best)
    except _UNLIKE as error:
        raise refused(name, "a model as XGBoost writes it", f"{error!r}", "Save it anew: save_model") from error
    if not trees or categories:
        found = "splits by categories" if trees else f"a {kind} without trees" if kind == "gbtree" else kind
        raise refused(name, "trees (gbtree) that split numbers", found, "Train it so, on numbers alone")
    task = _task_of(objective, _XGBOOST, name)
    if found_best is not None and found_best + 1 < rounds:
        raise refused(
            name,
            "the trees that you answer with, and no others",
            f"{rounds} rounds, of which early stopping found {found_best + 1} to be best: some callers use these alone",
            "Save those: booster[: booster.best_iteration + 1].save_model('model.json')",
        )
    return ModelFile("xgboost", content, features, width, (task,), outputs)


def _read_ubj(content: bytes, name: str) -> ModelFile:
    """Read XGBoost's binary form of the same JSON, which XGBoost itself translates."""
    from importlib.util import find_spec

    if find_spec("xgboost") is None:
        raise TrainingError(
            "the package that reads XGBoost's UBJ", "none installed", "Save it as model.json where you trained it"
        )
    import xgboost

    booster = xgboost.Booster()
    try:
        booster.load_model(bytearray(content))
    except xgboost.core.XGBoostError as error:
        raise refused(
            name, "a model as XGBoost writes it", str(error).splitlines()[0], "Save it anew: save_model"
        ) from error
    return _read_xgboost(bytes(booster.save_raw("json")), name)


def _read_json(content: bytes, name: str) -> ModelFile:
    """Read XGBoost's JSON or CatBoost's, whichever keys come first."""
    found = _KEYS.search(content)
    if found is None or found[1] == b"learner":
        return _read_xgboost(content, name)
    return read_catboost(content, name, lambda loss: _task_of(loss, _CATBOOST, name))


def _read_onnx(content: bytes, name: str) -> ModelFile:
    """Read a graph; one score alone may be a probability or an amount, which the target decides."""
    graph = describe_graph(content, name)
    tasks: tuple[Task, ...] = ("multiclass_classification",)
    if graph.scores == 2 or (graph.scores == 1 and graph.labelled):
        tasks = ("binary_classification",)
    elif graph.scores == 1:
        tasks = ("regression", "binary_classification")
    outputs = graph.scores if graph.scores > 2 else 1
    return ModelFile("onnx", content, graph.features, graph.width, tasks, outputs, graph.classes)


def _read_skops(content: bytes, name: str) -> ModelFile:
    found = describe_estimator(content, name)
    task: Task = "regression"
    if found.classes:
        task = "binary_classification" if found.scores == 2 else "multiclass_classification"
    outputs = found.scores if found.scores > 2 else 1
    places = found.classes == tuple(map(str, range(len(found.classes))))
    classes = () if places else found.classes
    return ModelFile("skops", content, found.features, found.width, (task,), outputs, classes, found.served)


_READERS: Mapping[bytes, Callable[[bytes, str], ModelFile]] = {
    b"tree\n": _read_lightgbm,
    b"{L": _read_ubj,
    b"{": _read_json,
    b"CBM1": refuse_binary,
    b"\x08": _read_onnx,  # protobuf: the version, which comes first
    b"PK": _read_skops,
}
