"""What is declared of LightGBM reaches it, and what it would refuse, pass over or die of is refused before."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from expectations.errors import TrainingError, UseCaseError
from expectations.families import Matrix, Rows, Vector
from expectations.loading import load_use_case
from tasks.modelling import boosted_trees
from tasks.modelling.boosted_trees import MODEL, FittedTrees, LightGBM
from tasks.modelling.fewer_trees import FewerTrees
from tasks.modelling.processors import available_processors
from tasks.training.learning import learn
from tests.unit.test_training import rows

Make = Callable[..., Path]
HALVES = (slice(0, 2000), slice(2000, 4000))


def declared(**fields: Any) -> LightGBM:
    return LightGBM.model_validate({"family": "lightgbm", "rounds": 40, "patience": None, **fields})


def matrix(count: int = 4000) -> Matrix:
    return np.random.default_rng(0).normal(size=(count, 3))


def fit(candidate: LightGBM, label: Vector, task: str = "regression", categorical: tuple[str, ...] = ()) -> FittedTrees:
    rows = Rows(matrix(len(label)), label, ("x", "y", "n"), categorical, task)
    return candidate.fit(rows, None, seed=0, report=lambda *_: None)


def noise(count: int = 4000) -> Vector:
    return np.random.default_rng(1).normal(size=count)


def test_more_of_a_monotone_feature_only_raises_or_lowers() -> None:
    label = np.sin(3 * matrix()[:, 0]) + np.sin(3 * matrix()[:, 1]) + 0.3 * noise()
    grid = np.zeros((200, 3))
    grid[:, 0] = np.linspace(-3, 3, 200)
    free, bound = fit(declared(), label), fit(declared(monotone={"x": 1, "y": -1}), label)
    assert np.diff(free.predict(grid)).min() < -0.1
    assert np.diff(bound.predict(grid)).min() >= 0
    assert np.diff(bound.predict(grid[:, [1, 0, 2]])).max() <= 0
    assert np.ptp(bound.predict(grid)) > 0.1


def test_a_monotone_feature_that_was_not_selected_binds_nothing() -> None:
    label = matrix()[:, 0] + noise()
    assert np.ptp(fit(declared(monotone={"gone": 1}), label).predict(matrix())) > 1


def test_a_category_that_is_to_be_monotone_is_refused_and_ends_no_process() -> None:
    with pytest.raises(TrainingError, match="codes of categories in y"):
        fit(declared(monotone={"x": 1, "y": 1}), noise(), categorical=("y",))


def test_each_objective_predicts_what_it_is_for(tmp_path: Path) -> None:
    skewed = np.exp(noise())  # of median 1, and mean exp(1/2)
    flat = {"leaves": 2, "min_rows_in_leaf": 1500, "rounds": 200}
    expected = {
        "l2": ({}, np.exp(0.5)),
        "l1": ({}, 1.0),
        "poisson": ({}, np.exp(0.5)),
        "quantile": ({"alpha": 0.9}, np.exp(1.2816)),
    }
    for objective, (more, value) in expected.items():
        fitted = fit(declared(objective=objective, **flat, **more), skewed)
        assert np.mean(fitted.predict(matrix())) == pytest.approx(value, rel=0.08), objective
        fitted.save(tmp_path)
        loaded = LightGBM.load(tmp_path)
        np.testing.assert_array_equal(loaded.predict(matrix(500)), fitted.predict(matrix(500)))
        single = [loaded.predict_row(row) for row in matrix(50).tolist()]
        np.testing.assert_array_equal(single, fitted.predict(matrix(50)))


@pytest.mark.parametrize("metric", ["r2", "l2"])
def test_it_stops_where_the_metric_is_best_whichever_way_that_is(metric: str) -> None:
    label = matrix()[:, 0] + noise()
    train, valid = (Rows(matrix()[part], label[part], ("x", "y", "n"), (), "regression") for part in HALVES)
    curve: list[float] = []
    candidate = declared(rounds=80, patience=5, params={"metric": metric})
    fitted = candidate.fit(train, valid, seed=0, report=lambda _, values: curve.append(values[f"valid_{metric}"]))
    assert fitted.recipe.rounds == (np.argmax if metric == "r2" else np.argmin)(curve) + 1
    assert 5 < fitted.recipe.rounds < 75


def test_no_tree_is_left_out_by_losses_of_other_trees(tmp_path: Path) -> None:
    label = matrix()[:, 0] + noise()
    train, valid = (Rows(matrix()[part], label[part], ("x", "y", "n"), (), "regression") for part in HALVES)
    declared(rounds=5).fit(train, None, seed=0, report=lambda *_: None).save(tmp_path)
    going_on = declared(rounds=60, patience=5), declared(rounds=60, patience=5, compress={"to": "fewer_trees"})
    plain, smaller = (each.fit(train, valid, seed=0, report=lambda *_: None, start_from=tmp_path) for each in going_on)
    assert smaller.recipe.rounds == plain.recipe.rounds > 5


def test_what_is_declared_reaches_lightgbm(tmp_path: Path) -> None:
    candidate = declared(
        objective="huber", alpha=0.7, row_fraction=0.5, feature_fraction=0.6, l1=0.25, l2=0.5, min_gain=0.125
    )
    fit(candidate, noise()).save(tmp_path)
    said = set((tmp_path / MODEL).read_text().splitlines())
    assert said >= {
        "[objective: huber]",
        "[alpha: 0.7]",
        "[bagging_fraction: 0.5]",
        "[bagging_freq: 1]",
        "[feature_fraction: 0.6]",
        "[lambda_l1: 0.25]",
        "[lambda_l2: 0.5]",
        "[min_gain_to_split: 0.125]",
        "[num_threads: 0]",  # a model does not depend on where it was learnt
    }


def test_a_model_is_the_same_learnt_by_one_thread_or_by_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boosted_trees, "available_processors", lambda: 4)
    learnt = {}
    for count in (1, 4):
        fit(declared(leaves=15, params={"num_threads": count}), matrix()[:, 0] + noise()).save(tmp_path)
        learnt[count] = (tmp_path / MODEL).read_text()
    assert learnt[1].count("[num_threads: 1]") == 1
    assert learnt[1].replace("[num_threads: 1]", "[num_threads: 4]") == learnt[4]


@pytest.mark.parametrize(
    ("losses", "rounds", "max_loss", "length"),
    [
        ([5.0, 3.0, 2.03, 2.01, 2.0, 2.2], 5, 0.0, 5),
        ([5.0, 3.0, 2.03, 2.01, 2.0, 2.2], 5, 0.006, 4),
        ([5.0, 3.0, 2.03, 2.01, 2.0, 2.2], 5, 0.016, 3),
        ([5.0, 3.0, 2.03, 2.01, 2.0, 2.2], 5, 0.6, 2),
        ([-0.5, -0.79, -0.8], 3, 0.02, 2),  # of a metric that is greater where it is better
        ([np.nan, np.nan], 2, 0.5, 2),
    ],
)
def test_as_many_trees_stay_as_the_loss_needs(losses: list[float], rounds: int, max_loss: float, length: int) -> None:
    assert FewerTrees(to="fewer_trees", max_loss=max_loss).length(losses, rounds) == length


@pytest.mark.parametrize("params", [{}, {"objective": "binary", "metric": "auc"}, {"metric": "None"}])
def test_a_compressed_model_is_the_first_trees_of_the_whole(params: dict[str, str], tmp_path: Path) -> None:
    new = np.random.default_rng(9).normal(size=(2000, 3))
    label, truth = matrix()[:, 0] + noise(), new[:, 0] + np.random.default_rng(8).normal(size=2000)
    if "objective" in params:
        label, truth = (label > 0).astype(float), (truth > 0).astype(float)
    known, valid = (Rows(*each, ("x", "y", "n"), (), "regression") for each in ((matrix(), label), (new, truth)))
    whole, small = (
        declared(rounds=120, params=params, **more).fit(known, valid, seed=0, report=lambda *_: None)
        for more in ({}, {"compress": {"to": "fewer_trees", "max_loss": 0.05}})
    )
    assert not small.recipe.stops_early
    if params.get("metric") == "None":
        assert small.recipe.rounds == 120  # nothing tells how good it is
        return
    assert small.recipe.rounds < 60
    np.testing.assert_array_equal(small.predict(new), whole.booster.predict(new, num_iteration=small.recipe.rounds))
    small.save(tmp_path)
    np.testing.assert_array_equal(LightGBM.load(tmp_path).predict(new), small.predict(new))
    if not params:  # the loss is the squared error
        losses = [np.mean((fitted.predict(new) - truth) ** 2) for fitted in (whole, small)]
        assert losses[1] <= 1.05 * losses[0]
    else:
        assert roc_auc_score(truth, small.predict(new)) >= 0.95 * roc_auc_score(truth, whole.predict(new))
    assert declared(patience=None, compress={"to": "fewer_trees"}).stops_early


@pytest.mark.parametrize(
    ("fields", "task", "path", "why"),
    [
        ({"objective": "poisson"}, "binary_classification", "objective", "is one of regressions"),
        ({"objective": "quantile"}, "regression", "alpha", "say which quantile"),
        ({"objective": "quantile", "alpha": 1.5}, "regression", "alpha", "between 0 and 1"),
        ({"alpha": 0.5}, "regression", "alpha", "for the objectives huber and quantile"),
        ({"objective": "l1", "params": {"objective": "mape"}}, "regression", "params.objective", "leave out one"),
        ({"objective": "l1", "monotone": {"x": 1}}, "regression", "monotone", "cannot with l1"),
        ({"monotone": {"x": 1}}, "multiclass_classification", "monotone", "each class has a score of its own"),
        (
            {"compress": {"to": "fewer_trees"}, "params": {"boosting": "dart"}},
            "regression",
            "compress",
            "by those after",
        ),
        ({"params": {"n_jobs": 2}}, "regression", "params.n_jobs", "write num_threads"),
        ({"params": {"max_bins": 2}}, "regression", "params.max_bins", "write max_bin"),
        ({"params": {"max_detph": 2}}, "regression", "params.max_detph", "did you mean 'max_depth'?"),
        ({"params": {"quux": 2}}, "regression", "params.quux", "LightGBM has no such parameter"),
    ],
)
def test_what_lightgbm_would_refuse_or_pass_over_is_said_before(
    fields: dict[str, Any], task: str, path: str, why: str
) -> None:
    found = declared(**fields).misfits(task)
    assert list(found) == [path]
    assert why in found[path]


def test_what_fits_is_taken() -> None:
    assert not declared(params={"max_bin": 63, "boosting": "goss"}, monotone={"x": 1}).misfits("binary_classification")
    assert not declared(objective="huber").misfits("regression")
    assert not declared(objective="poisson", monotone={"x": -1}).misfits("regression")


@pytest.mark.parametrize(
    ("monotone", "why"),
    [
        ({"tmp": 1}, r"model.candidates.0.monotone.tmp: no feature of this name; did you mean 'temp'\?"),
        ({"weathersit": 1}, r"codes of categories have no order"),
        ({"temp": 2}, r"monotone"),
    ],
)
def test_a_feature_that_is_none_is_said_with_its_line(make_use_case: Make, monotone: dict[str, int], why: str) -> None:
    changes = {
        "features": [{"numeric": ["temp", "hum"]}, {"encode": ["weathersit"]}],
        "model.candidates": [{"family": "lightgbm", "monotone": monotone}],
    }
    with pytest.raises(UseCaseError, match=why) as raised:
        load_use_case(str(make_use_case(changes=changes)))
    assert all(problem.line for problem in raised.value.problems)


def test_codes_that_were_scaled_are_numbers(make_use_case: Make) -> None:
    changes = {"model.candidates": [{"family": "lightgbm", "monotone": {"weathersit": -1}}]}
    assert load_use_case(str(make_use_case(changes=changes))).spec.features  # bikes encodes it, and scales it then


def test_a_feature_whose_name_the_rows_tell_may_be_named(make_use_case: Make) -> None:
    changes = {
        "features": [{"numeric": ["temp"]}, {"one_hot": ["weathersit"]}],
        "model.candidates": [{"family": "lightgbm", "monotone": {"temp": 1, "weathersit=rain": -1}}],
    }
    assert load_use_case(str(make_use_case(changes=changes))).spec.features


def written(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize(
    ("own", "files", "count"),
    [
        ("0::/\n", {}, 8),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 8),
        ("0::/\n", {"cpu.max": "250000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "2000000 100000\n"}, 8),
        ("0::/a/b\n", {"a/cpu.max": "300000 100000\n", "a/b/cpu.max": "max 100000\n"}, 3),
        ("0::/of/the/host\n", {"cpu.max": "400000 100000\n"}, 4),
        (
            "5:memory:/\n4:cpu,cpuacct:/docker/1\n0::/\n",
            {"cpu/docker/1/cpu.cfs_quota_us": "600000", "cpu/docker/1/cpu.cfs_period_us": "100000"},
            6,
        ),
        ("4:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
    ],
)
def test_a_container_is_granted_what_its_control_groups_say(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, own: str, files: dict[str, str], count: int
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)), raising=False)
    groups = written(tmp_path / "groups", files)
    (tmp_path / "own").write_text(own)
    assert available_processors(groups, tmp_path / "own") == count
    assert available_processors(groups, tmp_path / "none") == 8


def test_trees_that_travel_answer_as_before(make_use_case: Make) -> None:
    usecase = load_use_case(str(make_use_case()))
    frame = rows(usecase, "2011-02-01")
    trained = learn(frame, usecase.spec)
    again = pickle.loads(pickle.dumps(trained))
    np.testing.assert_array_equal(again.predict(frame, repaired=True), trained.predict(frame, repaired=True))
    assert again.fitted.importance() == trained.fitted.importance()
