"""What each feature does is measured by other rows' values, with as many predictions as can be waited for."""

import numpy as np
import pytest

from expectations.families import Rows
from tasks.modelling.importance import permuted
from tasks.modelling.torch_signals import TorchCNN
from tests.conftest import needs_torch


def asked(features: int, alone: int) -> tuple[dict[str, float], int]:
    """Return the shares of features of which the last alone matters, and how often was predicted."""
    calls = 0

    def predict(matrix: np.ndarray) -> np.ndarray:
        nonlocal calls
        calls += 1
        return matrix[:, -1]

    sample = np.random.default_rng(3).uniform(size=(20, features))
    found = permuted(predict, sample, [f"p{at}" for at in range(features)], alone=alone)
    return found, calls


@pytest.mark.parametrize(("features", "calls"), [(512, 513), (513, 65), (12_288, 65)])
def test_of_very_many_features_runs_of_neighbours_are_looked_at_together(features: int, calls: int) -> None:
    found, number = asked(features, 512)
    assert number == calls
    run = 1 if features <= 512 else features // 64
    assert sum(found.values()) == pytest.approx(1.0)
    moving = {name: share for name, share in found.items() if share}
    assert moving == pytest.approx({f"p{at}": 1 / run for at in range(features - run, features)})


@needs_torch
def test_a_network_of_many_pixels_predicts_a_few_dozen_times_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch import nn

    from tasks.modelling.fitted_network import FittedNetwork

    matrix = np.random.default_rng(5).uniform(size=(4, 1024))
    names = tuple(f"p{at}" for at in range(1024))
    rows = Rows(matrix, np.array([0.0, 1.0, 0.0, 1.0]), names, (), "binary_classification", ("0", "1"))
    network = FittedNetwork(nn.Linear(1024, 1), TorchCNN(family="torch.cnn", picture=(32, 32), channels=(2,)), rows)
    predict, calls = network.predict, list[int]()
    monkeypatch.setattr(network, "predict", lambda matrix: calls.append(len(matrix)) or predict(matrix))
    assert len(network.importance()) == 1024
    assert calls == [4] * 65
