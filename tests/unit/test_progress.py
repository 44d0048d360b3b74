"""Who waits is told what is done, how far it is, and what ended; in a pipe by plain lines."""

from __future__ import annotations

import io
import logging
import sys
import time

import pytest

from flows import progress as module
from flows.progress import Progress
from tasks.stores.progress import doing, say, say_stage
from tasks.stores.stopwatch import timed

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
