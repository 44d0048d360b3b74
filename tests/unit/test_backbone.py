"""A backbone stays as it was, its head learns, and both are released as files that run without torch."""

from pathlib import Path

import numpy as np
import pytest

import tasks.modelling
from expectations.errors import TrainingError
from expectations.families import Rows
from tasks.modelling.backbone import Backbone
from tasks.modelling.calibrated import CalibratedPredictor
from tasks.modelling.calibrations.platt import FittedPlatt

SMALLEST = Path(tasks.modelling.__file__).parent / "smallest_backbone.onnx"


def rows(number: int = 200, channels: int = 1, width: int = 3, height: int = 2) -> Rows:
    """Return pictures whose label is whether the two pixels in the middle column together are dark."""
    matrix = np.random.default_rng(4).uniform(size=(number, height * width * channels))
    dark = matrix.reshape(number, height, width, channels)[:, :, width // 2].sum(axis=(1, 2)) < channels
    names = tuple(f"p_{at}" for at in range(matrix.shape[1]))
    return Rows(matrix, dark.astype(np.float64), names, (), "binary_classification", ("0", "1"))


def declared(**fields: object) -> Backbone:
    made = {"family": "backbone", "backbone": "tasks.modelling:smallest_backbone.onnx", "picture": (3, 2), "l2": 0.01}
    return Backbone(**{**made, **fields})


def fitted(recipe: Backbone, train: Rows):
    return recipe.fit(train, None, seed=0, report=lambda *_: None)


def test_its_head_learns_and_it_answers_alike_wherever_it_is_loaded(tmp_path: Path) -> None:
    train = rows()
    found = fitted(declared(mean=(0.5,), spread=(0.25,)), train)
    assert ((found.predict(train.matrix) > 0.5) == train.label).mean() > 0.95
    found.save(tmp_path)
    assert (tmp_path / "backbone.onnx").read_bytes() == SMALLEST.read_bytes()
    loaded = Backbone.load(tmp_path)
    np.testing.assert_array_equal(loaded.predict(train.matrix), found.predict(train.matrix))
    alone = [loaded.predict_row(row) for row in train.matrix[:20].tolist()]
    np.testing.assert_array_equal(alone, loaded.predict(train.matrix[:20]))
    followed = CalibratedPredictor(loaded, FittedPlatt(slope=1.0, intercept=0.0))
    assert followed.alone == loaded.alone == 128, "calibrated or not, its pixels are explained alike"
    assert "more than 128 features" in followed.method
    shown = found.importance()
    assert shown["p_1"] + shown["p_4"] > 0.8  # the middle column


def test_pictures_reach_it_by_channels_lines_and_places() -> None:
    from tasks.modelling.backbone import embedder

    matrix = np.array([[0.1, 0.2, 0.3, 0.4, 0.5, 0.6]])
    seen = embedder(SMALLEST.read_bytes(), (3, 2, 1), (), ())(matrix)
    np.testing.assert_allclose(seen[0, :6], matrix[0], rtol=1e-6)  # its first channel leaves pixels as they are
    shifted = embedder(SMALLEST.read_bytes(), (3, 2, 1), (0.1,), (0.5,))(matrix)
    np.testing.assert_allclose(shifted[0, :6], (matrix[0] - 0.1) / 0.5, atol=1e-6)


def test_a_file_of_the_use_cases_folder_is_found(tmp_path: Path) -> None:
    (tmp_path / "own.onnx").write_bytes(SMALLEST.read_bytes())
    from dataclasses import replace

    train = replace(rows(), folder=tmp_path)
    found = fitted(declared(backbone="own.onnx"), train).predict(train.matrix)
    np.testing.assert_array_equal(found, fitted(declared(), train).predict(train.matrix))


@pytest.mark.parametrize(
    ("change", "channels", "said"),
    [
        ({"backbone": "none.onnx"}, 1, "no such file.*nothing is downloaded"),
        ({"backbone": "no_such_package_of_ours:x.onnx"}, 1, "no such package"),
        ({"backbone": "tasks.modelling:backbone.py"}, 1, "a backbone that ONNX Runtime loads"),
        ({}, 3, "a backbone that takes pictures of 3 × 2 × 3"),
        ({"picture": (2, 2)}, 1, "4 or 12 numbers, of a picture of 2 × 2"),
        ({"mean": (0.5,), "spread": (0.5,)}, 3, "3 numbers in `mean` and `spread`"),
    ],
)
def test_what_cannot_be_begun_with_is_refused(change: dict, channels: int, said: str) -> None:
    with pytest.raises(TrainingError, match=f"(?s){said}"):
        fitted(declared(**change), rows(channels=channels))


def test_rows_without_a_picture_are_refused() -> None:
    train = rows()
    train.matrix[3] = np.nan
    with pytest.raises(TrainingError, match="missing pixels"):
        fitted(declared(), train)
    with pytest.raises(ValueError, match="mean and spread are one number each"):
        declared(mean=(0.5,))
