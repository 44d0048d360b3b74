"""Classes may count more where a model learns; its probabilities are those of the classes' own shares."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from expectations.errors import TrainingError
from expectations.families import Family, Rows
from expectations.loading import LoadedUseCase, load_use_case
from tasks.bundles.row_frames import jsonable
from tasks.modelling.boosted_trees import LightGBM
from tasks.modelling.class_weights import PRIOR, Corrected, FittedPrior, correction, weights_of
from tasks.modelling.linear import Linear
from tasks.modelling.torch_mlp import TorchMLP
from tasks.training.contest import fit_family
from tests.conftest import needs_torch
from tests.unit.test_calibration import CLASSIFIER
from tests.unit.test_training import released, rows

Make = Callable[..., Path]


def weighed(make: Make, classes: object, **changes: object) -> LoadedUseCase:
    weights = {"model.weights": {"classes": classes}}
    return load_use_case(str(make(changes={**CLASSIFIER, **weights, **changes})))


def test_balanced_classes_count_alike_and_others_are_named() -> None:
    label = np.array([0.0] * 6 + [1.0] * 2 + [2.0])
    weights = weights_of("balanced", label, ("a", "b", "c"))
    np.testing.assert_allclose(weights * [6, 2, 1], 3)
    np.testing.assert_array_equal(weights_of({"c": 5.0}, label, ("a", "b", "c")), [1, 1, 5])
    with pytest.raises(TrainingError, match=r"classes of the label under `model.weights.classes`: a, b; found c\."):
        weights_of({"c": 5.0}, label, ("a", "b"))


def test_probabilities_are_divided_by_the_weights_of_their_classes() -> None:
    """Saerens et al. 2002, eq. 2.4."""
    random = np.random.default_rng(0)
    weights = np.array([1.0, 4.0, 0.5])
    true = random.dirichlet([1, 1, 1], 200)
    learnt = true * weights / (true * weights).sum(axis=1, keepdims=True)
    prior = correction(weights)
    found = prior.many(learnt)
    np.testing.assert_allclose(found, true, rtol=1e-12)
    assert [prior.one(row) for row in learnt.tolist()] == found.tolist()
    one = true[:, 1] * 4 / (true[:, 1] * 4 + 1 - true[:, 1])
    binary = correction(np.array([1.0, 4.0]))
    np.testing.assert_allclose(binary.many(one), true[:, 1], rtol=1e-12)
    assert [binary.one(each) for each in one.tolist()] == binary.many(one).tolist()
    assert np.isnan(binary.one(float("nan")))


def test_a_correction_that_is_right_stays_and_another_meets_the_share_of_each_class() -> None:
    """The mean of corrected probabilities is what was met, as the score equations of intercepts say."""
    weights, shares = np.array([1.0, 4.0, 0.5]), np.array([[0.8, 0.1, 0.1], [0.5, 0.2, 0.3]])
    label = np.concatenate([np.repeat(np.arange(3.0), counts) for counts in np.rint(shares * 100).astype(int)])
    true = np.repeat(shares, 100, axis=0)
    learnt = true * weights / (true * weights).sum(axis=1, keepdims=True)
    prior, alike = correction(weights), np.ones(200)
    np.testing.assert_allclose(prior.levelled(learnt, label, alike).offsets, prior.offsets, atol=1e-6)
    timid = learnt**0.3 / (learnt**0.3).sum(axis=1, keepdims=True)
    assert np.abs(prior.many(timid).mean(axis=0) - [0.65, 0.15, 0.2]).max() > 0.1
    np.testing.assert_allclose(
        prior.levelled(timid, label, alike).many(timid).mean(axis=0), [0.65, 0.15, 0.2], atol=1e-7
    )
    counted = np.where(label == 1, 2.0, 1.0)
    found = prior.levelled(timid, label, counted).many(timid)
    np.testing.assert_allclose(counted @ found / counted.sum(), np.array([130, 60, 40]) / 230, atol=1e-7)
    binary, positive = correction(np.array([1.0, 9.0])), (label == 1).astype(np.float64)
    moved = binary.levelled(timid[:, 1], positive, alike)
    assert moved.many(timid[:, 1]).mean() == pytest.approx(0.15, abs=1e-7)
    assert moved.offsets[0] == 0


def test_a_small_model_says_on_average_what_is_met(make_use_case: Make) -> None:
    """Few rounds on few rows, of which one in twenty is positive: by the weights alone it would say much too little."""
    random = np.random.default_rng(1)
    matrix = random.normal(size=(11_500, 6))
    chance = 1 / (1 + np.exp(3.6 - matrix[:, 0] - 0.6 * matrix[:, 1]))
    label = (random.random(len(chance)) < chance).astype(np.float64)
    learnt, classes = slice(None, 1500), ("0", "1")
    weight = weights_of("balanced", label[learnt], classes)
    names = tuple("abcdef")
    train = Rows(
        matrix[learnt], label[learnt], names, (), "binary_classification", classes, weight[label[learnt].astype(int)]
    )
    family = LightGBM(family="lightgbm", rounds=60, leaves=7, patience=None)
    fitted = fit_family(family, train, None, weighed(make_use_case, "balanced").spec, lambda *_: None)
    assert isinstance(fitted, Corrected)
    rest = slice(1500, None)
    raw = fitted.model.predict(matrix[rest])
    met, said, alone = label[learnt].mean(), fitted.predict(matrix[rest]).mean(), correction(weight).many(raw).mean()
    assert abs(said - met) < 0.15 * met, (met, said, alone)
    assert alone < 0.75 * met, (met, said, alone)


FAMILIES = [
    LightGBM(family="lightgbm", rounds=200, learning_rate=0.3, leaves=2, patience=None, min_rows_in_leaf=1),
    Linear(family="linear", l2=1e-6),
    pytest.param(
        TorchMLP(family="torch.mlp", hidden=(8,), epochs=100, batch_size=200, learning_rate=0.05, patience=None),
        marks=needs_torch,
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("task", ["binary_classification", "multiclass_classification"])
def test_each_family_learns_by_weight_and_says_what_is_met(make_use_case: Make, family: Family, task: str) -> None:
    classes, shares = ("0", "1"), [[0.9, 0.1], [0.6, 0.4]]
    if task.startswith("multi"):
        classes, shares = ("0", "1", "2"), [[0.8, 0.1, 0.1], [0.5, 0.2, 0.3]]
    counts = np.rint(np.array(shares) * 200).astype(int)
    side = np.repeat([0.0, 1.0], counts.sum(axis=1))
    label = np.concatenate([np.repeat(np.arange(len(classes)), each) for each in counts]).astype(np.float64)
    spec = weighed(make_use_case, "balanced").spec
    weight = weights_of("balanced", label, classes)[label.astype(int)]
    matrix = np.column_stack([side, np.zeros(len(side))])
    train = Rows(matrix, label, ("side", "none"), (), task, classes, weight / weight.mean())  # type: ignore[arg-type]
    fitted = fit_family(family, train, None, spec, lambda *_: None)
    assert isinstance(fitted, Corrected)
    each = matrix[[0, -1]]
    expected = np.array(shares)
    np.testing.assert_allclose(fitted.predict(each), expected if len(classes) > 2 else expected[:, 1], atol=0.03)
    assert np.abs(fitted.predict(each) - fitted.model.predict(each)).max() > 0.2


@pytest.mark.slow
@pytest.mark.parametrize("calibration", [None, "platt"])
def test_the_correction_is_in_the_bundle_behind_the_model_and_before_the_calibration(
    make_use_case: Make, tmp_path: Path, calibration: str | None
) -> None:
    small = {"family": "lightgbm", "rounds": 40, "leaves": 4, "patience": None}  # what it says of its own rows is fair
    changes: dict[str, object] = {"model.calibration": calibration, "model.candidates": [small]}
    usecase = weighed(make_use_case, {"1": 10.0}, **changes)
    frame = rows(usecase, "2011-04-01")
    bundle, _, again = released(usecase, frame, tmp_path / "bundle")
    assert PRIOR in bundle.manifest.files
    last = frame.tail(60)
    found = bundle.predict(last)
    np.testing.assert_array_equal(found, again.trained.predict(last, repaired=False))
    executor = bundle.program.compile()
    assert [bundle.predictor.predict_row(executor.one(row)) for row in jsonable(last)] == found.tolist()
    corrected = getattr(bundle.predictor, "predictor", None) if calibration else bundle.predictor
    assert isinstance(corrected.calibrator, FittedPrior)
    matrix = bundle.program.transform(frame)
    share = (frame["bikers"].to_numpy() > 150).mean()
    off, before = (abs(each.predict(matrix).mean() - share) for each in (corrected, corrected.predictor))
    assert off < before / 2, (off, before)
    added = corrected.contributions(matrix[:3]).sum(axis=-1)
    np.testing.assert_allclose(1 / (1 + np.exp(-added)), corrected.predict(matrix[:3]), rtol=1e-9)
