"""skops files of scikit-learn: loaded with named types alone, and translated into weights or trees."""

from __future__ import annotations

import io
import json
import math
import zipfile
import zlib
from typing import Any, NamedTuple

import numpy as np

from expectations.families import Matrix, Scores
from expectations.wording import one_line
from tasks.modelling.additive import NumberEffect, Terms
from tasks.modelling.model_kinds import MAX_WIDTH, refused
from tasks.modelling.sklearn_trees import ENSEMBLES, named_as_fitted, trees_of
from tasks.modelling.translated import of_terms, of_trees

MAX_BYTES = 256 << 20
"""Unpacked."""
_TRUSTED = (
    "numpy.dtype",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.tree._tree.Tree",
)
"""Beside what skops itself trusts, which are scikit-learn's own estimators."""
_LINEAR = ("ElasticNet", "Lasso", "LinearRegression", "LogisticRegression", "Ridge")
TAKEN = (*_LINEAR, *ENSEMBLES)
_SAVE = "skops.io.dump(model, 'model.skops')"
_UNLIKE = (
    *(ArithmeticError, AttributeError, EOFError, ImportError, LookupError, MemoryError, RuntimeError, TypeError),
    *(ValueError, zipfile.BadZipFile, zlib.error),
)
"""What reading an archive, a schema or a state raises that is damaged, or not built as is expected."""


class Estimator(NamedTuple):
    """A model, and what comes before it: a missing value becomes `fill`, then x becomes (x - mean) / scale.

    Attributes
    ----------
    fill, mean, scale : ndarray of shape (n_features,) or None
        None where nothing is filled in or scaled.
    """

    whole: Any
    model: Any
    fill: Any
    mean: Any
    scale: Any


class Described(NamedTuple):
    """What an estimator takes and answers with, and its translation."""

    features: tuple[str, ...]
    width: int
    classes: tuple[str, ...]
    scores: int
    served: bytes


def describe_estimator(content: bytes, name: str) -> Described:
    """Return what a skops file takes and answers with.

    Raises
    ------
    TrainingError
        If it is none, holds other types, or another model than can be translated.
    """
    found = load_estimator(content, name)
    kind = type(found.model).__name__
    if kind not in TAKEN or not type(found.model).__module__.startswith("sklearn."):
        raise refused(name, f"one of {', '.join(TAKEN)}", kind, "Export it as ONNX")
    try:
        width = int(found.whole.n_features_in_)
        if width > MAX_WIDTH:
            raise ValueError(f"{width:,} features, of at most {MAX_WIDTH:,}")
        names = tuple(map(str, getattr(found.whole, "feature_names_in_", ())))
        classes = _names_of(found.model)
        served = _of_weights(found, width) if kind in _LINEAR else _of_trees(found, width)
    except _UNLIKE as error:
        raise refused(name, f"a fitted {kind} that can be translated", one_line(error), "Export it as ONNX") from error
    return Described(names, width, classes, max(1, len(classes)), served)


def load_estimator(content: bytes, name: str) -> Estimator:
    """Load a file with the named types alone.

    Raises
    ------
    TrainingError
        If it is no skops file, too large, or holds other types, of which nothing is loaded.
    """
    import skops.io

    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            sizes = {each.filename: each.file_size for each in archive.infolist()}
    except zipfile.BadZipFile as error:
        raise refused(name, "a skops file", f"{error}; it begins with {content[:4]!r}", f"Save it: {_SAVE}") from error
    if "schema.json" not in sizes:
        found = f"another archive ({', '.join(list(sizes)[:4])}), which begins with {content[:4]!r}"
        raise refused(name, "a skops file", found, f"Save it: {_SAVE}")
    size = sum(sizes.values())
    try:
        if size <= MAX_BYTES:
            size += _asked_again(content, sizes)
        if size > MAX_BYTES:
            raise refused(name, f"at most {MAX_BYTES >> 20} MiB unpacked", f"{size >> 20} MiB", "Adopt less")
        unknown = sorted(set(skops.io.get_untrusted_types(data=content)) - set(_TRUSTED))
        if unknown:
            raise refused(name, "scikit-learn's own types", ", ".join(unknown[:8]), "Export it as ONNX")
        whole = skops.io.loads(content, trusted=list(_TRUSTED))
    except _UNLIKE as error:
        raise refused(name, "a file as skops writes it", one_line(error), f"Save it: {_SAVE}") from error
    return _taken_apart(whole, name)


def _asked_again(content: bytes, sizes: dict[str, int]) -> int:
    """Return the bytes of files that the schema names for several objects: each of them would be one more copy."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        waiting = [json.loads(archive.read("schema.json"))]
    named = set[tuple[str, int]]()
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict) and isinstance(each.get("file"), str):
            named.add((each["file"], int(each["__id__"])))
        waiting.extend(each.values() if isinstance(each, dict) else each if isinstance(each, list) else ())
    files = {file for file, _ in named}
    return sum(sizes.get(file, 0) for file, _ in named) - sum(sizes.get(file, 0) for file in files)


def _names_of(model: Any) -> tuple[str, ...]:  # noqa: ANN401 - scikit-learn ships no types
    """Return the names of a model's classes, as labels are read: those of a column of floats are whole numbers."""
    values = np.asarray(getattr(model, "classes_", ())).tolist()
    return tuple(str(int(each) if isinstance(each, float) and each.is_integer() else each) for each in values)


def predicted(content: bytes, rows: Matrix, name: str) -> Scores:
    """Return what scikit-learn says of rows, shape (n_rows,) or (n_rows, n_classes).

    Raises
    ------
    TrainingError
        If it says nothing of them.
    """
    found = load_estimator(content, name)
    asked = named_as_fitted(found.whole, rows)
    try:
        if hasattr(found.model, "classes_"):
            scores: Scores = np.asarray(found.whole.predict_proba(asked), np.float64)
            return scores[:, 1] if scores.shape[1] == 2 else scores
        return np.asarray(found.whole.predict(asked), np.float64).reshape(len(rows), -1)[:, 0]
    except ValueError as error:
        raise refused(
            name, "an answer of scikit-learn's for each row", one_line(error), "Put a SimpleImputer before the model"
        ) from error


def _taken_apart(whole: Any, name: str) -> Estimator:  # noqa: ANN401 - scikit-learn ships no types
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    steps = [step for _, step in whole.steps] if type(whole) is Pipeline else [whole]
    *before, model = steps
    fill = mean = scale = None
    for step in before:
        if type(step) is SimpleImputer and fill is None and scale is None and not step.add_indicator:
            if not (isinstance(step.missing_values, float) and math.isnan(step.missing_values)):
                raise refused(
                    name,
                    "an imputer of missing values (missing_values=nan)",
                    f"one of {step.missing_values!r}",
                    "Train it on rows where these are missing, or export it as ONNX",
                )
            fill = np.asarray(step.statistics_, np.float64)
        elif type(step) is StandardScaler and scale is None:
            count = int(step.n_features_in_)
            mean = np.zeros(count) if step.mean_ is None or not step.with_mean else np.asarray(step.mean_, np.float64)
            scale = np.ones(count) if step.scale_ is None else np.asarray(step.scale_, np.float64)
        else:
            expected = "a SimpleImputer without indicators, a StandardScaler, one after the other, and a model"
            raise refused(name, expected, ", ".join(type(each).__name__ for each in steps), "Export it as ONNX")
    for values in (fill, mean, scale):
        if values is not None and not np.isfinite(values).all():
            raise refused(name, "numbers to fill in and to scale by", "others", "Train it on features that have values")
    return Estimator(whole, model, fill, mean, scale)


def _of_weights(found: Estimator, width: int) -> bytes:
    """Translate a linear model; a missing value that nothing fills in is worth nothing."""
    model = found.model
    weights, base = np.atleast_2d(np.asarray(model.coef_, np.float64)), np.ravel(model.intercept_)
    classes = len(getattr(model, "classes_", ()))
    if weights.shape[0] != (classes if classes > 2 else 1) or weights.shape[1] != width:
        raise ValueError(f"weights of shape {weights.shape}")
    base = np.resize(np.asarray(base, np.float64), weights.shape[0])
    mean, scale = (np.zeros(width), np.ones(width)) if found.scale is None else (found.mean, found.scale)
    scaled = weights / scale
    none = (0.0,) * len(base)
    numbers = tuple(
        NumberEffect(
            at,
            float(mean[at]),
            tuple(scaled[:, at].tolist()),
            none,
            none if found.fill is None else tuple((scaled[:, at] * (found.fill[at] - mean[at])).tolist()),
        )
        for at in range(width)
    )
    link = "identity" if not classes else "sigmoid" if classes == 2 else "softmax"
    terms = Terms(link, width, tuple(base.tolist()), numbers, ())  # type: ignore[arg-type]
    return of_terms(terms, fills=found.fill is not None)


def _of_trees(found: Estimator, width: int) -> bytes:
    trees, link, probabilities = trees_of(found.model, width, found.fill, found.mean, found.scale)
    classes = len(getattr(found.model, "classes_", ()))
    return of_trees(trees, classes if classes > 2 else 1, width, link, probabilities=probabilities)
