"""What steps of a training cost: each within the step it ran in, and what was held in memory meanwhile."""

from __future__ import annotations

import time

import pytest

from flows.training_profile import metrics_of
from tasks.stores.progress import part, round_done, step, watched_by
from tasks.training.step_costs import StepCost, StepCosts


def test_steps_are_added_up_by_the_steps_they_ran_in() -> None:
    costs = StepCosts()
    with watched_by(costs):
        with part("learning"):
            for _ in range(2):
                with step("transforming"):
                    time.sleep(0.01)
        with step("packing"), step("transforming"):
            pass
        with part("learning"):
            pass
    found = costs.costs()
    assert [(each.path, each.calls) for each in found] == [
        (("learning",), 2),
        (("learning", "transforming"), 2),
        (("packing",), 1),
        (("packing", "transforming"), 1),
    ]
    learning, transforming, *_ = found
    assert 0.02 <= transforming.seconds <= learning.seconds < 1


def test_memory_that_is_let_go_before_a_step_ends_is_seen() -> None:
    costs = StepCosts()
    with costs.sampling(), watched_by(costs), step("outer"):
        with step("large"):
            held = bytearray(100_000_000)
            held[::4096] = bytes(len(held[::4096]))  # every page is touched
            time.sleep(0.1)
            del held
        with step("small"):
            pass
    outer, large, small = costs.costs()
    assert large.grown > 80e6
    assert outer.peak == large.peak
    assert small.grown < 20e6


def test_a_step_that_fails_has_ended() -> None:
    costs = StepCosts()
    with watched_by(costs), step("all"):
        with pytest.raises(ValueError, match="wrong"), step("failing"):
            raise ValueError("wrong")
        with step("next"):
            pass
    assert [each.path for each in costs.costs()] == [("all",), ("all", "failing"), ("all", "next")]


def test_without_a_watcher_steps_do_nothing() -> None:
    with step("anything"):
        round_done("lightgbm")


def test_steps_are_called_in_mlflow_as_it_allows() -> None:
    packing = StepCost(("training", "packing a bundle, and proving it"), seconds=2.0)
    deeper = StepCost((*packing.path, "predicting"), seconds=1.0)
    found = metrics_of([StepCost(("training",), seconds=3.0), packing, deeper])
    assert found == {"seconds training": 3.0, "seconds training/packing a bundle_ and proving it": 2.0}
