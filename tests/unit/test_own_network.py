"""A network of the use case's own: from its folder, once that is trusted, to a released model without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from expectations.code import Code, read_code
from expectations.errors import SourceError, TrainingError, UseCaseError
from expectations.families import Rows
from expectations.loading import LoadedUseCase, load_use_case
from expectations.windows import Window
from flows.checking import check_use_case
from flows.cli import main
from infra.settings import Settings
from tasks.bundles.bundle import load_bundle
from tasks.bundles.row_frames import jsonable
from tasks.modelling.torch_module import TorchModule
from tasks.stores.unfinished import keeping
from tasks.training.judging import judge
from tasks.training.trying import try_challenger
from tests.conftest import instant, needs_torch
from tests.unit.test_networks import odd, silent, some_rows
from tests.unit.test_training import released, rows

Make = Callable[..., Path]
pytestmark = needs_torch
OWN = """
import torch
from torch import nn
from .parts.blocks import block


class Own(nn.Module):
    def __init__(self, width, outputs, categories, hidden=16):
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(count + 1, 4) for count in categories.values())
        self.places = list(categories)
        self.numbers = [at for at in range(width) if at not in categories]
        self.layers = block(len(self.numbers) + 4 * len(categories), hidden)
        self.out = nn.Linear(hidden, outputs)

    def forward(self, rows):
        looked_up = [table(rows[:, at].long()) for at, table in zip(self.places, self.tables)]
        return self.out(self.layers(torch.cat([rows[:, self.numbers], *looked_up], dim=1)))


class Narrow(nn.Module):
    def __init__(self, width, outputs, categories):
        super().__init__()
        self.layer = nn.Linear(width, outputs + 1)

    def forward(self, rows):
        return self.layer(rows)


class Odd(Narrow):
    def forward(self, rows):
        return self.layer(rows)[:, :1] + torch.linalg.eigvals(rows[:, :1, None]).real


class Fixed(nn.Module):
    def __init__(self, width, outputs, categories):
        super().__init__()
        self.outputs = outputs

    def forward(self, rows):
        return rows[:, : self.outputs]


class Forked(nn.Module):
    def __init__(self, width, outputs, categories):
        super().__init__()
        self.layer = nn.Linear(width, outputs)

    def forward(self, rows):
        return self.layer(rows) if rows.abs().max() < 1.5 else -self.layer(rows)


class Mixed(Forked):
    def forward(self, rows):
        return self.layer(rows) - self.layer(rows).mean(dim=0)


class Unrolled(Forked):
    def forward(self, rows):
        return torch.stack([self.layer(row) for row in rows])


class Double(Forked):
    def forward(self, rows):
        return torch.erf(self.layer(rows).double()).float()


class Gappy(Forked):
    def forward(self, rows):
        found = super().forward(rows)
        return found if self.training else torch.where(rows[:, :1] > 0, found, found * torch.nan)


class Picky(Narrow):
    def forward(self, rows):
        if rows.abs().max() > 0:
            raise ValueError(f"cannot take {rows}")
        return self.layer(rows)[:, :1]


class Tied(nn.Module):
    def __init__(self, width, outputs, categories):
        super().__init__()
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)
        self.second.weight = self.first.weight
        self.out = nn.Linear(width, outputs)

    def forward(self, rows):
        return self.out(self.second(self.first(rows)))


class Leaving(nn.Module):
    def __init__(self, width, outputs, categories):
        raise SystemExit(3)


def nothing(width, outputs, categories):
    return None
"""
BLOCKS = """
from torch import nn


def block(width, hidden):
    return nn.Sequential(nn.Linear(width, hidden), nn.Tanh())
"""
LEARNS = {"epochs": 6, "batch_size": 64, "patience": None, "learning_rate": 0.01}
CANDIDATE = {"family": "torch.module", "module": "network:Own", "arguments": {"hidden": 8}, **LEARNS}


def write(folder: Path) -> Path:
    (folder / "parts").mkdir(parents=True, exist_ok=True)
    (folder / "network.py").write_text(OWN)
    (folder / "parts" / "blocks.py").write_text(BLOCKS)
    return folder


def having(folder: Path, given: Rows, call: str = "network:Own", *, trusted: bool = True) -> Rows:
    return replace(given, code=replace(read_code(write(folder), [call]), trusted=trusted))


def own(call: str = "network:Own", **fields: object) -> TorchModule:
    return TorchModule.model_validate({"family": "torch.module", "module": call, **LEARNS, **fields})


@pytest.mark.slow
@pytest.mark.parametrize("task", ["regression", "binary_classification", "multiclass_classification"])
def test_it_is_released_as_it_learnt_also_of_unknown_categories(task: str, tmp_path: Path) -> None:
    given = having(tmp_path / "folder", some_rows(task=task))
    fitted, again = (own().fit(given, None, seed=1, report=silent) for _ in range(2))
    expected = fitted.predict(odd(given))
    np.testing.assert_array_equal(again.predict(odd(given)), expected)
    fitted.save(tmp_path)
    predictor = TorchModule.load(tmp_path)
    np.testing.assert_allclose(predictor.predict(odd(given)), expected, rtol=1e-5, atol=1e-5)
    alone = np.array([predictor.predict_row(row) for row in odd(given).tolist()])
    np.testing.assert_allclose(alone, expected, rtol=1e-5, atol=1e-5)
    assert np.isfinite(expected).all()
    if task == "regression":  # in the label's unit, of which the network itself knows nothing
        longer = own(epochs=30).fit(given, None, seed=1, report=silent).predict(given.matrix)
        assert np.abs(longer - given.label).mean() < 0.3 * np.abs(given.label - given.label.mean()).mean()
        on = own(epochs=10).fit(given, None, seed=1, report=silent, start_from=tmp_path).predict(given.matrix)
        assert np.abs(on - given.label).mean() < np.abs(fitted.predict(given.matrix) - given.label).mean()


def test_layers_that_share_weights_are_released_and_go_on(tmp_path: Path) -> None:
    given = having(tmp_path / "folder", some_rows(), "network:Tied")
    fitted = own("network:Tied").fit(given, None, seed=1, report=silent)
    fitted.save(tmp_path)
    expected = fitted.predict(given.matrix)
    np.testing.assert_allclose(TorchModule.load(tmp_path).predict(given.matrix), expected, rtol=1e-4, atol=1e-4)
    still = own("network:Tied", optimizer="sgd", learning_rate=1e-30, epochs=1)
    on = still.fit(given, None, seed=2, report=silent, start_from=tmp_path)
    np.testing.assert_allclose(on.predict(given.matrix), expected, rtol=1e-4, atol=1e-4)
    layers = on.network.get_submodule("body")
    assert layers.get_parameter("first.weight") is layers.get_parameter("second.weight")


def test_its_first_weights_are_its_own(tmp_path: Path) -> None:
    given = having(tmp_path / "folder", some_rows())
    (tmp_path / "folder" / "network.py").write_text(
        OWN.replace(
            "self.out = nn.Linear(hidden, outputs)",
            "self.out = nn.Linear(hidden, outputs)\n        nn.init.zeros_(self.out.weight)",
        )
    )
    changed = replace(given, code=replace(read_code(tmp_path / "folder", ["network:Own"]), trusted=True))
    still = own(learning_rate=1e-30, epochs=1)
    assert np.ptp(still.fit(changed, None, seed=0, report=silent).predict(given.matrix)) == 0
    assert np.ptp(still.fit(given, None, seed=0, report=silent).predict(given.matrix)) > 0


def test_code_that_changed_begins_anew_after_a_kill(tmp_path: Path) -> None:
    given = having(tmp_path / "folder", some_rows())
    wider = replace(given, code=replace(given.code, files={**given.code.files, "more.py": b""}) if given.code else None)
    with keeping(tmp_path / "unfinished"):
        for each, files in ((given, 1), (given, 1), (wider, 2)):
            own(epochs=1).fit(each, None, seed=0, report=silent)
            assert len(list((tmp_path / "unfinished").glob("*.pt"))) == files


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("network:Narrow", r"raw scores of shape \(n_rows, 1\) from network:Narrow; found \(2, 2\) for 2 rows"),
        ("network:nothing", "an nn.Module from network:nothing; found NoneType"),
        ("network:Fixed", "an nn.Module with weights to learn from network:Fixed; found none"),
        ("network:Picky", r"found ValueError at network\.py:\d+"),
        ("network:Leaving", r"found SystemExit at network\.py:\d+"),
        ("network:Absent", "AttributeError at"),
        ("network:nn.ReLU", "TypeError at"),
        ("absent:Own", "ModuleNotFoundError at"),
    ],
)
def test_what_is_no_network_of_these_features_is_said(tmp_path: Path, call: str, said: str) -> None:
    with pytest.raises(TrainingError, match=said) as raised:
        own(call).fit(having(tmp_path, some_rows(), call), None, seed=0, report=silent)
    assert "cannot take" not in str(raised.value)  # which would show a row
    assert raised.value.__cause__ is None


def test_what_has_no_words_in_onnx_is_said(tmp_path: Path) -> None:
    given = having(tmp_path, some_rows(), "network:Odd")
    still = own("network:Odd", optimizer="sgd", learning_rate=1e-30, epochs=1)
    with pytest.raises(TrainingError, match="torch's ONNX exporter knows"):
        still.fit(given, None, seed=0, report=silent).save(tmp_path)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Forked", "answers to rows together that lie up to"),
        ("Gappy", "answers to rows"),
        ("Mixed", "answers to rows alone that lie up to"),
        ("Double", r"loaded by ONNX Runtime on a CPU .*; found .*NOT_IMPLEMENTED.*Erf"),
        ("Unrolled", "scores of|takes any number of rows"),
    ],
)
def test_what_leaves_as_another_network_is_refused(tmp_path: Path, name: str, said: str) -> None:
    """It was judged by the network, and answered by the graph."""
    given = having(tmp_path, some_rows(), f"network:{name}")
    with pytest.raises(TrainingError, match=said):
        own(f"network:{name}").fit(given, None, seed=0, report=silent).save(tmp_path)


@pytest.mark.parametrize(
    "name",
    ["EPFail", "Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NotImplemented", "RuntimeException"],
)
def test_whatever_the_runtime_refuses_a_graph_by_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    from onnxruntime.capi import onnxruntime_pybind11_state as failures

    def fail(_: object) -> None:
        raise getattr(failures, name)("it says so\nat great length")

    monkeypatch.setattr("tasks.modelling.fitted_network.OnnxPredictor", fail)
    fitted = own(epochs=1).fit(having(tmp_path, some_rows()), None, seed=0, report=silent)
    with pytest.raises(TrainingError, match=r"found it says so\. Where") as raised:
        fitted.save(tmp_path)
    assert "at great length" not in str(raised.value)


def test_an_exporter_that_says_nothing_is_told_by_its_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(TrainingError, match="found RuntimeError"):
        own().fit(having(tmp_path, some_rows()), None, seed=0, report=silent).save(tmp_path)


def test_only_what_is_declared_and_trusted_runs(tmp_path: Path) -> None:
    given = some_rows()
    with pytest.raises(SourceError, match="never trusted"):
        own().fit(having(tmp_path, given, trusted=False), None, seed=0, report=silent)
    for other in (given, having(tmp_path, given, "network:Narrow")):
        with pytest.raises(TrainingError, match="a network that the use case declares"):
            own().fit(other, None, seed=0, report=silent)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"module": "network"}, "module: "),
        ({"dropout": 0.5}, "give it to yours under `arguments`"),
        ({"loss": "mse", "module": "network:Own"}, "mse does not fit"),
    ],
)
def test_what_cannot_be_is_refused_before(make_use_case: Make, fields: dict[str, object], said: str) -> None:
    changes = {
        "task": "binary_classification",
        "label": {"column": "busy", "expression": "bikers > 150", "available_after": "1h"},
        "forbidden": ["bikers", "casual", "registered"],
        "gates": [{"metric": "roc_auc", "min": 0.5}],
        "monitoring.performance": [{"metric": "log_loss", "drop": 0.1}],
    }
    with pytest.raises(UseCaseError, match=said):
        load_use_case(str(make_use_case(changes={**changes, "model.candidates": [{**CANDIDATE, **fields}]})))


@pytest.mark.slow
def test_from_yaml_to_a_model_that_answers_without_torch(
    make_use_case: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRIFTWHEEL_HOME", str(tmp_path / "home"))
    folder = write(make_use_case(changes={"model.candidates": [CANDIDATE]}))
    findings = {each.what: each for each in check_use_case(Settings(), str(folder))}
    assert "never trusted, or that changed since: network.py, parts/blocks.py" in findings["trial"].found

    def add(*options: str) -> int:
        return CliRunner().invoke(main, ["add", *options, str(folder)]).exit_code

    assert add() == 1
    assert add("--trust") == 0
    assert all(each.good for each in check_use_case(Settings(), "rentals"))
    usecase: LoadedUseCase = Settings().use_case("rentals")
    frame = rows(usecase, "2011-03-01")
    bundle, judged, _ = released(usecase, frame, tmp_path / "bundle", judge(frame, usecase.spec, None))
    assert judged.judgement.metrics["rmse"] < 120
    asked = jsonable(frame.tail(5))
    (tmp_path / "asked.json").write_text(json.dumps(asked))
    (folder / "network.py").unlink()  # what answers needs none of it
    answer = """
import json, sys
sys.modules["torch"] = None
from pathlib import Path
from tasks.bundles.bundle import load_bundle
bundle = load_bundle(Path(sys.argv[1]), sys.argv[2])
executor = bundle.program.compile()
asked = json.loads(Path(sys.argv[3]).read_text())
print(json.dumps([bundle.predictor.predict_row(executor.one(row)) for row in asked]))
"""
    ran = subprocess.run(
        [sys.executable, "-c", answer, str(bundle.folder), bundle.digest, str(tmp_path / "asked.json")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(ran.stdout) == pytest.approx(bundle.predict(frame.tail(5)).tolist(), rel=1e-5)
    assert load_bundle(bundle.folder, bundle.digest).manifest.recipe["module"] == "network:Own"
    untrusted = Settings().use_case("rentals").spec
    with pytest.raises(SourceError, match="changed since"):
        judge(frame, untrusted, None)
    said: list[str] = []
    window = Window(instant("2011-03-01"), instant("2011-04-01"))
    later = rows(usecase, "2011-04-02")
    assert try_challenger(later, usecase.spec, window, bundle, "recipe", said.append) is not None
    assert try_challenger(later, untrusted, window, bundle, "recipe", said.append) is None
    assert "changed since" in "".join(said)  # the ledger says so, and deciding goes on


def test_code_goes_with_what_is_declared(make_use_case: Make) -> None:
    usecase = load_use_case(str(write(make_use_case(changes={"model.candidates": [CANDIDATE]}))))
    assert isinstance(usecase.code, Code)
    assert usecase.code.calls == ("network:Own",)
    assert usecase.spec.code is usecase.code
    trusting = usecase.having(replace(usecase.code, trusted=True)).renamed("another-replay")
    assert trusting.spec.code is trusting.code
    assert trusting.code is not None
    assert trusting.code.trusted
    with pytest.raises(TypeError, match="code"):  # there is one, and what is declared has it
        replace(usecase, code=None)
    assert replace(usecase, spec=trusting.spec).code is trusting.code
    assert load_use_case("bikes").spec.code is None
