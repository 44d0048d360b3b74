"""What becomes of explanations where the process that makes them fails, or ends."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
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


# --- how it is asked --------------------------------------------------------------------------------------------------

ECHO = """
import sys
for line in sys.stdin.buffer:
    content = sys.stdin.buffer.read(int(line))
    sys.stdout.buffer.write(b"7 %d\\n%s" % (len(content), content))
    sys.stdout.buffer.flush()
"""


class Program(HelperProcess):
    """Runs some lines of Python."""

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-S", "-E", "-c", self.module], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )


@pytest.fixture
def run() -> Iterator[Callable[[str], HelperProcess]]:
    made = list[HelperProcess]()

    def start(program: str) -> HelperProcess:
        made.append(Program(program))
        made[-1].start()
        return made[-1]

    yield start
    for each in made:
        each.close()


def test_more_than_a_pipe_holds_passes_whole_and_no_thread_is_begun_for_it(
    run: Callable[[str], HelperProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(threading.Thread, "start")
    asked = run(ECHO)
    for size in (0, 1, 80_000, 5_000_000):
        body = (b"%d," % size * (size // 2 + 1))[:size]
        assert asked.ask(b"%d" % size, body, 60) == (7, body)
    assert not asked.overdue
    assert not asked.has_said()
    asked.tell(b"3", b"abc")
    assert asked.answer(60) == (7, b"abc")


@pytest.mark.parametrize(
    "program",
    [
        "import time; time.sleep(60)",  # reads nothing
        "import sys, time; print('0 9', flush=True); time.sleep(60)",
        "import sys, time; print('0', end='', flush=True); time.sleep(60)",
    ],
)
def test_what_takes_too_long_to_read_or_to_answer_is_ended(run: Callable[[str], HelperProcess], program: str) -> None:
    asked = run(program)
    started = time.monotonic()
    assert asked.ask(b"1000000", bytes(1_000_000), 0.3) is None
    assert 0.3 <= time.monotonic() - started < 30
    assert asked.overdue
    assert asked.process is not None
    assert asked.process.wait(60) == -signal.SIGKILL
    assert asked.has_said()  # that it ended
    assert asked.answer(60) is None
    assert not asked.overdue


@pytest.mark.parametrize(
    ("program", "code"),
    [
        ("import time; print('a banner', flush=True); time.sleep(60)", -9),
        ("import os, time; os.close(1); time.sleep(60)", -9),
        ("import sys; sys.exit(3)", 3),
    ],
)
def test_what_says_something_else_than_that_it_is_ready_is_ended(
    run: Callable[[str], HelperProcess], program: str, code: int
) -> None:
    started = time.monotonic()
    with pytest.raises(RuntimeError, match=f"does not start: {code}$"):
        run(program).wait_until_ready()
    assert time.monotonic() - started < 50


def test_what_else_such_a_process_prints_is_no_answer(run: Callable[[str], HelperProcess]) -> None:
    asked = run(f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from infra.serving.helper_process import questions, reply, say_ready, stand_back
answers = stand_back()
say_ready(answers)
for question in questions(60):
    print(0, 3, flush=True)
    reply(answers, 7, question)
""")
    asked.wait_until_ready()
    assert [asked.ask(b"%d" % at, b"", 60) for at in range(3)] == [(7, b"0\n"), (7, b"1\n"), (7, b"2\n")]


def test_what_ends_over_a_question_is_not_waited_for(run: Callable[[str], HelperProcess]) -> None:
    asked = run("import sys; sys.stdin.buffer.read(10); print('0 9')")
    assert asked.ask(b"1000000", bytes(1_000_000), 60) is None
    assert not asked.overdue
