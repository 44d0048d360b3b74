"""Encoders fine-tuned by low-rank adapters: what learns, what goes on after a kill, and what is released."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from expectations.errors import TrainingError
from expectations.families import Rows
from tasks.modelling.torch_text import TorchText
from tasks.stores.unfinished import keeping
from tests.conftest import needs_torch
from tests.unit.test_encoders import RECORDS, copied, rewritten
from tests.unit.test_networks import Killed, silent
from tests.unit.test_text_backbone import texts, tokenized

pytestmark = needs_torch
ADAPTERS = {"rank": 2, "alpha": 8, "dropout": 0.1, "targets": ["query", "key", "value", "output"]}


def declared(backbone: Path | str = RECORDS / "bert", **fields: object) -> TorchText:
    given = {"family": "torch.text", "backbone": str(backbone), "text": "t", "learning_rate": 0.02, "epochs": 6}
    return TorchText.model_validate_json(json.dumps(given | {"adapters": ADAPTERS, "patience": None} | fields))


@pytest.fixture(scope="module")
def train() -> Rows:
    return tokenized(texts(150))[1]


@pytest.fixture(scope="module")
def learnt(train: Rows):
    return declared().fit(train, None, seed=1, report=silent)


def test_adapters_and_head_learn_and_the_encoder_stays(train: Rows, learnt) -> None:
    from safetensors.torch import load_file

    held = learnt.network.state_dict()
    assert {name.split(".")[-1] for name in held} == {"down", "up", "weight", "bias", "backbone_digest"}
    assert sum("up" in name for name in held) == 2 * 4, "of two layers"
    layer = learnt.network.encoder.layers[0].query
    weight = load_file(RECORDS / "bert" / "model.safetensors")["encoder.layer.0.attention.self.query.weight"]
    np.testing.assert_array_equal(layer.weight, weight)
    assert layer.up.abs().max() > 0.001
    assert ((learnt.predict(train.matrix) > 0.5) == train.label).mean() > 0.95


def test_merged_it_answers_as_its_adapters_did(train: Rows, learnt) -> None:
    import torch

    from tasks.modelling.fitted_network import FittedNetwork

    before = FittedNetwork(learnt.network, learnt.recipe, train).predict(train.matrix)
    np.testing.assert_allclose(learnt.predict(train.matrix), before, rtol=0, atol=2e-6)
    layer = learnt.network.encoder.layers[0].query.eval()
    values = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        np.testing.assert_allclose(layer.merged()(values), layer(values), rtol=0, atol=1e-6)


def test_what_is_released_needs_neither_torch_nor_the_folder(tmp_path: Path, train: Rows, learnt) -> None:
    learnt.save(tmp_path)
    expected = learnt.predict(train.matrix[:5])
    np.testing.assert_array_equal(TorchText.load(tmp_path).predict(train.matrix[:5]), expected)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "backbone.json",
        "backbone.onnx",
        "linear.json",
        "weights.safetensors",
    ]
    code = (
        "import sys; sys.modules['torch'] = None; from pathlib import Path; "
        "from tasks.modelling.torch_text import TorchText; "
        f"print(TorchText.load(Path({str(tmp_path)!r})).predict_row({train.matrix[0].tolist()}))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(run.stdout) == expected[0]


def test_a_text_alone_is_answered_as_among_others_and_its_tokens_explained(train: Rows, learnt) -> None:
    alone = [learnt.predict_row(row) for row in train.matrix[:10].tolist()]
    np.testing.assert_array_equal(alone, learnt.predict(train.matrix[:10]))
    nothing = np.zeros((1, train.matrix.shape[1]))
    assert np.isfinite(learnt.predict(nothing)).all()
    added = learnt.contributions(train.matrix[:1])
    (raw,) = learnt.predict(train.matrix[:1])
    assert added.sum() == pytest.approx(np.log(raw / (1 - raw)))
    shown = learnt.importance()
    assert sum(shown.values()) == pytest.approx(1.0)
    assert shown["x"] < 0.2


def test_a_missing_text_teaches_and_is_answered(train: Rows) -> None:
    rows = replace(train, matrix=train.matrix.copy())
    rows.matrix[:5, :-1] = 0
    assert np.isfinite(declared(epochs=1).fit(rows, None, seed=0, report=silent).predict(rows.matrix)).all()


@pytest.mark.slow
@pytest.mark.parametrize("task", ["multiclass_classification", "regression"])
def test_other_tasks_have_a_head_of_their_own(train: Rows, task: str) -> None:
    three = np.arange(len(train.label)) % 3
    several = task == "multiclass_classification"
    label = three.astype(float) if several else 100 + 50 * train.label
    rows = replace(train, label=label, task=task, classes=("p", "q", "r") if several else ())
    found = declared(epochs=3).fit(rows, None, seed=0, report=silent).predict(rows.matrix)
    assert found.shape == ((len(label), 3) if several else (len(label),))
    if several:
        np.testing.assert_allclose(found.sum(axis=1), 1.0)
    else:
        assert 100 < found.mean() < 150, "in the label's unit"


def test_the_same_seed_learns_the_same(train: Rows, learnt) -> None:
    again, other = (declared().fit(train, None, seed=seed, report=silent).predict(train.matrix) for seed in (1, 2))
    np.testing.assert_array_equal(again, learnt.predict(train.matrix))
    assert not np.array_equal(again, other)


@pytest.mark.slow
def test_two_workers_learn_what_one_would(train: Rows) -> None:
    one, two = (
        declared(epochs=3, workers=workers, adapters=ADAPTERS | {"dropout": 0})
        .fit(train, None, seed=0, report=silent)
        .predict(train.matrix)
        for workers in (1, 2)
    )
    np.testing.assert_allclose(two, one, rtol=0, atol=1e-3)


@pytest.mark.slow
def test_after_a_kill_it_goes_on_from_small_checkpoints(
    tmp_path: Path, train: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks.modelling import checkpoints

    monkeypatch.setattr(checkpoints, "_SECONDS", 0.0)
    recipe, valid = declared(schedule="cosine", warm_up=1.0, clip=1.0, patience=5), tokenized(texts(60))[1]
    whole = recipe.fit(train, valid, seed=0, report=silent)

    def dies(epoch: int, _: object) -> None:
        if epoch == 3:
            raise Killed

    with pytest.raises(Killed), keeping(tmp_path):
        recipe.fit(train, valid, seed=0, report=dies)
    rates: list[float] = []
    with keeping(tmp_path):
        again = recipe.fit(train, valid, seed=0, report=lambda _, curve: rates.append(curve["learning_rate"]))
    assert len(rates) == 6
    assert rates[-1] < 1e-12 < rates[1], "half a cosine"
    np.testing.assert_array_equal(again.predict(train.matrix), whole.predict(train.matrix))


def test_checkpoints_and_a_warm_start_are_of_the_same_encoder_alone(tmp_path: Path, train: Rows) -> None:
    folder = copied(tmp_path / "bert")
    recipe = declared(folder, epochs=2)
    first = recipe.fit(train, None, seed=0, report=silent)
    first.save(tmp_path)
    losses: list[float] = []
    recipe.fit(train, None, seed=0, report=lambda _, curve: losses.append(curve["train_loss"]), start_from=tmp_path)
    from_start: list[float] = []
    recipe.fit(train, None, seed=0, report=lambda _, curve: from_start.append(curve["train_loss"]))
    assert losses[0] < from_start[0]
    begun = recipe.begins_with(None)
    rewritten(folder, lambda weights: {name: value * 1.01 for name, value in weights.items()})
    assert recipe.begins_with(None) != begun
    with pytest.raises(TrainingError, match=r"weights of the same layers.*beside another backbone's weights"):
        recipe.fit(train, None, seed=0, report=silent, start_from=tmp_path)


def test_a_challenger_goes_on_from_one_of_the_same_adapters() -> None:
    assert declared().continues(declared(learning_rate=0.1))
    assert not declared().continues(declared(adapters=ADAPTERS | {"rank": 3}))
    assert not declared().continues(declared("other"))


def test_rows_that_it_cannot_read_are_refused(train: Rows) -> None:
    recipe = declared(epochs=1)
    with pytest.raises(TrainingError, match=r"found categories: x.*Write `one_hot` or `frequency`"):
        recipe.fit(replace(train, categorical=("x",)), None, seed=0, report=silent)
    foreign = replace(train, matrix=np.where(train.matrix == 3, 21, train.matrix))
    with pytest.raises(TrainingError, match="own vocabulary of 20; found one with place 20"):
        recipe.fit(foreign, None, seed=0, report=silent)
    with pytest.raises(TrainingError, match="own vocabulary of 20; found one with place 20"):
        recipe.fit(train, foreign, seed=0, report=silent)
    with pytest.raises(TrainingError, match="the tokens of u among the features"):
        declared(text="u").fit(train, None, seed=0, report=silent)
    eleven = tokenized(texts(30), at_most=11)[1]
    with pytest.raises(TrainingError, match="at most 10 tokens of a text"):
        recipe.fit(eleven, None, seed=0, report=silent)
    gappy = replace(train, matrix=train.matrix.copy())
    gappy.matrix[0, -1] = np.nan
    with pytest.raises(TrainingError, match="gaps in x"):
        recipe.fit(gappy, None, seed=0, report=silent)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"adapters": {"rank": 0}}, "greater than or equal to 1"),
        ({"adapters": {"targets": []}}, "at least 1 item"),
        ({"adapters": {"targets": ["pooler"]}}, "'query', 'key', 'value' or 'output'"),
        ({"embedding": 4}, "embedding is of categories"),
    ],
)
def test_what_adapters_cannot_be_is_refused(fields: dict, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        declared(**fields)
