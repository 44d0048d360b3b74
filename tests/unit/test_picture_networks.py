"""Networks over pixels: they see where things are, learn from changed pictures and answer about unchanged ones."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from expectations.errors import TrainingError
from expectations.families import Rows
from tasks.modelling.predictors import BatchPredictor, OnnxPredictor
from tasks.modelling.torch_signals import TorchCNN
from tests.conftest import needs_torch

pytestmark = needs_torch
WIDTH, HEIGHT = 6, 4
EXPLAIN = """
import sys
from pathlib import Path
import numpy as np
from infra.serving.explanations import MEMORY
from infra.serving.helper_process import bound_memory
from tasks.modelling.predictors import OnnxPredictor

folder = Path(sys.argv[1])
predictor, picture = OnnxPredictor(folder / "model.onnx"), np.load(folder / "picture.npy")
bound_memory(MEMORY)
np.save(folder / "found.npy", predictor.contributions(picture))
"""


def corners(number: int, channels: int = 1) -> Rows:
    """Return dim noise with a bright spot; the label says whether it is in the upper left quarter."""
    random = np.random.default_rng(3)
    pictures = random.uniform(0, 0.2, (number, HEIGHT, WIDTH, channels))
    lines, places = random.integers(0, HEIGHT, number), random.integers(0, WIDTH, number)
    pictures[np.arange(number), lines, places] = 1.0
    label = ((lines < HEIGHT // 2) & (places < WIDTH // 2)).astype(np.float64)
    names = tuple(f"p_{at}" for at in range(WIDTH * HEIGHT * channels))
    return Rows(pictures.reshape(number, -1), label, names, (), "binary_classification", ("0", "1"))


def cnn(**fields: object) -> TorchCNN:
    declared = {"picture": (WIDTH, HEIGHT), "channels": (8,), "epochs": 15, "learning_rate": 0.01, "patience": None}
    return TorchCNN(family="torch.cnn", **{**declared, **fields})


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3])
def test_it_learns_where_something_is_and_is_released_as_it_learnt(tmp_path: Path, channels: int) -> None:
    rows = corners(400, channels)
    fitted = cnn().fit(rows, None, seed=1, report=lambda *_: None)
    fresh = corners(600, channels)
    right = (fitted.predict(fresh.matrix) > 0.5) == fresh.label
    assert right.mean() > 0.95  # a quarter of the spots are in that corner: 0.75 by always saying no
    fitted.save(tmp_path)
    released = OnnxPredictor(tmp_path / "model.onnx")
    np.testing.assert_allclose(released.predict(rows.matrix), fitted.predict(rows.matrix), atol=1e-5)
    assert set(fitted.importance()) == set(rows.features)


def test_pictures_are_changed_where_it_learns_by_the_seed_and_never_where_it_answers() -> None:
    rows = corners(64)

    def found(seed: int, *changes: str) -> np.ndarray:
        fitted = cnn(epochs=2, augment=changes).fit(rows, None, seed=seed, report=lambda *_: None)
        answers = fitted.predict(rows.matrix)
        np.testing.assert_array_equal(answers, fitted.predict(rows.matrix))
        return answers

    plain = found(1)
    every = ("rotate", "shift", "crop", "flip", "noise")
    changed = found(1, *every)
    np.testing.assert_array_equal(changed, found(1, *every))
    for change in every:
        assert not np.array_equal(found(1, change), plain), change


def test_each_change_keeps_a_picture_that_looks_the_same_whichever_way() -> None:
    import torch

    from tasks.modelling.augmentation import augment

    with torch.random.fork_rng():
        torch.manual_seed(0)
        even = torch.full((5, 2, 7, 9), 0.3)
        torch.testing.assert_close(augment(even, ("rotate", "shift", "crop", "flip", "noise")), even)
        steps = torch.arange(9.0).expand(4, 1, 7, 9)
        turned = augment(steps, ("flip",))
        assert all(torch.equal(each, steps[0]) or torch.equal(each, steps[0].flip(2)) for each in turned)
        moved = augment(steps, ("shift",)) - steps
        assert moved.abs().max() <= 0.1 * 9 + 1e-4  # by a tenth of the width at most, one a place
        middle = augment(steps, ("crop",))[:, 0, 3, 4]
        torch.testing.assert_close(middle, torch.full((4,), 4.0))


def test_numbers_that_are_no_picture_of_that_size_are_refused() -> None:
    rows = corners(20)
    with pytest.raises(TrainingError, match="35 or 105 numbers, of a picture of 5 × 7 pixels"):
        cnn(picture=(5, 7)).fit(rows, None, seed=0, report=lambda *_: None)
    with pytest.raises(ValueError, match="augment is of pictures"):
        cnn(picture=None, augment=("flip",))


def test_of_many_features_neighbours_share_what_they_add_and_all_add_up() -> None:
    class Line(BatchPredictor):
        def predict(self, matrix: np.ndarray) -> np.ndarray:
            return np.tanh(matrix[:, :8].sum(axis=1)) + matrix[:, -1]

    rows = np.random.default_rng(0).normal(size=(2, 2048))
    few = Line().contributions(rows[:, :1024])  # a wide table may have as many: each has its own
    assert np.count_nonzero(few[:, :-1]) == 2 * 9
    line = Line()
    assert "of more than 1,024 features 128 runs of neighbours" in line.method
    line.alone, line.base_row = 7, np.ones(3)
    assert "permutations, against the average training row; of more than 7 features" in line.method
    found = Line().contributions(rows)
    np.testing.assert_allclose(found.sum(axis=1), Line().predict(rows), atol=1e-12)
    np.testing.assert_allclose(found[:, :8], np.tanh(rows[:, :8].sum(axis=1))[:, None].repeat(8, axis=1) / 16)
    assert not found[:, 16:-17].any()


@pytest.mark.slow
def test_a_large_picture_is_explained_within_the_memory_of_the_process_that_explains(tmp_path: Path) -> None:
    pictures = np.random.default_rng(1).uniform(size=(12, 64 * 64 * 3))
    names = tuple(f"p_{at}" for at in range(pictures.shape[1]))
    rows = Rows(pictures, np.arange(12) % 2 * 1.0, names, (), "binary_classification", ("0", "1"))
    fitted = cnn(picture=(64, 64), channels=(2,), epochs=1).fit(rows, None, seed=0, report=lambda *_: None)
    fitted.save(tmp_path)
    np.save(tmp_path / "picture.npy", pictures[:1])
    here = OnnxPredictor(tmp_path / "model.onnx").contributions(pictures[:1])
    ran = subprocess.run([sys.executable, "-c", EXPLAIN, tmp_path], capture_output=True)
    assert (ran.returncode, ran.stderr.decode()) == (0, "")
    assert np.load(tmp_path / "found.npy").tobytes() == here.tobytes()
