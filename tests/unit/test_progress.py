"""Who waits is told what is done, how far it is, and what ended; in a pipe by plain lines."""

from __future__ import annotations

import io
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from expectations.loading import LoadedUseCase
from flows import progress as module
from flows.progress import Progress
from tasks.modelling.boosted_trees import LightGBM
from tasks.stores.progress import LOGGER, Pace, doing, part, say, say_stage
from tasks.stores.stopwatch import timed
from tasks.training.learning import learn
from tests.unit.test_training import rows

Captured = pytest.CaptureFixture[str]


def lines(capsys: Captured) -> list[str]:
    return [line.partition("] ")[2] for line in capsys.readouterr().err.splitlines()]


def test_what_ended_is_a_line(capsys: Captured) -> None:
    with Progress("starting"):
        doing("training")
        say_stage("train: %s", "passed")
        say("window %d of %d", 1, 10)
    say("nobody waits any longer")
    assert lines(capsys) == ["train: passed", "window 1 of 10"]


def test_where_many_turns_are_walked_through_their_stages_are_no_lines(capsys: Captured) -> None:
    with Progress("starting", stages=False):
        say_stage("train: passed")
        say("window 1 of 10")
    assert lines(capsys) == ["window 1 of 10"]


def test_silence_is_broken_by_what_is_going_on(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_QUIET_SECONDS", 0.05)
    with Progress("starting") as progress:
        await_line("starting", capsys)
        timed("training", lambda: None)()
        await_line("training", capsys)
        progress.now("waiting for mlflow")
        await_line("waiting for mlflow", capsys)


def await_line(text: str, capsys: Captured) -> None:
    while text not in lines(capsys):
        time.sleep(0.01)


@contextmanager
def reported() -> Iterator[list[str]]:
    """What is reported while the block lasts."""
    found: list[str] = []
    handler, logger = logging.Handler(), logging.getLogger(LOGGER)
    handler.emit = lambda record: found.append(record.getMessage())  # type: ignore[method-assign]
    level = logger.level
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    try:
        yield found
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def test_what_is_going_on_stands_after_what_it_is_a_part_of() -> None:
    with reported() as found:
        with part("window 3 of 10"):
            with part("stage 2 of 3"):
                doing("round 1 of 60")
            doing("scoring")
        doing("done")
    assert found == [
        "window 3 of 10",
        "window 3 of 10: stage 2 of 3",
        "window 3 of 10: stage 2 of 3: round 1 of 60",
        "window 3 of 10: scoring",
        "done",
    ]


def test_the_pace_of_what_is_done_says_how_long_the_rest_takes() -> None:
    pace = Pace(10)
    assert pace.left(0) == ""
    pace._began -= 30.5
    assert [pace.left(done) for done in (2, 9, 10)] == ["; about 2 min left", "; about 3 s left", "; about 0 s left"]


def test_each_round_of_each_candidate_is_counted(bikes: LoadedUseCase) -> None:
    one = LightGBM(family="lightgbm", rounds=3, patience=None)
    spec = bikes.spec.model_copy(
        update={
            "model": bikes.spec.model.model_copy(update={"candidates": (one, one.model_copy(update={"rounds": 2}))})
        }
    )
    with reported() as found:
        best = learn(rows(bikes, "2011-03-01"), spec).recipe
    said = [message.partition(";")[0] for message in found]
    rounds = [(1, "lightgbm", 3, k) for k in (1, 2, 3)] + [(2, "lightgbm-1", 2, k) for k in (1, 2)]
    assert said[:5] == [f"candidate {c} of 2, {name}, round {k} of {n}" for c, name, n, k in rounds]
    assert said[5] == "the best on all rows"
    assert said[6:] == [
        f"the best on all rows: lightgbm, round {k} of {best.rounds}" for k in range(1, best.rounds + 1)
    ]


def test_a_line_without_a_reader_does_not_end_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Closed())
    with Progress("starting"):
        say("window 1 of 10")


def test_nothing_stays_behind(capsys: Captured) -> None:
    logger = logging.getLogger("driftwheel.progress")
    before = list(logger.handlers)
    with pytest.raises(ValueError, match="odd"), Progress("starting"):
        raise ValueError("odd")
    assert logger.handlers == before
