"""The score that a column has: kept by name, and missed by nobody but that column where it fails."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from jsonschema import Draft202012Validator
from pydantic import TypeAdapter

from expectations.alert_rules import MeasuredWindow
from expectations.drift_scores import Binned, DriftScore
from expectations.errors import UseCaseError
from expectations.loading import load_use_case
from expectations.production import Drift
from expectations.slots import DRIFT_SCORES
from expectations.usecase import UseCase
from expectations.windows import Window
from flows.checking import check_use_case
from flows.page.charts import drift
from infra.settings import Settings
from tasks.evaluation.drift import judge
from tasks.evaluation.drifted import Drifted
from tasks.evaluation.pairs import Compared
from tasks.evaluation.sketches import sketch
from tasks.monitoring.rules.unscored import Unscored
from tests.conftest import instant


class Broken(DriftScore):
    """Fails."""

    score: str = "acme.broken"

    def of(self, binned: Binned) -> float:
        raise ZeroDivisionError(f"of {len(binned.now)}\nbins")


def judged(*scores: DriftScore) -> dict[str, Drifted]:
    random = np.random.default_rng(3)
    known, seen = (
        pl.DataFrame({"x": random.normal(by, 1, 1000), "t": random.choice(["a", "b"], 1000)}) for by in (0, 2)
    )
    return {each.column: each for each in judge([Compared(sketch(known), seen)], alpha=0.05, scores=scores)}


def test_a_number_is_kept_with_the_score_it_is_by() -> None:
    found = judged(DRIFT_SCORES.released("total_variation").model_validate({"score": "total_variation", "of": ("t",)}))
    assert (found["x"].by, found["t"].by) == ("wasserstein", "total_variation")
    assert found["x"].score == pytest.approx(2, abs=0.2)


def test_a_score_that_fails_costs_its_column_the_number_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    package: Any = SimpleNamespace(dist=SimpleNamespace(name="acme-scores"))
    monkeypatch.setattr(DRIFT_SCORES, "_others", lambda: {"acme.broken": (package,)})
    usual, found = judged(), judged(Broken.model_validate({"of": ("x",)}))
    why = "acme.broken of the package acme-scores failed: ZeroDivisionError: of 32 bins"
    assert (found["x"].score, found["x"].by, found["x"].unscored) == (None, "acme.broken", why)
    assert (found["x"].status, found["x"].p) == ("drifted", usual["x"].p)
    assert found["t"] == usual["t"]
    assert why in caplog.text


def test_a_score_of_another_kind_of_column_says_so_and_fails_nothing() -> None:
    found = judged(DRIFT_SCORES.released("wasserstein").model_validate({"score": "wasserstein", "of": ("t",)}))
    assert found["t"].score is None
    assert found["t"].unscored.startswith("wasserstein is of numbers, and t is watched as categories")


def test_columns_without_a_score_are_one_finding_until_they_have_one() -> None:
    start = instant("2026-01-05")
    week = Window(start, start + timedelta(days=7))

    def looked(unscored: dict[str, str]) -> list[str]:
        seen = MeasuredWindow(week, "b", "1", True, 9, 9, 1.0, True, "good", unscored=unscored)
        return [each.summary for each in Unscored(rule="unscored").look(seen).found]

    assert looked({}) == []
    (said,) = looked(dict.fromkeys("abcdefg", "acme.broken failed: ZeroDivisionError"))
    assert said.endswith("a, b, c, d, e and 2 more: acme.broken failed: ZeroDivisionError")


def test_windows_by_another_score_are_not_drawn_as_if_they_were_by_this() -> None:
    def drawn(*by: str) -> str:
        return drift("load", [Drifted("load", "same", score=1.0, by=each) for each in by])

    assert "by psi" in drawn("psi", "psi")
    assert "left out" not in drawn("", "psi")
    changed = drawn("wasserstein", "psi", "psi", "psi")
    assert "windows measured by wasserstein left out" in changed
    assert [changed.count("5.0,5.0 "), drawn("psi", "psi", "psi", "psi").count("5.0,5.0 ")] == [0, 1]


def test_a_score_that_failed_in_the_newest_window_hides_none_of_what_was_measured() -> None:
    before = [Drifted("load", "same", score=0.1, by="wasserstein")] * 3
    failed = Drifted("load", "same", by="acme.broken", unscored="acme.broken failed: ZeroDivisionError")
    drawn = drift("load", [*before, failed])
    assert "over 4 windows, beyond chance in 0; by wasserstein</title>" in drawn
    assert drawn == drift("load", [*before, None])


def test_scores_are_declared_in_short_and_refused_where_two_are_of_one_column(
    make_use_case: Callable[..., Path],
) -> None:
    declared: list[object] = ["wasserstein", {"total_variation": {"of": ["weather"]}}]
    folder = make_use_case(changes={"monitoring.drift": {"scores": declared}})
    scores = load_use_case(str(folder)).spec.monitoring.drift.scores
    assert [(each.score, each.columns) for each in scores] == [("wasserstein", None), ("total_variation", ("weather",))]
    twice = make_use_case("twice", {"monitoring.drift": {"scores": ["total_variation", "population_stability"]}})
    with pytest.raises(UseCaseError, match="name the columns of one of them"):
        load_use_case(str(twice))


@pytest.mark.parametrize(
    ("written", "taken"),
    [
        ({"scores": ["wasserstein"]}, True),
        ({"scores": [{"total_variation": {"of": ["weathersit"]}}]}, True),
        ({"scores": [{"score": "total_variation", "of": ["weathersit"]}]}, True),
        ({"scores": ["waserstein"]}, False),
        ({"scores": [{"waserstein": {}}]}, False),
    ],
)
def test_an_editor_takes_what_is_read(written: dict[str, object], taken: bool) -> None:
    whole = UseCase.model_json_schema(by_alias=True)
    drift = {**whole["$defs"]["Drift"], "$defs": whole["$defs"]}
    assert Draft202012Validator(drift).is_valid(written) is taken
    if taken:
        TypeAdapter(Drift).validate_json(json.dumps(written))


@pytest.mark.slow
def test_check_refuses_a_score_that_fits_no_column(
    make_use_case: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRIFTWHEEL_HOME", str(tmp_path / "home"))
    scores = [{"wasserstein": {"of": ["weathersit", "temps", "temp"]}}]
    folder = make_use_case(changes={"monitoring.drift": {"scores": scores}})
    found = [each.found for each in check_use_case(Settings(), str(folder)) if not each.good]
    assert [each.partition(";")[0] for each in found] == [
        "wasserstein is of numbers, and weathersit is watched as categories",
        "wasserstein: no column 'temps' is watched",
    ]
