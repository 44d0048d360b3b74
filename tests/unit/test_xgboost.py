"""XGBoost learns, and its JSON is run without it, equal to it to the last bit of its margins."""

import json
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from expectations.errors import BundleError, TrainingError
from expectations.families import Rows
from tasks.modelling import xgboost_family, xgboost_names
from tasks.modelling.calibrated import CalibratedPredictor
from tasks.modelling.calibrations.platt import FittedPlatt
from tasks.modelling.xgboost_family import XGBoost
from tasks.modelling.xgboost_trees import XGBoostTrees

CLASSES = {"binary_classification": ("no", "yes"), "multiclass_classification": ("a", "b", "c"), "regression": ()}


def rows(task: str, number: int = 600) -> Rows:
    """Return rows of which some values are missing, round, tiny, or too fine for 32 bits."""
    random = np.random.default_rng(1)
    matrix = random.normal(size=(number, 5))
    raw = matrix[:, 0] - 2 * matrix[:, 1]
    matrix[:, 2] = np.round(matrix[:, 2])
    matrix[:, 3] *= 1e-39  # among the smallest of 32 bits
    matrix[:, 4] = 1 + matrix[:, 4] * 1e-8
    matrix[random.random(matrix.shape) < 0.1] = np.nan
    label = {"regression": 100 + raw, "binary_classification": (raw > 0) * 1.0}.get(task, np.digitize(raw, [-1, 1]))
    return Rows(matrix, np.asarray(label, float), ("a", "b", "c", "d", "e"), (), task, CLASSES[task])


def fitted(train: Rows, valid: Rows | None = None, **fields: object):
    recipe = XGBoost(**{"family": "xgboost", "rounds": 30, "depth": 4, "patience": None, **fields})
    return recipe.fit(train, valid, seed=0, report=lambda *_: None)


@pytest.mark.parametrize("task", CLASSES)
def test_its_margins_are_xgboosts_to_the_last_bit(task: str, tmp_path: Path) -> None:
    import xgboost

    train = rows(task)
    found = fitted(train)
    found.save(tmp_path)
    loaded, theirs = XGBoost.load(tmp_path), xgboost.Booster(model_file=str(tmp_path / "xgboost.json"))
    margins = theirs.predict(xgboost.DMatrix(train.matrix), output_margin=True)
    np.testing.assert_array_equal(loaded.margins(train.matrix), margins.reshape(len(margins), -1))
    np.testing.assert_allclose(loaded.predict(train.matrix), theirs.predict(xgboost.DMatrix(train.matrix)), atol=1e-6)
    np.testing.assert_array_equal(loaded.predict(train.matrix), found.predict(train.matrix))
    alone = [loaded.predict_row(row) for row in train.matrix[:50].tolist()]
    np.testing.assert_array_equal(alone, loaded.predict(train.matrix[:50]))
    thresholds = {value for tree in _trees(tmp_path) for value in tree["split_conditions"]}
    probes = np.full((len(thresholds) * 3, 5), np.nan)  # at each threshold, just below and just above, in each column
    for at in range(5):
        values = np.array(sorted(thresholds), np.float32)
        near = [values, np.nextafter(values, np.float32(-np.inf)), np.nextafter(values, np.float32(np.inf))]
        probes[:, at] = np.random.default_rng(at).permutation(np.concatenate(near).astype(np.float64))
    margins = theirs.predict(xgboost.DMatrix(probes), output_margin=True)
    np.testing.assert_array_equal(loaded.margins(probes), margins.reshape(len(margins), -1))


def _trees(folder: Path) -> list[dict]:
    return json.loads((folder / "xgboost.json").read_bytes())["learner"]["gradient_booster"]["model"]["trees"]


def test_it_stops_where_nothing_gets_better_and_says_how_it_goes(tmp_path: Path) -> None:
    train, heard = rows("binary_classification"), list[float]()
    recipe = XGBoost(family="xgboost", rounds=200, learning_rate=0.5, patience=3)
    found = recipe.fit(
        train, rows("binary_classification", 200), seed=0, report=lambda _, v: heard.append(v["valid_loss"])
    )
    best = int(np.argmin(heard)) + 1
    assert found.recipe.rounds == best < 200
    assert not found.recipe.stops_early
    found.save(tmp_path)
    assert len(_trees(tmp_path)) == best
    shown = found.importance()
    assert set(shown) == set(train.features)
    assert max(shown, key=lambda name: shown[name]) == "b"
    again = found.recipe.fit(train, None, seed=0, report=lambda *_: None)
    np.testing.assert_array_equal(again.predict(train.matrix), found.predict(train.matrix))


def test_what_features_add_starts_from_the_average_training_row(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    matrix = np.column_stack([random.normal(50.0, 1.0, 800), random.normal(0, 1, 800), np.full(800, np.nan)])
    matrix[::7, 1] = np.nan
    found = fitted(Rows(matrix, 3 * matrix[:, 0], ("far", "near", "none"), (), "regression", ()), rounds=100)
    found.save(tmp_path)
    loaded = XGBoost.load(tmp_path)
    mean = [matrix[:, 0].mean(), np.nanmean(matrix[:, 1]), np.nan]
    np.testing.assert_allclose(loaded.base_row, mean)
    row = np.array([[52.0, 0.0, np.nan]])
    ((*added, base),) = loaded.contributions(row)
    assert base == pytest.approx(150.0, abs=0.5), "the mean of the labels"
    assert base == loaded.predict_row(mean)
    assert added == pytest.approx([6.0, 0.0, 0.0], abs=0.5)
    calibrated = CalibratedPredictor(loaded, FittedPlatt(slope=1.0, intercept=0.0))
    assert calibrated.base_row is loaded.base_row
    assert "permutations, against the average training row; of more" in loaded.method == calibrated.method
    (tmp_path / "base_row.json").unlink()  # of a bundle from before
    assert XGBoost.load(tmp_path).contributions(row)[0, -1] < 145.0, "of a row of zeros"


@pytest.mark.slow
def test_what_it_learnt_is_run_where_it_is_not_installed(tmp_path: Path) -> None:
    train = rows("regression")
    found = fitted(train)
    found.save(tmp_path)
    np.save(tmp_path / "rows.npy", train.matrix)
    code = """
import sys, numpy
sys.modules["xgboost"] = None
from pathlib import Path
from tasks.modelling.xgboost_family import XGBoost
folder = Path(sys.argv[1])
numpy.save(folder / "said.npy", XGBoost.load(folder).predict(numpy.load(folder / "rows.npy")))
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, cwd=Path(__file__).parents[2])
    np.testing.assert_array_equal(np.load(tmp_path / "said.npy"), found.predict(train.matrix))


@pytest.mark.parametrize(
    ("change", "fields", "said"),
    [
        ({"categorical": ("c",)}, {}, "codes of categories in c"),
        ({}, {"params": {"max_bin": -1}}, "settings and rows XGBoost accepts"),
        ({"matrix": np.full((600, 5), 1e300)}, {}, "settings and rows XGBoost accepts"),
    ],
)
def test_what_it_cannot_learn_is_refused(change: dict, fields: dict, said: str) -> None:
    from dataclasses import replace

    with pytest.raises(TrainingError, match=said):
        fitted(replace(rows("regression"), **change), **fields)


def test_without_the_extra_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xgboost_family, "find_spec", lambda _: None)
    with pytest.raises(TrainingError, match=r"driftwheel\[xgboost\]"):
        fitted(rows("regression"))


def test_settings_that_decide_how_trees_are_run_are_refused() -> None:
    recipe = XGBoost(family="xgboost", params={"booster": "dart", "max_bin": 64})
    assert recipe.misfits("regression") == {"params.booster": "it follows from the task; leave it out"}
    assert XGBoost(family="xgboost").misfits("counts") == {"family": "xgboost has no objective for counts"}


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"max_detph": 2}, "did you mean 'max_depth'?"),
        ({"eta": 0.5}, "write learning_rate, which it is another name of"),
        ({"reg_lambda": 5.0}, "write lambda"),
        ({"disable_default_eval_metric": True}, "leave it out"),
        ({"multi_strategy": "multi_output_tree"}, "a tree has one output"),
        ({"updater": "prune"}, "grown anew"),
        ({"n_estimators": 50}, "write `rounds`"),
        ({"scale_pos_weight": 3.0}, "write `model.weights`"),
        ({"max_cat_to_onehot": 3}, "XGBoost has no such setting for trees of numbers"),
    ],
)
def test_settings_that_it_would_pass_over_or_end_by_are_said_before(params: dict, said: str) -> None:
    found = XGBoost(family="xgboost", params={**params, "max_leaves": 8}).misfits("multiclass_classification")
    assert list(found) == [f"params.{name}" for name in params]
    assert said in "".join(found.values())


def test_every_setting_that_is_passed_on_is_used() -> None:
    import xgboost

    texts = {"device": "cpu", "grow_policy": "lossguide", "sampling_method": "uniform", "tree_method": "hist"}
    texts |= {"interaction_constraints": "[[0, 1]]", "monotone_constraints": "(1, 0)"}
    settings = {name: texts.get(name, 2 if name == "max_bin" else 1) for name in xgboost_names._NAMES}
    assert XGBoost(family="xgboost", params=settings).misfits("regression") == {}
    data = xgboost.DMatrix(np.eye(8, 2), label=np.arange(8) % 2)
    for objective in ("binary:logistic", "reg:squarederror"):
        with warnings.catch_warnings():  # of one that is passed over it warns
            warnings.simplefilter("error")
            xgboost.train({**settings, "objective": objective, "validate_parameters": True, "verbosity": 1}, data, 1)
    with pytest.warns(UserWarning, match="max_detph"):
        xgboost.train({"max_detph": 2, "validate_parameters": True, "verbosity": 1}, data, 1)


def test_trees_of_another_kind_are_refused() -> None:
    tree = {"left_children": [-1], "right_children": [-1], "split_type": [0]}
    tree |= {"split_indices": [0], "split_conditions": [0.5], "default_left": [0]}
    learner = {
        "gradient_booster": {"name": "gbtree", "model": {"trees": [tree], "tree_info": [0]}},
        "learner_model_param": {"base_score": "[5E-1]", "num_class": "0", "num_feature": "2"},
        "objective": {"name": "binary:logistic"},
    }
    assert XGBoostTrees(json.dumps({"learner": learner}).encode()).predict(np.zeros((1, 2))) == pytest.approx(
        [0.6225], abs=1e-4
    )
    for change in (
        {"objective": {"name": "rank:ndcg"}},
        {"gradient_booster": {"name": "dart", "model": {}}},
        {"learner_model_param": learner["learner_model_param"] | {"base_score": "3E-1"}},
    ):
        with pytest.raises(BundleError):
            XGBoostTrees(json.dumps({"learner": learner | change}).encode())
