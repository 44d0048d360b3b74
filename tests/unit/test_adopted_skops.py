"""A skops file of scikit-learn's is answered with as scikit-learn does, and holds nothing but what is named."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import skops.io
from hypothesis import given
from hypothesis import strategies as st
from sklearn.ensemble import (
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, PolynomialFeatures, StandardScaler

from expectations.errors import TrainingError
from expectations.families import Rows
from tasks.modelling.adopted import Adopted
from tasks.modelling.lightgbm_text import PlainTree, constant, largest, require_tree
from tasks.modelling.model_files import read_model
from tasks.modelling.translated import translated
from tests.unit.test_adopted import adopted, fitted, table


def prepared(model: Any) -> Any:
    return make_pipeline(SimpleImputer(strategy="median"), StandardScaler(), model)


def learnt(model: Any, rows: Rows) -> bytes:
    label = np.array(rows.classes)[rows.label.astype(int)] if len(rows.classes) > 2 else rows.label
    return skops.io.dumps(model.fit(rows.matrix, label))


TWO, SEVERAL, AMOUNT = "binary_classification", "multiclass_classification", "regression"
SMALL: dict[str, Any] = {"n_estimators": 6, "random_state": 0}


@pytest.mark.parametrize(
    ("model", "task", "missing"),
    [
        (prepared(LogisticRegression()), TWO, True),
        (LogisticRegression(), SEVERAL, False),
        (make_pipeline(StandardScaler(), Ridge()), AMOUNT, False),
        (make_pipeline(StandardScaler(with_mean=False), Ridge()), AMOUNT, False),
        (RandomForestClassifier(**SMALL), TWO, True),
        (RandomForestClassifier(n_estimators=50, random_state=0), TWO, False),
        (prepared(RandomForestClassifier(**SMALL)), SEVERAL, True),
        (ExtraTreesRegressor(**SMALL), AMOUNT, False),
        (GradientBoostingClassifier(**SMALL), TWO, False),
        (prepared(GradientBoostingClassifier(**SMALL)), SEVERAL, True),
        (GradientBoostingRegressor(**SMALL), AMOUNT, False),
        (HistGradientBoostingClassifier(max_iter=6), SEVERAL, True),
        (prepared(HistGradientBoostingRegressor(max_iter=6)), AMOUNT, True),
    ],
)
def test_it_is_answered_with_as_scikit_learn_does(model: Any, task: str, missing: bool, tmp_path: Path) -> None:
    rows = table(task)
    rows = rows if missing else replace(rows, matrix=np.nan_to_num(rows.matrix))
    found = fitted(adopted(tmp_path, learnt(model, rows), "model.skops"), rows, tmp_path)
    theirs = model.predict(rows.matrix) if task == AMOUNT else model.predict_proba(rows.matrix)
    theirs = theirs[:, 1] if task == TWO else theirs
    np.testing.assert_allclose(found.predict(rows.matrix), theirs, rtol=0, atol=1e-12)
    assert str(found.proof).startswith("says what scikit-learn says of 400 rows, ")
    (tmp_path / "bundle").mkdir()
    found.save(tmp_path / "bundle")
    assert {each.name for each in (tmp_path / "bundle").iterdir()} == {"adopted.json", "translated.json"}
    loaded = Adopted.load(tmp_path / "bundle")
    np.testing.assert_array_equal(loaded.predict(rows.matrix), found.predict(rows.matrix))
    parts = np.asarray(loaded.contributions(rows.matrix[:5])).sum(axis=-1)
    predicted = theirs[:5]
    if loaded.explains == "score":
        predicted = {TWO: lambda p: np.log(p / (1 - p)), SEVERAL: np.log, AMOUNT: np.asarray}[task](predicted)
        parts, predicted = (
            (each - each.mean(axis=1, keepdims=True) if task == SEVERAL else each) for each in (parts, predicted)
        )
    np.testing.assert_allclose(parts, predicted, atol=1e-9)


@pytest.mark.parametrize(
    "model", [prepared(RandomForestClassifier(**SMALL)), HistGradientBoostingClassifier(max_iter=6)]
)
def test_what_was_fitted_on_named_columns_is_asked_by_their_names(model: Any, tmp_path: Path) -> None:
    """Else scikit-learn warns in the middle of what a command prints; here a warning is an error."""
    rows = table(TWO)
    named = pd.DataFrame(rows.matrix, columns=list(rows.features))
    file = skops.io.dumps(model.fit(named, rows.label))
    found = fitted(adopted(tmp_path, file, "model.skops"), rows, tmp_path)
    assert str(found.proof).startswith("says what scikit-learn says of 400 rows, ")
    np.testing.assert_allclose(found.predict(rows.matrix), model.predict_proba(named)[:, 1], rtol=0, atol=1e-12)


@given(st.floats(-1e30, 1e30), st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_the_largest_number_that_passes_is_found_to_the_last_bit(bound: float, mean: float, scale: float) -> None:
    def passes(values: np.ndarray) -> np.ndarray:
        return ((values - mean) / scale).astype(np.float32) <= bound

    found = largest(passes, 1)
    assert passes(found).all()
    with np.errstate(over="ignore"):
        assert not passes(np.nextafter(found, np.inf)).any()


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (IsolationForest(n_estimators=2), "found IsolationForest"),
        (make_pipeline(PolynomialFeatures(), Ridge()), "found PolynomialFeatures, Ridge"),
        (make_pipeline(FunctionTransformer(np.log1p), Ridge()), "FunctionTransformer, Ridge"),
        (HistGradientBoostingRegressor(max_iter=2, loss="poisson"), "loss 'poisson', and not one of"),
        (GradientBoostingClassifier(n_estimators=2, loss="exponential"), "loss 'exponential'"),
        (GradientBoostingRegressor(n_estimators=2, init=Ridge()), "an estimator of its own as `init`"),
        (Ridge(), "a fitted Ridge"),
        (make_pipeline(SimpleImputer(missing_values=-1), Ridge()), "an imputer of missing values .*found one of -1"),
    ],
)
def test_what_is_not_translated_is_named(model: Any, said: str) -> None:
    rows = table("regression")
    label = np.abs(rows.label) if "Regressor" in type(model).__name__ else (rows.label > 7).astype(float)
    content = skops.io.dumps(
        model if said == "a fitted Ridge" else model.fit(np.abs(np.nan_to_num(rows.matrix)), label)
    )
    with pytest.raises(TrainingError, match=said):
        read_model(content, "model.skops")


def test_a_forest_whose_sum_ends_above_one_is_answered_with_as_one(tmp_path: Path) -> None:
    rows = table(TWO)
    rows = replace(rows, matrix=np.nan_to_num(rows.matrix))
    model = RandomForestClassifier(n_estimators=40, random_state=0)
    assert np.cumsum(np.full(40, 1 / 40))[-1] > 1  # as trees are added; sum() is exact from Python 3.12 on
    found = fitted(adopted(tmp_path, learnt(model, rows), "model.skops"), rows, tmp_path)
    served = translated(read_model((tmp_path / "model.skops").read_bytes(), "m").served, np.zeros(3))
    alone = [served.predict_row(row) for row in rows.matrix[:20].tolist()]
    assert found.predict(rows.matrix).max() == 1.0
    np.testing.assert_array_equal(alone, found.predict(rows.matrix[:20]))


def test_what_nothing_fills_in_is_worth_what_the_average_row_has(tmp_path: Path) -> None:
    rows = table(AMOUNT)
    rows = replace(rows, matrix=np.nan_to_num(rows.matrix) + 5)
    found = fitted(adopted(tmp_path, learnt(Ridge(), rows), "model.skops"), rows, tmp_path)
    missing, average = rows.matrix[:3].copy(), rows.matrix[:3].copy()
    missing[:, 0], average[:, 0] = np.nan, rows.matrix[:, 0].mean()
    np.testing.assert_allclose(found.predict(missing), found.predict(average), rtol=1e-12)


def test_classes_of_a_column_of_floats_are_whole_numbers() -> None:
    rows = table(SEVERAL)
    label = np.array([1.0, 2.0, 10.0])[rows.label.astype(int)]
    model = LogisticRegression().fit(np.nan_to_num(rows.matrix), label)
    assert read_model(skops.io.dumps(model), "model.skops").classes == ("1", "2", "10")


class Foreign:
    """A class that no one trusts."""

    def __setstate__(self, state: object) -> None:
        raise SystemExit("it ran")


def test_other_types_archives_and_rows_that_scikit_learn_refuses_are_said(tmp_path: Path) -> None:
    model = Ridge().fit(np.eye(3), np.arange(3))
    model.more = Foreign()
    model.more.value = 1
    with pytest.raises(TrainingError, match=r"scikit-learn's own types.*Foreign"):
        read_model(skops.io.dumps(model), "model.skops")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02.")
    with pytest.raises(TrainingError, match=r"another archive \(archive/data.pkl\)"):
        read_model(packed.getvalue(), "model.pt")
    rows = table("regression")
    whole = replace(rows, matrix=np.nan_to_num(rows.matrix))
    with pytest.raises(TrainingError, match=r"contains NaN.*SimpleImputer"):
        fitted(adopted(tmp_path, learnt(Ridge(), whole), "model.skops"), rows, tmp_path)


def rewritten(content: bytes, change: Callable[[dict[str, bytes]], None]) -> bytes:
    """Return an archive whose files were changed."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(made, "w") as written:
        files = {name: archive.read(name) for name in archive.namelist()}
        change(files)
        for name, each in files.items():
            written.writestr(name, each)
    return made.getvalue()


def encrypted(content: bytes) -> bytes:
    """Return an archive that says its files are encrypted."""
    for mark, at in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        begun = [match.start() for match in re.finditer(re.escape(mark), content)]
        content = bytes(value | (at_all - at in begun) for at_all, value in enumerate(content))
    return content


def endless(files: dict[str, bytes]) -> None:
    """Let an array name a shape that no memory has room for."""
    header = io.BytesIO()
    said = {"descr": "<f8", "fortran_order": False, "shape": (10**15,)}
    np.lib.format.write_array_header_1_0(header, said)
    files[next(name for name in files if name.endswith(".npy"))] = header.getvalue()


def copied(files: dict[str, bytes]) -> None:
    """Name one array of 8 MB for a hundred objects."""
    schema = json.loads(files["schema.json"])
    many = schema["content"]["content"]["many"]
    many["content"] = [many["content"][0] | {"__id__": at} for at in range(100)]
    files["schema.json"] = json.dumps(schema).encode()


def test_damaged_archives_and_those_that_ask_for_memory_are_refused() -> None:
    model = Ridge().fit(np.eye(3), np.arange(3))
    model.many = [np.zeros(1_000_000)]
    content = skops.io.dumps(model)
    at = content.find(b"schema.json") + 30
    damaged = content[:at] + bytes([content[at] ^ 255]) + content[at + 1 :]
    for file, said in (
        (damaged, "Bad CRC-32"),
        (encrypted(content), "is encrypted"),
        (rewritten(content, endless), "Unable to allocate"),
        (rewritten(content, copied), "at most 256 MiB unpacked.*found 7[0-9]{2} MiB"),
    ):
        with pytest.raises(TrainingError, match=said):
            read_model(file, "model.skops")


def test_stages_and_trees_that_compiled_code_would_write_past_are_refused() -> None:
    matrix, label = np.random.default_rng(0).normal(size=(50, 3)), np.arange(50) % 2
    model = GradientBoostingClassifier(n_estimators=3).fit(matrix, label)
    model.estimators_ = np.repeat(model.estimators_, 50, axis=1)
    with pytest.raises(TrainingError, match=r"stages of shape \(3, 50\) for 1 outputs"):
        read_model(skops.io.dumps(model), "model.skops")
    model = GradientBoostingClassifier(n_estimators=3).fit(matrix, label)
    model.init_ = Ridge().fit(matrix, label)
    with pytest.raises(TrainingError, match="a Ridge as `init_`"):
        read_model(skops.io.dumps(model), "model.skops")
    forest = RandomForestClassifier(**SMALL).fit(matrix, label)
    forest.estimators_[0].tree_ = Ridge()
    with pytest.raises(TrainingError, match="nodes, and not a Ridge"):
        read_model(skops.io.dumps(forest), "model.skops")
    forest.n_features_in_ = 10**9
    with pytest.raises(TrainingError, match="1,000,000,000 features, of at most 1,048,576"):
        read_model(skops.io.dumps(forest), "model.skops")


def test_nodes_that_are_no_tree_are_refused() -> None:
    tree = constant(1.0)
    require_tree(tree, 1)
    with pytest.raises(ValueError, match="leaves or thresholds that are no numbers"):
        require_tree(constant(float("nan")), 1)
    wide = PlainTree(*(np.repeat(each, 3) for each in tree))
    with pytest.raises(ValueError, match="nodes that nothing leads to"):
        require_tree(wide, 1)
    round_and_round = wide._replace(left=np.array([0, -1, -1]), right=np.array([2, -1, -1]))
    with pytest.raises(ValueError, match="lies below itself"):
        require_tree(round_and_round, 1)
