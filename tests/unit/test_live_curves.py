"""Curves of candidates go to MLflow while they learn, each point once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from expectations.errors import UnreachableError
from expectations.loading import load_use_case
from tasks.training import live
from tasks.training.learning import learn
from tasks.training.live import Curves, Point, sending
from tests.unit.test_training import rows


def test_points_are_sent_as_they_come_and_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(live.time, "monotonic", lambda: clock[0])
    sent: list[list[tuple[str, float, int]]] = []
    with sending(Curves(lambda points: sent.append([each[:3] for each in points]))):
        live.send("a", 0, {"loss": 3.0})
        clock[0] = 2.5
        live.send("a", 1, {"loss": 2.0, "odd": math.nan})
        live.send("a", 2, {"loss": 1.0})
    live.send("a", 3, {"loss": 0.0})
    assert sent == [[("a_loss", 3.0, 0), ("a_loss", 2.0, 1)], [("a_loss", 1.0, 2)]]


def test_points_that_cannot_be_sent_wait_for_the_next_and_only_the_last_may_fail(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, down, sent, asked = [0.0], [True], list[int](), list[float]()
    monkeypatch.setattr(live.time, "monotonic", lambda: clock[0])

    def take(points: Sequence[Point]) -> None:
        asked.append(clock[0])
        if down[0]:
            raise UnreachableError("MLflow to answer", "nothing", "Start it")
        sent.extend(each.step for each in points)

    with sending(Curves(take)):
        for step in range(12):
            clock[0] = float(step)
            live.send("a", step, {"loss": 1.0})
        assert asked == [2.0, 6.0]  # each failure doubles the wait
        down[0] = False
        clock[0] = 14.0
        live.send("a", 12, {"loss": 1.0})
        assert sent == list(range(13))
        clock[0] = 16.0
        live.send("a", 13, {"loss": 1.0})
    assert sent == list(range(14))
    down[0] = True
    with pytest.raises(UnreachableError), sending(Curves(take)):
        live.send("a", 0, {"loss": 1.0})


def test_what_competes_is_seen_while_it_learns(make_use_case: Callable[..., Path]) -> None:
    candidates = [
        {"family": "lightgbm", "rounds": 12, "leaves": 7, "patience": None},
        {"family": "lightgbm", "rounds": 5, "leaves": 3, "patience": None},
    ]
    usecase = load_use_case(str(make_use_case(changes={"model.candidates": candidates})))
    points: list[Point] = []

    def take(some: Sequence[Point]) -> None:
        points.extend(some)

    curves = Curves(take)
    with sending(curves):
        trained = learn(rows(usecase, "2011-03-01"), usecase.spec)
    for name, values in trained.curves.items():
        own = [each for each in points if each.name == name.replace("/", "_")]
        assert [each.value for each in own] == values
        assert [each.step for each in own] == list(range(len(values)))
    assert curves.names == {name.replace("/", "_") for name in trained.curves} == {each.name for each in points}
