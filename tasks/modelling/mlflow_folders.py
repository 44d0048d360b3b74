"""Folders of MLflow: which file in one is the model itself, as its `MLmodel` says; nothing in it is run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import yaml

from expectations.errors import TrainingError
from expectations.wording import one_line
from tasks.modelling.model_files import is_pickle
from tasks.modelling.model_kinds import refused
from tasks.stores.files import storing

DESCRIPTION = "MLmodel"
MAX_BYTES = 1 << 20
"""Of the description."""
_PLACES: Mapping[str, str] = {
    "lightgbm": "data",
    "xgboost": "data",
    "catboost": "data",
    "onnx": "data",
    "sklearn": "pickled_model",
}
"""The flavors that are taken, and the key of each that holds the path of its file."""
_WAYS: Mapping[str, str] = {
    "lightgbm": "mlflow.lightgbm.save_model(model.booster_, FOLDER), or booster.save_model('model.txt')",
    "sklearn": "mlflow.sklearn.save_model(model, FOLDER, serialization_format='skops')",
}
_ANY_WAY = f"the flavor {', '.join(_PLACES)}, or the file of its own library"
_BOOSTER = "lightgbm.basic.Booster"


class FoundModel(NamedTuple):
    """A model's own file, what to call it in errors, and its features' names in order; empty where nobody says them."""

    path: Path
    name: str
    features: tuple[str, ...] = ()


def find_model(path: Path) -> FoundModel:
    """Return the model's own file: the path itself, or the one that MLflow's folder says is the model.

    Raises
    ------
    TrainingError
        If the folder is none of MLflow's, or of a flavor that is not taken, if its model is a pickle, or if a path in
        its description leads out of it.
    StorageError
        If it cannot be read.
    """
    if not path.is_dir():
        return FoundModel(path, path.name)
    said = _described(path)
    flavors = said.get("flavors")
    if not isinstance(flavors, dict) or not flavors:
        raise refused(f"{path.name}/{DESCRIPTION}", "flavors of a model", "none", "Save it anew by MLflow")
    flavor = next((each for each in _PLACES if isinstance(flavors.get(each), dict)), None)
    if flavor is None:
        raise _not_taken(path.name, flavors)
    file = _file_of(path, flavor, flavors[flavor])
    return FoundModel(file, f"{path.name}/{file.name}", _names(said.get("signature")))


def _described(folder: Path) -> dict[str, Any]:
    file = _inside(folder, DESCRIPTION, f"Name a folder that MLflow's save_model wrote ({_ANY_WAY})")
    with storing("read", file), file.open("rb") as opened:
        content = opened.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise refused(f"{folder.name}/{DESCRIPTION}", f"at most {MAX_BYTES >> 20} MiB", "more", "Save it anew")
    try:
        said = yaml.safe_load(content)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        found = one_line(error)
        raise refused(f"{folder.name}/{DESCRIPTION}", "YAML as MLflow writes it", found, "Save it anew") from error
    if not isinstance(said, dict):
        raise refused(f"{folder.name}/{DESCRIPTION}", "a mapping", type(said).__name__, "Save it anew by MLflow")
    return said


def _not_taken(name: str, flavors: Iterable[Any]) -> TrainingError:
    others = [str(each) for each in flavors if each != "python_function"]
    found = ", ".join(others[:8]) or "python_function alone, which is code in a pickle"
    return refused(name, f"a model of the flavor {', '.join(_PLACES)}", found, f"Save the model itself as {_ANY_WAY}")


def _file_of(folder: Path, flavor: str, said: Mapping[str, Any]) -> Path:
    """Return the file of a flavor, unless it would have to be loaded to know what it is."""
    place = said.get(_PLACES[flavor])
    if not isinstance(place, str) or not place:
        found = f"{place!r}"
        raise refused(f"{folder.name}/{DESCRIPTION}", f"a path under {flavor}.{_PLACES[flavor]}", found, "Save it anew")
    form = said.get("serialization_format")
    if is_pickle(place) or (flavor == "sklearn" and form not in ("skops", None)):
        raise refused(
            folder.name,
            "a model in its library's own format",
            f"{place}, of {form or 'a pickle'}: to load it is to run whatever it holds",
            f"Where you trained it: {_WAYS.get(flavor, _ANY_WAY)}",
        )
    kind = said.get("model_class", _BOOSTER)
    if flavor == "lightgbm" and kind != _BOOSTER:
        raise refused(
            folder.name, f"a {_BOOSTER}, which LightGBM writes as its text", str(kind), f"Save that: {_WAYS[flavor]}"
        )
    return _inside(folder, place, "Copy the folder whole, or save it anew")


def _inside(folder: Path, place: str, do: str) -> Path:
    """Return a file of a folder, links followed.

    Raises
    ------
    TrainingError
        If it is absolute, goes up, is a link that leads out, or is no file.
    """
    parts = PurePosixPath(place.replace("\\", "/"))
    file = (folder / parts).resolve()
    if parts.is_absolute() or ".." in parts.parts or not file.is_relative_to(folder.resolve()):
        raise refused(folder.name, "a path that stays in the folder", place, "Copy the file itself into the folder")
    if not file.is_file():
        raise refused(folder.name, f"the file {place}", "none there", do)
    return file


def _names(signature: Any) -> tuple[str, ...]:  # noqa: ANN401 - whatever the YAML holds
    """Return the names of columns that a signature says the model takes; none of tensors."""
    inputs = signature.get("inputs") if isinstance(signature, dict) else None
    try:
        columns = json.loads(inputs) if isinstance(inputs, str) else None
    except (ValueError, RecursionError):
        return ()
    if not isinstance(columns, list) or not all(isinstance(each, dict) for each in columns):
        return ()
    if any(each.get("type") == "tensor" or not isinstance(each.get("name"), str) for each in columns):
        return ()
    return tuple(each["name"] for each in columns)
