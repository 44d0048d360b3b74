"""One trainer learns every network: as declared, the same for a seed, and after a kill as if there was none."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from expectations.errors import TrainingError
from expectations.families import Matrix, Rows
from tasks.modelling.neural import Neural
from tasks.modelling.torch_mlp import TorchMLP
from tasks.modelling.torch_signals import TorchCNN, TorchRNN
from tasks.modelling.torch_transformer import TorchTransformer
from tasks.stores.unfinished import keeping
from tests.conftest import needs_torch

pytestmark = needs_torch
SMALL: dict[str, Any] = {"epochs": 4, "batch_size": 64, "patience": None, "learning_rate": 0.01}
MLP = TorchMLP(family="torch.mlp", hidden=(8,), **SMALL)
FAMILIES: list[Neural] = [
    MLP,
    TorchMLP(family="torch.mlp", hidden=(8, 8), dropout=0.2, normalisation="batch", clip=1.0, **SMALL),
    TorchMLP(family="torch.mlp", hidden=(8,), normalisation="layer", optimizer="sgd", momentum=0.9, **SMALL),
    TorchTransformer(family="torch.transformer", width=8, heads=2, layers=1, dropout=0.1, **SMALL),
    TorchCNN(family="torch.cnn", channels=(4, 8), **SMALL),
    TorchRNN(family="torch.rnn", width=6, layers=2, dropout=0.1, **SMALL),
    TorchRNN(family="torch.rnn", cell="lstm", width=6, **SMALL),
]
NAMES = ["mlp", "mlp-batch", "mlp-layer", "transformer", "cnn", "gru", "lstm"]


def some_rows(count: int = 600, task: str = "regression", seed: int = 0) -> Rows:
    """Three numbers and a category whose codes have an effect that no order of them has."""
    random = np.random.default_rng(seed)
    matrix = random.normal(size=(count, 4))
    matrix[:, 2] = random.integers(0, 5, count)
    signal = matrix[:, 0] - matrix[:, 1] + 3 * np.array([1.0, -1.0, 1.0, -1.0, 1.0])[matrix[:, 2].astype(int)]
    label = {
        "regression": 100 + 10 * signal,
        "binary_classification": (signal > 0).astype(float),
        "multiclass_classification": np.digitize(signal, [-1.0, 1.0]).astype(float),
    }[task]
    classes = {"binary_classification": ("0", "1"), "multiclass_classification": ("a", "b", "c")}.get(task, ())
    return Rows(matrix, label, ("x", "y", "kind", "z"), ("kind",), task, classes)


def silent(*_: object) -> None:
    """Report nothing."""


def odd(rows: Rows) -> Matrix:
    """Rows with categories that were not learnt."""
    asked = rows.matrix[:40].copy()
    asked[:10, 2], asked[10:20, 2], asked[20:25, 2] = np.nan, -1, 99
    return asked


@pytest.mark.slow
@pytest.mark.parametrize("task", ["regression", "multiclass_classification"])
@pytest.mark.parametrize("family", FAMILIES, ids=NAMES)
def test_what_is_released_answers_as_torch_did_also_of_unknown_categories(
    family: Neural, task: str, tmp_path: Path
) -> None:
    rows = some_rows(task=task)
    fitted = family.fit(rows, None, seed=0, report=silent)
    fitted.save(tmp_path)
    released = type(family).load(tmp_path)
    expected = fitted.predict(odd(rows))
    np.testing.assert_allclose(released.predict(odd(rows)), expected, rtol=1e-5, atol=1e-5)
    alone = np.array([released.predict_row(row) for row in odd(rows).tolist()])
    np.testing.assert_allclose(alone, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(expected[:10], fitted.predict(np.where(np.isnan(odd(rows)), -1, odd(rows)))[:10])


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES, ids=NAMES)
def test_the_same_seed_learns_the_same_and_goes_on_from_its_own_bundle(family: Neural, tmp_path: Path) -> None:
    rows = some_rows()
    one, two, other = (family.fit(rows, None, seed=seed, report=silent).predict(rows.matrix) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other)
    family.fit(rows, None, seed=1, report=silent).save(tmp_path)
    longer = family.fit(rows, None, seed=1, report=silent, start_from=tmp_path).predict(rows.matrix)
    assert np.abs(longer - rows.label).mean() < np.abs(one - rows.label).mean()
    assert family.continues(family)
    assert not family.continues(TorchMLP(family="torch.mlp", hidden=(99,)))


@pytest.mark.slow
def test_embeddings_learn_what_the_order_of_codes_does_not_say() -> None:
    rows = some_rows(2000)
    long = MLP.model_copy(update={"epochs": 30})
    error = np.abs(long.fit(rows, None, seed=0, report=silent).predict(rows.matrix) - rows.label).mean()
    plain = Rows(rows.matrix, rows.label, rows.features, (), rows.task)
    blind = np.abs(long.fit(plain, None, seed=0, report=silent).predict(rows.matrix) - rows.label).mean()
    assert error < 0.6 * blind


class Killed(BaseException):
    """As if the process had ended."""


@pytest.mark.slow
@pytest.mark.parametrize("family", [FAMILIES[1], FAMILIES[3]], ids=["mlp", "transformer"])
def test_after_a_kill_an_epoch_is_lost_at_most_and_the_network_is_the_same(
    family: Neural, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks.modelling import checkpoints

    monkeypatch.setattr(checkpoints, "_SECONDS", 0.0)
    longer = family.model_copy(update={"epochs": 8, "schedule": "plateau", "patience": 5})
    train, valid = some_rows(), some_rows(200, seed=1)
    whole_curve: list[float] = []
    whole = longer.fit(train, valid, seed=0, report=lambda _, curve: whole_curve.append(curve["valid_loss"]))

    def dies(epoch: int, _: object) -> None:
        if epoch == 5:
            raise Killed

    with pytest.raises(Killed), keeping(tmp_path / "unfinished"):
        longer.fit(train, valid, seed=0, report=dies)
    epochs: list[float] = []
    with keeping(tmp_path / "unfinished"):
        assert len(list((tmp_path / "unfinished").glob("*.pt"))) == 1
        again = longer.fit(train, valid, seed=0, report=lambda _, curve: epochs.append(curve["valid_loss"]))
        once_more: list[float] = []
        ended = longer.fit(train, valid, seed=0, report=lambda _, curve: once_more.append(curve["valid_loss"]))
    assert once_more == whole_curve  # killed after it had ended: nothing is learnt again
    np.testing.assert_array_equal(ended.predict(train.matrix), whole.predict(train.matrix))
    assert epochs == whole_curve
    assert again.recipe == whole.recipe
    np.testing.assert_array_equal(again.predict(train.matrix), whole.predict(train.matrix))


@pytest.mark.parametrize(
    ("fields", "shares"),
    [
        ({"schedule": "constant", "warm_up": 1.0}, [0.2, 0.4, 0.6, 0.8, 1, 1, 1]),
        ({"schedule": {"kind": "step", "every": 1, "factor": 0.5}}, [1, 1, 1, 1, 0.5, 0.5, 0.5]),
        ({"schedule": "cosine"}, [(1 + math.cos(math.pi * at / 39)) / 2 for at in range(7)]),
        (
            {"schedule": "one_cycle"},
            [1 / 25 + 24 / 25 * (1 - math.cos(math.pi * at / 39 / 0.3)) / 2 for at in range(7)],
        ),
        ({"schedule": "plateau"}, [0.01] * 7),
    ],
)
def test_the_learning_rate_goes_as_declared(fields: dict[str, Any], shares: list[float]) -> None:
    from tasks.modelling.learning_rates import learning_rate

    recipe = TorchMLP.model_validate({"family": "torch.mlp", "epochs": 10, "learning_rate": 2.0, **fields})
    found = [learning_rate(recipe, step, 4, drops=2) / 2.0 for step in range(7)]
    assert found == pytest.approx(shares)


def test_cosine_ends_at_nothing_and_one_cycle_is_highest_after_three_tenths() -> None:
    from tasks.modelling.learning_rates import learning_rate

    cosine, cycle = (
        TorchMLP(family="torch.mlp", epochs=10, learning_rate=1.0, schedule=k) for k in ("cosine", "one_cycle")
    )  # type: ignore[arg-type]
    assert learning_rate(cosine, 399, 40, 0) == pytest.approx(0.0, abs=1e-12)
    rates = [learning_rate(cycle, step, 40, 0) for step in range(400)]
    assert int(np.argmax(rates)) == pytest.approx(0.3 * 399, abs=1)
    assert max(rates) == pytest.approx(1.0, abs=1e-3)
    assert rates[-1] < rates[0]


def test_a_length_that_was_found_keeps_its_schedule() -> None:
    train, valid = some_rows(), some_rows(200, seed=1)
    cosine = MLP.model_copy(update={"schedule": "cosine", "epochs": 6, "patience": 1, "learning_rate": 0.2})
    rates: list[list[float]] = [[], []]
    fitted = cosine.fit(train, valid, seed=0, report=lambda _, curve: rates[0].append(curve["learning_rate"]))
    again = fitted.recipe.fit(train, None, seed=0, report=lambda _, curve: rates[1].append(curve["learning_rate"]))
    assert rates[1] == rates[0][: fitted.recipe.epochs]
    assert again.recipe == fitted.recipe
    np.testing.assert_array_equal(again.predict(train.matrix), fitted.predict(train.matrix))


@pytest.mark.slow
def test_plateau_drops_where_nothing_gets_better_and_the_recipe_keeps_when() -> None:
    train, valid = some_rows(), some_rows(200, seed=1)
    wild = {"learning_rate": 1.0, "epochs": 20, "schedule": {"kind": "plateau", "every": 1, "factor": 0.5}}
    recipe = TorchMLP.model_validate(
        {"family": "torch.mlp", "hidden": (8,), "batch_size": 32, "patience": None, **wild}
    )
    rates: list[float] = []
    fitted = recipe.fit(train, valid, seed=0, report=lambda _, curve: rates.append(curve["learning_rate"]))
    drops = fitted.recipe.scheduled.drops
    assert drops
    assert rates == [1.0 * 0.5 ** sum(at < epoch for at in drops) for epoch in range(1, 21)]


def test_a_clipped_gradient_moves_no_further() -> None:
    rows = some_rows()
    sgd = {"family": "torch.mlp", "hidden": (8,), "epochs": 1, "batch_size": 600, "optimizer": "sgd", "patience": None}
    free, bound, still = (
        TorchMLP.model_validate({**sgd, "learning_rate": 1.0, "clip": clip}).fit(rows, None, seed=0, report=silent)
        for clip in (None, 1e-3, 1e-9)
    )
    begun = still.predict(rows.matrix)
    assert (
        0 < np.abs(bound.predict(rows.matrix) - begun).mean() < 0.1 * np.abs(free.predict(rows.matrix) - begun).mean()
    )


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"schedule": "one_cycle", "warm_up": 2.0}, "begins low by itself"),
        ({"momentum": 0.9}, "momentum is of sgd; adam has its own"),
        ({"dropout": 1.0}, "less than 1"),
        ({"normalisation": "batch", "batch_size": 1}, "a batch of one row has no deviation; raise batch_size"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(fields: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        TorchMLP.model_validate({"family": "torch.mlp", **fields})


def test_gaps_in_numbers_are_refused_and_in_categories_learnt() -> None:
    rows = some_rows()
    rows.matrix[:50, 2] = np.nan
    assert np.isfinite(MLP.fit(rows, None, seed=0, report=silent).predict(rows.matrix)).all()
    rows.matrix[:3, 0] = np.nan
    with pytest.raises(TrainingError, match=r"no missing values where torch\.mlp learns; found gaps in x"):
        MLP.fit(rows, None, seed=0, report=silent)
    with pytest.raises(TrainingError, match=r"numbers where torch\.rnn learns; found categories alone"):
        FAMILIES[5].fit(
            Rows(rows.matrix[:, 2:3], rows.label, ("kind",), ("kind",), rows.task), None, seed=0, report=silent
        )


def watched(layer: Callable[[int], Any], seen: list[tuple[bool, int]]) -> Any:
    """Build networks that note whether they learn, and of how many rows at once."""
    from torch import Tensor, nn

    class Noting(nn.Module):
        def __init__(self, recipe: object, width: int, counts: object, outputs: int) -> None:
            super().__init__()
            self.body, self.last = layer(width), nn.Linear(width, outputs)

        def forward(self, given: Tensor) -> Tensor:
            seen.append((self.training, len(given)))
            answers: Tensor = self.last(self.body(given.nan_to_num()))
            return answers

    return Noting


def test_rows_that_judge_go_through_in_blocks_and_give_the_loss_of_all() -> None:
    from torch import nn

    from tasks.modelling import trainer

    seen: list[tuple[bool, int]] = []
    curve: list[float] = []
    train, valid = some_rows(), some_rows(9000, seed=1)
    once = MLP.model_copy(update={"epochs": 1})
    build = watched(lambda _: nn.Identity(), seen)
    fitted = trainer.fit(
        once, build, train, valid, seed=0, report=lambda _, each: curve.append(each["valid_loss"]), start_from=None
    )
    assert sum(rows for learns, rows in seen if not learns) == 9000
    assert max(rows for learns, rows in seen if not learns) <= 4096  # of attention memory goes with their number
    off = (fitted.predict(valid.matrix) - valid.label) / train.label.std()
    assert curve == [pytest.approx(np.square(off).mean(), rel=1e-4)]


def test_a_last_batch_of_one_row_is_left_out_where_a_network_normalises_batches_whatever_its_family() -> None:
    from torch import nn

    from tasks.modelling import trainer

    seen: list[tuple[bool, int]] = []
    once = MLP.model_copy(update={"epochs": 1})
    trainer.fit(once, watched(nn.BatchNorm1d, seen), some_rows(129), None, seed=0, report=silent, start_from=None)
    assert [rows for learns, rows in seen if learns] == [64, 64]
    seen.clear()
    plain = watched(lambda _: nn.Identity(), seen)
    trainer.fit(once, plain, some_rows(129), None, seed=0, report=silent, start_from=None)
    assert [rows for learns, rows in seen if learns] == [64, 64, 1]
