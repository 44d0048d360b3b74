"""What becomes of explanations where the process that makes them fails, or ends."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from infra.serving import explainer as explainer_module
from infra.serving import explanations
from infra.serving.explainer import Explainer
from infra.serving.explanations import FAILED, MEMORY, ExplanationRequest, Explanations
from infra.serving.helper_process import HelperProcess

PROCESS = """
import json, os, signal, sys

def say(status, content):
    sys.stdout.buffer.write(b"%d %d\\n" % (status, len(content)) + content)
    sys.stdout.buffer.flush()

for line in sys.stdin.buffer:
    asked = json.loads(line)
    what = asked["folder"].encode() if asked["size"] is None else sys.stdin.buffer.read(asked["size"])
    if what == b"end":
        os.kill(os.getpid(), signal.SIGKILL)
    say(*((500, b"MemoryError\\nwhere") if what == b"fail" else (0, b"there")))
"""


class Standin(HelperProcess):
    """Answers at once, fails or is killed, as a model's folder or a body say."""

    starts = 0

    def start(self) -> None:
        self.close()
        self.starts += 1
        self.process = subprocess.Popen(
            [sys.executable, "-S", "-E", "-c", PROCESS], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )


class Clock:
    """Stands still until it is set."""

    def __init__(self) -> None:
        self.now, self.thread_time = 1000.0, time.thread_time

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(explainer_module, "time", made)
    return made


@pytest.fixture
def explainer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Explainer]:
    monkeypatch.setattr(explainer_module, "MANY_SECONDS", 0.0)
    monkeypatch.setattr(explainer_module, "answer", lambda *_: b"here")
    made = Explainer()
    made.helper = Standin("")
    yield made
    made.close()


def model(folder: str = "sound") -> Any:
    return SimpleNamespace(
        bundle=SimpleNamespace(folder=Path(folder), digest=folder),
        version="1",
        reader=SimpleNamespace(most_rows=9, secret=None, history=SimpleNamespace(kept=None)),
    )


def until(done: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def test_what_the_process_fails_over_is_explained_here_and_it_is_not_asked_again_for_a_while(
    explainer: Explainer, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    until(lambda: explainer.is_at_hand(model()))
    assert explainer.explain(model(), b"", "json") == b"there"
    assert explainer.explain(model(), b"fail", "json") == b"here"
    assert "bundle sound is explained here: the process that explains failed: MemoryError" in caplog.text
    clock.now += 59
    assert explainer.explain(model(), b"", "json") == b"here"
    clock.now += 2
    assert explainer.explain(model(), b"", "json") == b"there"  # without loading it anew
    assert explainer.helper.starts == 1


def test_a_model_that_ends_the_process_over_loading_it_is_not_tried_again_for_a_while(
    explainer: Explainer, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    assert explainer.explain(model("end"), b"", "json") == b"here"
    until(lambda: not explainer.is_at_hand(model("end")) and "ended over loading it: -9" in caplog.text)
    for _ in range(59):
        clock.now += 1
        assert explainer.explain(model("end"), b"", "json") == b"here"
        assert explainer.helper.starts == 1
    clock.now += 2
    until(lambda: explainer.is_at_hand(model()))
    assert explainer.explain(model(), b"", "json") == b"there"
    assert explainer.helper.starts == 2


def test_what_ends_the_process_again_and_again_has_it_started_ever_less_often(
    explainer: Explainer, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explainer_module, "_AGAIN_SECONDS", 5.0)

    def pause(body: bytes) -> int:
        """Seconds from an end of the process over a body to its next start."""
        until(lambda: explainer.is_at_hand(model()))
        assert explainer.explain(model(), body, "json") == b"here"
        until(lambda: not explainer.helper.is_running())
        starts = explainer.helper.starts
        for seconds in range(100):
            explainer.is_at_hand(model())
            if explainer.helper.starts > starts:
                return seconds
            clock.now += 1
        raise AssertionError

    assert [pause(b"end") for _ in range(4)] == [1, 2, 4, 5]
    until(lambda: explainer.is_at_hand(model()))
    assert explainer.explain(model(), b"", "json") == b"there"
    assert pause(b"end") == 1


def test_memory_is_bounded_also_after_a_model_that_could_not_be_loaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bounds = list[int | None]()
    monkeypatch.setattr(explanations, "bound_memory", bounds.append)
    status, _ = Explanations().reply(ExplanationRequest(str(tmp_path / "none"), "0" * 64, "1", 9, None), b"")
    assert (status, bounds) == (FAILED, [None, MEMORY])
