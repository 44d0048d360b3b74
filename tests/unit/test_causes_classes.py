"""What a window of several classes loses more is split into parts that add up, the planted cause first."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import polars as pl
import pytest

from tasks.evaluation.causes.explaining import explain
from tasks.evaluation.causes.label_mix import shift_to
from tasks.evaluation.causes.model import Causes
from tasks.evaluation.causes.rows import PeriodRows, row_loss
from tasks.evaluation.scaling import log_chances, one_hot, softmax
from tests.unit.test_causes import BROKEN, DAY, World

CLASSES = ("bus", "car", "tram")
LOSSES = {name: row_loss(name, "multiclass_classification", classes=CLASSES) for name in ("log_loss", "brier")}


class Classes(World):
    """The same world, whose label is one of three classes."""

    def score(self, frame: pl.DataFrame) -> np.ndarray:
        filled = frame.with_columns(pl.col("x").fill_null(0.0), pl.col("temp").fill_null(60.0))
        x, temp = filled["x"].to_numpy(), (filled["temp"].to_numpy() - 60) / 15
        origin = (filled["origin"].fill_null("") == "JFK").to_numpy()
        return np.column_stack([1.4 * x, 0.9 * temp + 1.2 * origin, -0.8 * x - 0.5])

    def predict(self, frame: pl.DataFrame) -> np.ndarray:
        return softmax(self.score(frame))

    def label(self, truth: np.ndarray, frame: pl.DataFrame, seed: int) -> np.ndarray:
        draw = np.random.default_rng(seed + 1000).uniform(size=(len(frame), 1))
        return (softmax(truth).cumsum(axis=1)[:, :-1] < draw).sum(axis=1).astype(float)


WORLD = Classes(binary=False)


def rows(n: int = 4000, days: float = 28, start: float = 112, seed: int = 3, **changes: Any) -> PeriodRows:
    return WORLD.rows(n, days, start, seed, **changes)


REFERENCE = rows(12_000, 112, 0, seed=1)


def told(window: PeriodRows, metric: str = "log_loss") -> Causes:
    found = explain(REFERENCE, window, LOSSES[metric], block=DAY)
    json.dumps(found.to_dict(), allow_nan=False)
    if found.parts:
        assert sum(part.value for part in found.parts) == pytest.approx(found.total, rel=1e-9)
    return found


@pytest.mark.parametrize("words", ["x missing in 100%", "x stuck at one value", "origin and carrier swapped"])
def test_broken_data_are_named(words: str) -> None:
    found = told(rows(fault=BROKEN[words]))
    assert (found.named[0].kind, found.remedy) == ("broken", "hold and alert")
    assert found.named[0].within[0].what.startswith(words)


def test_inputs_that_moved_to_where_the_model_is_unsure_are_named() -> None:
    found = told(rows(9000, keep=lambda frame: frame["x"].abs() < 0.7))
    assert found.named[0].kind == "covariate"
    assert found.named[0].within[0].what == "x"


@pytest.mark.parametrize("metric", LOSSES)
def test_other_rates_of_the_classes_are_theirs(metric: str) -> None:
    found = told(rows(truth=lambda known, frame, hour: known + np.array([0.0, 0.0, 1.8])), metric)
    assert (found.named[0].kind, found.remedy) == ("label", "recalibrate")
    assert found.named[0].value > 0.7 * found.total
    assert "the label rates: tram " in found.words()


def test_classes_that_came_oftener_are_a_label_shift_though_the_inputs_move_with_them() -> None:
    window = rows(12_000)
    kept = (window.label == 2) | (np.random.default_rng(1).uniform(size=len(window)) < 0.25)
    assert told(window.where(kept)).named[0].kind == "label"


def test_a_change_of_the_world_is_named_with_the_place_it_happens_in() -> None:
    def truth(known: np.ndarray, frame: pl.DataFrame, hour: np.ndarray) -> np.ndarray:
        inside = (frame["origin"] == "JFK").to_numpy() & (hour >= 12)
        return np.where(inside[:, None], -known, known)

    found = told(rows(6000, truth=truth))
    assert (found.named[0].kind, found.remedy) == ("concept", "retrain")
    assert "origin = JFK" in found.named[0].within[0].what
    assert "hour >= 12" in found.named[0].within[0].what


def test_labels_of_classes_never_seen_are_a_cause_of_their_own() -> None:
    window = rows(2000)
    some = np.random.default_rng(2).uniform(size=2000) < 0.1
    found = told(PeriodRows(window.inputs, np.where(some, 3.0, window.label), window.prediction, window.seconds))
    (first,) = found.named
    assert (first.kind, found.remedy) == ("unseen", "retrain")
    assert f"never saw: {some.mean():.1%} of rows" in found.words()
    lost = LOSSES["log_loss"].of(np.where(some, 3.0, window.label), window.prediction)
    assert first.value == pytest.approx(lost.mean() - lost[~some].mean())  # what they lose beyond the others


def test_only_rows_of_classes_never_seen_cannot_be_told() -> None:
    window = rows(500)
    found = told(PeriodRows(window.inputs, np.full(500, 3.0), window.prediction, window.seconds))
    assert found.status == "unknown"


def test_unchanged_windows_are_named_nothing() -> None:
    named = [told(rows(1500, 10, seed=100 + seed)).status == "named" for seed in range(12)]
    assert sum(named) <= 1


def test_the_remedy_of_other_rates_helps_rows_it_was_not_learnt_of() -> None:
    window = rows(8000, truth=lambda known, frame, hour: known + np.array([0.0, 0.0, 1.8]))
    learnt = np.arange(len(window)) % 2 == 0
    axis = log_chances(window.prediction)
    rates = one_hot(window.label[learnt], 3).mean(axis=0)
    shift = shift_to(axis[learnt], rates, np.ones(int(learnt.sum())))
    assert softmax(axis[learnt] + shift).mean(axis=0) == pytest.approx(rates, abs=1e-6)
    assert shift[2] - shift[0] == pytest.approx(1.8, abs=0.15)
    rest = window.where(~learnt)
    lost = [
        LOSSES["log_loss"].of(rest.label, said).mean() for said in (rest.prediction, softmax(axis[~learnt] + shift))
    ]
    assert lost[1] < lost[0] - 0.1
