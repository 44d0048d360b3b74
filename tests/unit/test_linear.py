"""Linear models say what scikit-learn's say, one row as many to the last bit, and what each feature adds."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.compose import make_column_transformer
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from expectations.errors import BundleError, TrainingError
from expectations.families import Matrix, Rows
from tasks.modelling.linear import MODEL, FittedLinear, Linear

FEATURES = ("large", "small", "same", "gaps", "kind", "rare")
TASKS = ("binary_classification", "multiclass_classification", "regression")


def some_rows(task: str, count: int = 400, categories: bool = True) -> Rows:
    """Two numbers far from one, one that never varies, one with gaps, and codes of categories, -1 and gaps too."""
    random = np.random.default_rng(5)
    matrix = np.column_stack(
        [
            random.normal(1e6, 3e3, count),
            random.normal(0, 1e-4, count),
            np.full(count, 7.0),
            np.where(random.random(count) < 0.3, np.nan, random.normal(2, 1, count)),
            random.integers(-1, 4, count).astype(float),
            np.where(random.random(count) < 0.1, np.nan, random.integers(0, 12, count)),
        ]
    )
    signal = (matrix[:, 0] - 1e6) / 3e3 + 1e4 * matrix[:, 1] + (matrix[:, 4] == 2) + 2 * np.isnan(matrix[:, 3])
    signal += random.normal(0, 0.5, count)
    label, classes = {
        "binary_classification": ((signal > 0.5).astype(float), ("no", "yes")),
        "multiclass_classification": (np.digitize(signal, [-0.5, 0.5, 1.5]).astype(float), ("a", "b", "c", "d")),
        "regression": (20 + 3 * signal, ()),
    }[task]
    return Rows(matrix, label, FEATURES, ("kind", "rare") if categories else (), task, classes)


def fit(rows: Rows, l2: float = 1.0) -> FittedLinear:
    return Linear(family="linear", l2=l2).fit(rows, None, seed=0, report=lambda *_: None)


def theirs(rows: Rows, l2: float) -> Pipeline:
    """The pipeline that a user of scikit-learn would write."""
    numbers = [0, 1, 2, 3] if rows.categorical else [0, 1, 2, 3, 4, 5]
    prepared = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), numbers),
        (MissingIndicator(features="missing-only"), numbers),
        *([(OneHotEncoder(handle_unknown="ignore"), [4, 5])] if rows.categorical else []),
    )
    model = (
        Ridge(alpha=l2, tol=1e-10)
        if rows.task == "regression"
        else LogisticRegression(C=1 / l2, max_iter=5000, tol=1e-8)
    )
    return make_pipeline(prepared, model).fit(rows.matrix, rows.label)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("categories", [True, False])
@pytest.mark.parametrize("l2", [0.3, 30.0])
def test_it_is_the_pipeline_a_user_of_scikit_learn_would_write(task: str, categories: bool, l2: float) -> None:
    rows = some_rows(task, categories=categories)
    known, new = theirs(rows, l2), rows.matrix[:50].copy()
    new[:20, 4] = 9.0  # a category nobody saw
    new[20:, 0] += 5e4
    if task == "regression":
        expected = known.predict(new)
    else:
        expected = known.predict_proba(new)[:, 1] if task == "binary_classification" else known.predict_proba(new)
    np.testing.assert_allclose(fit(rows, l2).predict(new), expected, rtol=1e-5, atol=1e-5)


def odd(rows: Rows) -> Matrix:
    """Rows with gaps, unknown codes and values beyond all that was learnt from."""
    random = np.random.default_rng(1)
    values = [np.nan, 0.0, -0.0, 1e300, -1e300, 5e-324, 0.5, -1.0, 3.0, 1e6]
    chosen = random.choice(values, rows.matrix.shape)
    return np.where(random.random(rows.matrix.shape) < 0.3, chosen, rows.matrix)


@pytest.mark.parametrize("task", TASKS)
def test_saved_and_read_again_one_row_is_as_many_to_the_last_bit(task: str, tmp_path: Path) -> None:
    rows = some_rows(task)
    fitted = fit(rows)
    fitted.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [MODEL]
    loaded, asked = Linear.load(tmp_path), odd(rows)
    together = loaded.predict(asked)
    np.testing.assert_array_equal(together, fitted.predict(asked))
    np.testing.assert_array_equal(np.array([loaded.predict_row(row) for row in asked.tolist()]), together)
    np.testing.assert_array_equal(np.concatenate([loaded.predict(asked[i : i + 1]) for i in range(30)]), together[:30])
    assert loaded.predict(asked[:0]).shape == (0, *together.shape[1:])


def test_many_rows_are_added_up_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = some_rows("multiclass_classification")
    fitted = fit(rows)
    whole = fitted.predict(rows.matrix)
    monkeypatch.setattr("tasks.modelling.additive._BLOCK_SCORES", 100)
    np.testing.assert_array_equal(fitted.predict(rows.matrix), whole)


@pytest.mark.parametrize("task", TASKS)
def test_what_features_add_is_exact_and_nothing_on_average(task: str) -> None:
    rows = some_rows(task)
    fitted = fit(rows)
    added = fitted.contributions(rows.matrix).reshape(len(rows.matrix), -1, 7)
    np.testing.assert_allclose(added.sum(axis=-1), fitted.scores(rows.matrix), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(added[:, :, :-1].mean(axis=0), 0.0, atol=1e-12)
    assert fitted.explains == "score"
    shares = fitted.importance()
    assert list(shares)[:2] in (["large", "small"], ["small", "large"])
    assert shares["same"] == pytest.approx(0.0, abs=1e-12)


def test_a_missing_number_adds_what_its_gap_tells() -> None:
    rows = some_rows("regression", 4000)
    fitted, asked = fit(rows), np.tile(rows.matrix[np.isnan(rows.matrix[:, 3])][:1], (2, 1))
    asked[1, 3] = np.nanmean(rows.matrix[:, 3])
    missing, average = fitted.predict(asked)
    assert missing - average == pytest.approx(6.0, abs=0.3)  # 3 * 2 of the signal


def test_of_two_classes_told_apart_as_several_both_have_half() -> None:
    two = some_rows("binary_classification")
    several = Rows(two.matrix, two.label, two.features, two.categorical, "multiclass_classification", ("no", "yes"))
    one, both = fit(two), fit(several)
    np.testing.assert_allclose(both.predict(two.matrix)[:, 1], one.predict(two.matrix), rtol=1e-9)
    np.testing.assert_allclose(both.contributions(two.matrix)[:, 0], -both.contributions(two.matrix)[:, 1])


@pytest.mark.parametrize("task", TASKS)
def test_a_row_of_weight_two_is_two_rows(task: str) -> None:
    rows = some_rows(task)
    weight = np.random.default_rng(3).integers(1, 4, len(rows.label))
    again = np.repeat(np.arange(len(weight)), weight)
    weighted = fit(replace(rows, weight=weight.astype(float)))
    repeated = fit(replace(rows, matrix=rows.matrix[again], label=rows.label[again]))
    np.testing.assert_allclose(weighted.predict(rows.matrix), repeated.predict(rows.matrix), rtol=1e-5, atol=1e-5)
    plain = fit(rows).predict(rows.matrix)
    assert np.abs(weighted.predict(rows.matrix) - plain).max() > 1e-3


def test_a_feature_without_any_value_adds_nothing() -> None:
    rows = some_rows("regression")
    rows.matrix[:, [2, 5]] = np.nan
    fitted, asked = fit(rows), rows.matrix.copy()
    asked[:, [2, 5]] = 1e6
    np.testing.assert_array_equal(fitted.predict(asked), fitted.predict(rows.matrix))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        ({"label": np.zeros(400)}, "rows of all 2 classes; found rows of 1"),
        ({"matrix": np.full((400, 6), np.nan)}, "a feature with a value in some rows"),
        ({"matrix": np.tile([1e308, -1e308], (400, 3)) * np.linspace(-1, 1, 400)[:, None]}, "large that can be added"),
    ],
)
def test_hopeless_rows_are_refused(harm: dict[str, np.ndarray], message: str) -> None:
    rows = some_rows("binary_classification")
    given = {"matrix": rows.matrix, "label": rows.label, **harm}
    with pytest.raises(TrainingError, match=message):
        fit(Rows(given["matrix"], given["label"], FEATURES, (), rows.task, rows.classes))


def test_labels_too_large_to_be_added_up_are_refused_in_words() -> None:
    rows = some_rows("regression")
    huge = np.where(rows.label > np.median(rows.label), 1e308, -1e308)
    with pytest.raises(TrainingError, match="labels that can be squared and added up"):
        fit(replace(rows, label=huge))


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"numbers": [], "categories": [{"at": 0}]}'])
def test_a_file_that_holds_no_weights_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / MODEL).write_text(content)
    with pytest.raises(BundleError, match="the weights of a linear model"):
        Linear.load(tmp_path)


def test_rows_of_another_width_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="6 features in each row"):
        fit(some_rows("regression")).predict(np.zeros((2, 5)))


@pytest.mark.slow
def test_it_answers_without_what_it_learnt_with(tmp_path: Path) -> None:
    rows = some_rows("multiclass_classification")
    fitted = fit(rows)
    fitted.save(tmp_path)
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['sklearn', 'scipy', 'lightgbm'])); import json\n"
        "from pathlib import Path; from tasks.modelling.linear import Linear\n"
        f"print(json.dumps(Linear.load(Path({str(tmp_path)!r})).predict_row({rows.matrix[1, :5].tolist()} + [3.0])))"
    ).replace("nan", "float('nan')")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == fitted.predict_row([*rows.matrix[1, :5].tolist(), 3.0])


def test_classes_that_are_told_apart_surely_end_without_a_word() -> None:
    rows = some_rows("binary_classification")
    sure = Rows(rows.matrix[:, :2], (rows.matrix[:, 1] > 0).astype(float), FEATURES[:2], (), rows.task, rows.classes)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted = fit(sure, l2=1e-3)
    assert ((fitted.predict(sure.matrix) > 0.5) == (sure.label == 1)).mean() > 0.99
