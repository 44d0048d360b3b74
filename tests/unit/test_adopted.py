"""A model that others trained says here what its own library says, is the first champion, and is challenged."""

from __future__ import annotations

import hashlib
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from expectations.errors import TrainingError, UseCaseError
from expectations.families import Rows
from expectations.loading import load_use_case
from tasks.modelling.adopted import Adopted
from tasks.modelling.model_files import read_model
from tasks.training.first_model import challenging
from tests.unit.test_training import released, rows

NAMES = ("x", "y z", "n")


def table(task: str = "binary_classification") -> Rows:
    random = np.random.default_rng(5)
    matrix = random.normal(size=(400, 3))
    matrix[random.random(matrix.shape) < 0.1] = np.nan
    signal = np.nan_to_num(matrix) @ np.array([1.0, -2.0, 0.3])
    label, classes = {
        "binary_classification": ((signal > 0.5).astype(float), ("0", "1")),
        "multiclass_classification": (np.digitize(signal, [-1.0, 1.0]).astype(float), ("a", "b", "c")),
        "regression": (signal + 7, ()),
    }[task]
    return Rows(matrix, label, NAMES, (), task, classes)


OBJECTIVES = {
    "binary_classification": ({"objective": "binary"}, {"objective": "binary:logistic"}),
    "multiclass_classification": (
        {"objective": "multiclass", "num_class": 3},
        {"objective": "multi:softprob", "num_class": 3},
    ),
    "regression": ({"objective": "regression"}, {"objective": "reg:squarederror"}),
}


def lightgbm_text(known: Rows, **settings: object) -> tuple[bytes, np.ndarray]:
    import lightgbm

    settings = {**OBJECTIVES[known.task][0], "verbosity": -1, "num_threads": 1, **settings}
    data = lightgbm.Dataset(known.matrix, known.label, feature_name=["x", "y_z", "n"])
    booster = lightgbm.train(settings, data, 12)
    return booster.model_to_string().encode(), np.asarray(booster.predict(known.matrix))


def adopted(folder: Path, content: bytes, name: str = "model.txt", **fields: object) -> Adopted:
    (folder / name).write_bytes(content)
    return Adopted(family="adopted", file=name, **fields)  # type: ignore[arg-type]


def fitted(recipe: Adopted, known: Rows, folder: Path):
    return recipe.fit(replace(known, folder=folder), None, seed=0, report=lambda *_: None)


@pytest.mark.parametrize("task", OBJECTIVES)
def test_lightgbm_is_answered_with_to_the_last_bit(task: str, tmp_path: Path) -> None:
    known = table(task)
    content, theirs = lightgbm_text(known)
    model = fitted(adopted(tmp_path, content), known, tmp_path)
    np.testing.assert_array_equal(model.predict(known.matrix), theirs)
    assert model.proof.distance == 0.0
    assert str(model.proof) == "says what LightGBM says of 400 rows, to the last bit"
    (tmp_path / "saved").mkdir()
    model.save(tmp_path / "saved")
    np.testing.assert_array_equal(Adopted.load(tmp_path / "saved").predict(known.matrix), theirs)
    shares = model.importance()
    assert max(shares, key=shares.__getitem__) == "y z"


@pytest.mark.parametrize("task", OBJECTIVES)
@pytest.mark.parametrize("ending", ["json", "ubj"])
def test_xgboost_is_answered_with_within_a_millionth(task: str, ending: str, tmp_path: Path) -> None:
    xgboost = pytest.importorskip("xgboost")
    known = table(task)
    data = xgboost.DMatrix(known.matrix, label=known.label, feature_names=list(NAMES))
    booster = xgboost.train({**OBJECTIVES[task][1], "verbosity": 0, "nthread": 1}, data, 12)  # of its own base score
    content = bytes(booster.save_raw(ending))
    model = fitted(adopted(tmp_path, content, f"model.{ending}"), known, tmp_path)
    np.testing.assert_allclose(model.predict(known.matrix), booster.predict(data), rtol=0, atol=1e-5)
    assert model.proof.distance is not None
    assert model.proof.distance <= 1e-6 * max(1.0, float(np.abs(booster.predict(data)).max()))
    (tmp_path / "saved").mkdir()
    model.save(tmp_path / "saved")
    np.testing.assert_array_equal(Adopted.load(tmp_path / "saved").predict(known.matrix), model.predict(known.matrix))


def test_more_trees_than_early_stopping_answers_with_are_refused() -> None:
    xgboost = pytest.importorskip("xgboost")
    known = table()
    data = xgboost.DMatrix(known.matrix, label=known.label)
    booster = xgboost.train({"objective": "binary:logistic", "nthread": 1}, data, 6)
    booster.set_attr(best_iteration="3")
    with pytest.raises(TrainingError, match=r"6 rounds, of which early stopping found 4.*booster\[: booster.best"):
        read_model(bytes(booster.save_raw("json")), "model.json")


@pytest.mark.parametrize("name", ["model.pkl", "model.joblib", "model.txt"])
def test_a_pickle_is_never_loaded(name: str) -> None:
    class Ends:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return exec, ("raise SystemExit('it ran')",)

    with pytest.raises(TrainingError, match=r"a pickle.*booster.save_model"):
        read_model(pickle.dumps(Ends()), name)


def test_a_damaged_or_foreign_file_is_said_before_a_library_sees_it() -> None:
    content, _ = lightgbm_text(table())
    for changed, said in {
        content[: len(content) // 3]: "it was cut off or edited",
        content.replace(b"\n", b"\r\n"): "begins with",
        content.replace(b"objective=binary sigmoid:1", b"objective=lambdarank"): "lambdarank",
        content.replace(b"pandas_categorical:null", b'pandas_categorical:[["a", "b"]]'): "type category",
        b"PK\x03\x04": "begins with",
        b'{"learner": 1}': "as XGBoost writes it",
    }.items():
        with pytest.raises(TrainingError, match=said):
            read_model(changed, "model.txt")


def test_other_features_classes_problems_and_files_are_refused(tmp_path: Path) -> None:
    known, several = table(), table("multiclass_classification")
    content, _ = lightgbm_text(known)
    recipe = adopted(tmp_path, content)
    for other, said in (
        (replace(known, features=("y z", "x", "n")), "x, y_z, n, found 3: y z, x, n|x, y_z, n.*y z, x, n"),
        (replace(known, categorical=("n",)), "codes of categories in n"),
        (replace(several, features=NAMES), "a model of a multiclass_classification.*one of a binary_classification"),
    ):
        with pytest.raises(TrainingError, match=said):
            fitted(recipe, other, tmp_path)
    three, _ = lightgbm_text(several)
    with pytest.raises(TrainingError, match=r"a model of 2 classes.*one of 3"):
        fitted(adopted(tmp_path, three, "three.txt"), replace(several, classes=("a", "b")), tmp_path)
    with pytest.raises(TrainingError, match=r"that was adopted.*another one"):
        fitted(recipe.model_copy(update={"sha256": hashlib.sha256(b"").hexdigest()}), known, tmp_path)


def foreign(folder: Path, until: str) -> tuple[bytes, list[str]]:
    """Train a model of rentals elsewhere: by LightGBM alone, on two columns."""
    import lightgbm

    usecase = load_use_case(str(folder))
    collected = rows(usecase, until)
    names = ["temp", "hum", "windspeed"]
    matrix = collected.select(names).cast(dict.fromkeys(names, pl.Float64)).to_numpy()
    label = collected[usecase.spec.label.column].to_numpy()
    settings = {"objective": "regression", "verbosity": -1, "num_threads": 1}
    return lightgbm.train(
        settings, lightgbm.Dataset(matrix, label, feature_name=names), 20
    ).model_to_string().encode(), names


def test_it_is_the_first_champion_and_a_candidate_challenges_it(
    make_use_case: Callable[..., Path], tmp_path: Path
) -> None:
    folder = make_use_case()
    content, names = foreign(folder, "2011-03-01")
    shutil.rmtree(folder)
    first = {"family": "adopted", "file": "model.txt", "sha256": hashlib.sha256(content).hexdigest()}
    changes = {"features": [{"numeric": names}], "model.first": first, "gates": [{"metric": "rmse", "max": 1000}]}
    folder = make_use_case(changes=changes)
    (folder / "model.txt").write_bytes(content)
    usecase = load_use_case(str(folder))
    bundle, judged, _ = released(usecase, rows(usecase, "2011-03-01"), tmp_path / "bundle")
    assert bundle.manifest.family == "adopted"
    assert (bundle.folder / "model.txt").read_bytes() == content
    assert judged.trained is not None
    assert "adopted: says what LightGBM says of" in judged.judgement.rationale
    assert challenging(bundle, usecase.spec).family == usecase.spec.model.candidates[0].family != "adopted"


def test_one_that_learns_nothing_is_no_candidate(make_use_case: Callable[..., Path]) -> None:
    with pytest.raises(UseCaseError, match="adopted learns nothing, and would challenge itself"):
        load_use_case(str(make_use_case(changes={"model.candidates": [{"family": "adopted", "file": "model.txt"}]})))
