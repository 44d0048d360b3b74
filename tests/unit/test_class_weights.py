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
from tasks.modelling.class_weights import PRIOR, Corrected, CorrectedPredictor, correction, weights_of
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


FAMILIES = [
    LightGBM(family="lightgbm", rounds=200, learning_rate=0.3, leaves=2, patience=None, min_rows_in_leaf=1),
    Linear(family="linear", l2=1e-6),
    pytest.param(
        TorchMLP(family="torch.mlp", hidden=(8,), epochs=100, batch_size=200, learning_rate=0.05, patience=None),
        marks=needs_torch,
    ),
]


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
    assert isinstance(corrected, CorrectedPredictor)
    matrix = bundle.program.transform(frame)
    share = (frame["bikers"].to_numpy() > 150).mean()
    off, before = (abs(each.predict(matrix).mean() - share) for each in (corrected, corrected.predictor))
    assert off < before / 2, (off, before)
    added = corrected.contributions(matrix[:3]).sum(axis=-1)
    np.testing.assert_allclose(1 / (1 + np.exp(-added)), corrected.predict(matrix[:3]), rtol=1e-9)
