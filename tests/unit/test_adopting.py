"""A model that was trained elsewhere and its table become a use case, or it is said why they do not."""

from __future__ import annotations

from pathlib import Path

import lightgbm
import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner, Result

from expectations.loading import load_use_case
from flows.cli import main
from tests.unit.test_adopted_onnx import classifier

ROWS = 700


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a table, and a model of it that was trained by LightGBM alone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DRIFTWHEEL_HOME", str(tmp_path / "home"))
    random = np.random.default_rng(3)
    x, y = random.normal(size=(2, ROWS)).round(3)
    hours = [f"2024-01-{1 + hour // 24:02d}T{hour % 24:02d}:00:00Z" for hour in range(ROWS)]
    late = (x + 0.5 * y + random.normal(size=ROWS) > 0.5).astype(int)
    words = np.array(["a", "b", "c"])[random.integers(0, 3, ROWS)]
    pl.DataFrame({"at": hours, "y y": y, "x": x, "word": words, "late": late}).write_csv("table.csv")
    trained("model.txt", ["x", "y y"], np.column_stack([x, y]), late)
    return tmp_path


def trained(name: str, features: list[str] | str, matrix: np.ndarray, label: np.ndarray) -> None:
    settings = {"objective": "binary", "verbosity": -1, "num_threads": 1}
    names = features if isinstance(features, str) else [each.replace(" ", "_") for each in features]
    lightgbm.train(settings, lightgbm.Dataset(matrix, label, feature_name=names), 10).save_model(name)


def adopt(*more: str, model: str = "model.txt", target: str = "late") -> Result:
    arguments = ["adopt", "taken", "--model", model, "--from", "table.csv", "--target", target, *more]
    return CliRunner().invoke(main, arguments)


def test_its_features_are_the_models_own_in_its_order(given: Path) -> None:
    found = adopt("--clock", "at")
    assert found.exit_code == 0, found.output
    assert "says what LightGBM says of 700 rows, to the last bit" in found.output
    usecase = load_use_case(str(given / "taken"))
    (step,) = usecase.spec.features
    assert step.makes() == ("x", "y y") or list(step.makes()) == ["x", "y y"]
    assert usecase.spec.model.first is not None
    assert usecase.spec.model.first.family == "adopted"
    assert usecase.spec.model.candidates[0].family == "lightgbm"
    assert (given / "taken" / "model.txt").read_bytes() == (given / "model.txt").read_bytes()
    assert CliRunner().invoke(main, ["check", "taken"]).exit_code == 0


def test_a_feature_that_looks_personal_is_said_and_its_values_are_not(given: Path) -> None:
    random = np.random.default_rng(4)
    phone = random.integers(6_000_000_000, 9_999_999_999, ROWS)
    table = pl.read_csv("table.csv").with_columns(phone=phone)
    table.write_csv("table.csv")
    trained("model.txt", ["x", "phone"], table.select("x", "phone").to_numpy(), table["late"].to_numpy())
    found = adopt("--clock", "at")
    assert found.exit_code == 0, found.output
    assert "phone: personal data? kept as it is, as the model reads it" in " ".join(found.output.split())
    personal = load_use_case(str(given / "taken")).spec.personal
    assert {name: str(how) for name, how in personal.items()} == {"phone": "keep"}
    written = "".join((given / "taken" / name).read_text() for name in ("usecase.yaml", "suite.yaml", "profile.html"))
    for value in (phone.min(), phone.max()):
        assert str(value) not in written
        assert f"{value:,}" not in written


def test_a_model_without_names_is_told_them(given: Path) -> None:
    table = pl.read_csv("table.csv")
    trained("bare.txt", "auto", table.select("x", "y y").to_numpy(), table["late"].to_numpy())
    refused = adopt(model="bare.txt")
    assert refused.exit_code == 1
    assert "--features COLUMN,COLUMN" in refused.output
    assert not (given / "taken").exists()
    assert adopt("--features", "x,y y", model="bare.txt").exit_code == 0
    assert load_use_case(str(given / "taken")).spec.model.first is not None


def test_a_column_named_twice_is_refused(given: Path) -> None:
    table = pl.read_csv("table.csv")
    trained("bare.txt", "auto", table.with_row_index().select("x", "y y", "index").to_numpy(), table["late"].to_numpy())
    found = adopt("--features", "x,y y,x", model="bare.txt")
    assert found.exit_code == 1
    assert "x named twice" in found.output
    assert not (given / "taken").exists()


@pytest.mark.parametrize(
    ("features", "target", "said"),
    [
        (["x", "z"], "late", "no column z"),
        (["x", "word"], "late", "word: text"),
        (["x", "late"], "late", "the target late among them"),
        (["x", "y y"], "x", "a model of a regression"),
        (["x", "y y"], "word", "a model of a multiclass_classification"),
    ],
)
def test_what_does_not_fit_the_table_is_said(features: list[str], target: str, said: str, given: Path) -> None:
    matrix = np.random.default_rng(1).normal(size=(ROWS, 2))
    trained("other.txt", features, matrix, (matrix[:, 0] > 0).astype(int))
    found = adopt(model="other.txt", target=target)
    assert found.exit_code == 1
    assert said in " ".join(found.output.split())
    assert not (given / "taken").exists()


def test_an_onnx_graph_says_which_of_two_words_is_positive(given: Path) -> None:
    table = pl.read_csv("table.csv")
    words = table.with_columns(late=pl.when(pl.col("late") == 1).then(pl.lit("early")).otherwise(pl.lit("late")))
    (given / "model.onnx").write_bytes(classifier(["early", "late"], zipmap=True))
    table.with_columns(words["late"], n=pl.col("x") * 2).write_csv("table.csv")
    found = adopt("--clock", "at", "--features", "x,y y,n", model="model.onnx")
    assert found.exit_code == 0, found.output
    assert "says what ONNX Runtime says of 700 rows" in found.output
    assert load_use_case(str(given / "taken")).spec.label.positive == "late"
    checked = CliRunner().invoke(main, ["check", "taken"])
    assert checked.exit_code == 0, checked.output
    assert "one prediction" in checked.output


def test_what_mlflow_writes_is_adopted_by_the_names_of_its_signature(given: Path) -> None:
    import mlflow.lightgbm
    from mlflow.models import infer_signature

    table = pl.read_csv("table.csv").select("y y", "x", "late")
    learnt = lightgbm.Dataset(table.select("y y", "x").to_numpy(), table["late"].to_numpy())
    booster = lightgbm.train({"objective": "binary", "verbosity": -1, "num_threads": 1}, learnt, 5)
    signature = infer_signature(table.select("y y", "x").to_pandas())
    mlflow.lightgbm.save_model(booster, "saved", signature=signature, pip_requirements=[])
    found = adopt("--clock", "at", model="saved")
    assert found.exit_code == 0, found.output
    assert "says what LightGBM says of 700 rows, to the last bit" in found.output
    (step,) = load_use_case(str(given / "taken")).spec.features
    assert list(step.makes()) == ["y y", "x"]
    assert (given / "taken" / "model.txt").read_bytes() == (given / "saved" / "model.lgb").read_bytes()
    assert not (given / "taken" / "MLmodel").exists()


def test_a_folder_without_a_description_says_which_is_meant(given: Path) -> None:
    (given / "other").mkdir()
    found = adopt(model="other")
    assert found.exit_code == 1
    assert "the file MLmodel in other" in " ".join(found.output.split())


def test_a_model_of_catboost_is_adopted_and_checked(given: Path) -> None:
    content = Path(__file__).parents[1] / "records" / "catboost" / "binary.json"
    (given / "model.json").write_bytes(content.read_bytes())
    words = pl.when(pl.col("late") == 1).then(pl.lit("late")).otherwise(pl.lit("early"))
    pl.read_csv("table.csv").with_columns(words.alias("late"), n=pl.col("x") * 2).write_csv("table.csv")
    found = adopt("--clock", "at", "--features", "x,y y,n", model="model.json")
    assert found.exit_code == 0, found.output
    assert load_use_case(str(given / "taken")).spec.label.positive == "late"
    assert (given / "taken" / "catboost.json").read_bytes() == content.read_bytes()
    checked = CliRunner().invoke(main, ["check", "taken"])
    assert checked.exit_code == 0, checked.output
    assert "one prediction" in checked.output
