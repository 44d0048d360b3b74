"""A challenger goes on from the champion where that is at least as good as a cold start and forgets little."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from expectations.errors import UseCaseError
from expectations.loading import LoadedUseCase, load_use_case
from tasks.training import warm
from tasks.training.judging import judge
from tasks.training.learning import Trained, learn
from tasks.training.warm import _hindrance, with_declaration
from tests.conftest import needs_torch
from tests.unit.test_calibration import CLASSIFIER
from tests.unit.test_training import released, rows

Make = Callable[..., Path]
TREES = {"family": "lightgbm", "rounds": 40, "leaves": 7, "patience": None}
NETWORK = {"family": "torch.mlp", "hidden": [16], "epochs": 8, "patience": None, "batch_size": 64}
EASY = {"length": 1.0, "max_forgotten": 10.0}


def declared(make: Make, name: str, **model: object) -> LoadedUseCase:
    changes = {f"model.{key}": value for key, value in model.items()}
    return load_use_case(str(make(name, changes={"evaluation.min_rows": 100, **changes})))


@pytest.mark.slow
@pytest.mark.parametrize("candidate", [TREES, pytest.param(NETWORK, marks=needs_torch)], ids=["trees", "network"])
def test_the_champion_goes_on_with_what_is_new(
    make_use_case: Make, tmp_path: Path, candidate: dict[str, object]
) -> None:
    usecase = declared(make_use_case, "rentals", candidates=[candidate], start=EASY)
    spec = usecase.spec
    champion, first, _ = released(usecase, rows(usecase, "2011-03-15"), tmp_path / "champion")
    assert first.trained is not None
    assert first.trained.start is None
    frame = rows(usecase, "2011-06-01")
    judged = judge(frame, spec, champion)
    assert judged.trained is not None
    start = judged.trained.start
    assert start is not None
    assert start.kind == "warm", start.why
    assert start.measured["warm_rmse"] <= start.measured["cold_rmse"]
    assert judged.trained.program == champion.program
    assert "warm start: rmse warm" in judged.judgement.rationale
    bundle, *_ = released(usecase, frame, tmp_path / "warm", judged)
    assert bundle.recipe == judged.trained.recipe  # what learns as much from the start, as trials do
    new = frame.tail(500)
    errors = [float(np.abs(each.predict(new) - new["bikers"].to_numpy()).mean()) for each in (champion, bundle)]
    assert errors[1] < errors[0]
    if candidate is TREES:
        trees = [(each.folder / "model.txt").read_text().count("\nTree=") for each in (champion, bundle)]
        assert trees == [40, 80]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("then", "why"),
    [
        ({"start": {"length": 1.0, "max_forgotten": 0.0}}, "% forgotten"),
        (
            {"start": "warm", "candidates": [{**TREES, "objective": "l1"}]},
            "does not go on from the champion's lightgbm",
        ),
        ({"start": "warm", "validation": 0.01}, "new rows to go on with and"),
    ],
)
def test_where_it_cannot_or_is_worse_it_starts_cold_and_says_why(
    make_use_case: Make, tmp_path: Path, then: dict[str, object], why: str
) -> None:
    before = declared(make_use_case, "rentals", candidates=[TREES])
    champion, _, _ = released(before, rows(before, "2011-03-15"), tmp_path / "champion")
    usecase = declared(make_use_case, "later", **{"candidates": [TREES], **then})
    judged = judge(rows(usecase, "2011-06-01"), usecase.spec, champion)
    assert judged.trained is not None
    assert judged.trained.start is not None
    assert judged.trained.start.kind == "cold"
    assert why in judged.trained.start.why
    assert judged.trained.again is None


def test_other_features_start_cold(make_use_case: Make, tmp_path: Path) -> None:
    before = declared(make_use_case, "rentals", candidates=[TREES])
    champion, _, _ = released(before, rows(before, "2011-03-15"), tmp_path / "champion")
    fewer = {"model.start": "warm", "features": [{"numeric": ["temp", "hum"]}], "evaluation.min_rows": 100}
    usecase = load_use_case(str(make_use_case("later", changes=fewer)))
    judged = judge(rows(usecase, "2011-06-01"), usecase.spec, champion)
    assert judged.trained is not None
    assert judged.trained.start is not None
    assert judged.trained.start.why == "the champion has other features"


def test_an_edited_formula_starts_cold_and_so_does_a_champion_of_which_it_is_not_known(
    make_use_case: Make, tmp_path: Path
) -> None:
    def formula(name: str, expression: str) -> LoadedUseCase:
        changes = {"features.3.expression": expression, "model.start": EASY, "evaluation.min_rows": 100}
        return load_use_case(str(make_use_case(name, {**changes, "model.candidates": [TREES]})))

    before, edited = formula("before", "1 if time_hour <= 5 else 0"), formula("edited", "1 if time_hour >= 12 else 0")
    champion, _, _ = released(before, rows(before, "2011-03-15"), tmp_path / "champion")
    frame = rows(edited, "2011-06-01")
    judged = judge(frame, edited.spec, champion)
    assert judged.trained is not None
    assert judged.trained.start is not None
    assert judged.trained.start.kind == "cold"
    assert "is declared otherwise" in judged.trained.start.why
    assert _hindrance(frame, before.spec, champion, judged.trained) == ""
    older = replace(champion, manifest=champion.manifest.model_copy(update={"declared": ""}))
    assert "packed before this was kept" in _hindrance(frame, before.spec, older, judged.trained)
    known = with_declaration(older, before)  # its use case did not change since: what it was packed from is known
    assert known is not None
    assert _hindrance(frame, before.spec, known, judged.trained) == ""
    assert "is declared otherwise" in _hindrance(frame, edited.spec, known, judged.trained)
    assert with_declaration(older, edited) is older
    assert with_declaration(champion, edited) is champion
    assert with_declaration(None, before) is None


@pytest.mark.slow
@needs_torch
def test_weights_that_do_not_fit_start_cold_and_end_nothing(make_use_case: Make, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    usecase = declared(make_use_case, "rentals", candidates=[NETWORK], start=EASY)
    champion, _, _ = released(usecase, rows(usecase, "2011-03-15"), tmp_path / "champion")
    weights = champion.folder / "weights.safetensors"
    kept = load_file(weights)
    save_file({name: value for name, value in kept.items() if "body.0" not in name}, weights)
    judged = judge(rows(usecase, "2011-06-01"), usecase.spec, champion)
    assert judged.trained is not None
    assert judged.trained.start is not None
    assert judged.trained.start.kind == "cold"
    assert "weights of the same layers to go on from" in judged.trained.start.why


@pytest.mark.slow
def test_a_calibrated_champion_is_held_against_a_calibrated_warm_model(
    make_use_case: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {**CLASSIFIER, "model.calibration": "platt", "model.start": EASY, "evaluation.min_rows": 50}
    changes |= {"gates": [{"metric": "log_loss", "max": 9.0}]}
    usecase = load_use_case(str(make_use_case(changes=changes)))
    champion, _, _ = released(usecase, rows(usecase, "2011-03-15"), tmp_path / "champion")
    seen: list[Trained] = []
    real = warm._forgotten
    monkeypatch.setattr(warm, "_forgotten", lambda *given: (seen.append(given[3]), real(*given))[1])
    monkeypatch.setattr(warm, "score", lambda *_: 0.5)  # as good as a cold one
    frame = rows(usecase, "2011-05-01")
    found = warm.warm_or_cold(frame, usecase.spec, champion, learn(frame, usecase.spec))
    assert found.start is not None
    assert found.start.kind == "warm", found.start.why
    assert [each.calibrator for each in seen] == [found.calibrator]
    assert found.calibrator is not None


def test_what_cannot_go_on_is_refused_before(make_use_case: Make) -> None:
    with pytest.raises(UseCaseError, match=r"model\.start: no candidate goes on from an earlier model"):
        declared(make_use_case, "rentals", candidates=[{"family": "linear"}], start="warm")
