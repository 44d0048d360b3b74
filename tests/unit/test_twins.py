"""A twin costs little however long the table and however many processors: a sample of its rows, and one thread."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from expectations.loading import load_use_case
from expectations.problems import problem_of
from tasks.modelling import boosted_trees
from tasks.training.twins import MIN_OF_RARE, fit_twin, sampled
from tests.unit.test_training import rows

FRAME = pl.DataFrame({"row": range(100_000), "y": [place % 50 == 0 for place in range(100_000)]})


def said(task: str) -> SimpleNamespace:
    return SimpleNamespace(
        keys=["row"], label=SimpleNamespace(column="y"), model=SimpleNamespace(seed=7), problem=problem_of(task)
    )


def drawn(frame: pl.DataFrame, most: int, task: str = "regression") -> pl.DataFrame:
    return sampled(frame, said(task), most)  # type: ignore[arg-type] # all it looks at


def test_a_sample_is_bounded_and_the_same_for_both_sides() -> None:
    older, all_rows = drawn(FRAME.head(60_000), 10_000), drawn(FRAME, 10_000)
    assert (len(older), len(all_rows)) == (pytest.approx(10_000, rel=0.05), pytest.approx(10_000, rel=0.05))
    known_to_both = all_rows.filter(pl.col("row") < 60_000)
    assert set(known_to_both["row"]) <= set(older["row"])
    shuffled = drawn(FRAME.sample(fraction=1.0, shuffle=True, seed=1), 10_000)
    assert set(shuffled["row"]) == set(all_rows["row"]), "by what a row is, not where it stands"
    assert drawn(FRAME, 100_000) is FRAME


def test_a_sample_keeps_enough_of_a_rare_class() -> None:
    assert 2_000 * 0.9 < drawn(FRAME, 10_000)["y"].sum() * 10 < 2_000 * 1.1, "of numbers there is no class"
    kept = drawn(FRAME, 10_000, "binary_classification")
    assert kept["y"].sum() == pytest.approx(MIN_OF_RARE, rel=0.1)
    rarer = FRAME.with_columns(y=pl.col("row") < 300)
    assert drawn(rarer, 10_000, "binary_classification") is rarer


def test_a_twin_learns_by_one_thread_and_the_same(
    make_use_case: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    usecase = load_use_case(str(make_use_case("rentals")))
    frame = rows(usecase, "2011-03-01")
    allowed: list[int] = []
    monkeypatch.setattr(boosted_trees, "allow_threads", allowed.append)
    found = [fit_twin(frame, usecase.spec).predict(frame, repaired=False) for _ in range(2)]
    assert allowed == [1, 1]
    np.testing.assert_array_equal(*found)
