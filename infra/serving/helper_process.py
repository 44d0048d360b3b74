"""A process of a worker's own, asked by pipes: what it does holds up nobody, and what ends it ends nothing else.

It ends when whoever asks it closes the pipe, at the latest by ending.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import selectors
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

READY = b"ready\n"
"""What such a process says first where it is waited for."""
_START_SECONDS = 60
_NICENESS = 10


class HelperProcess:
    """One such process, as whoever asks it sees it. Call it from one thread.

    Parameters
    ----------
    module : str
        What it runs.
    environment : mapping, optional
        Variables beside this process's own.

    Attributes
    ----------
    process : subprocess.Popen, optional
        None before it is started.
    overdue : bool
        Whether it was ended as its last answer took too long.
    """

    def __init__(self, module: str, environment: Mapping[str, str] | None = None) -> None:
        self.module, self.environment = module, environment or {}
        self.process: subprocess.Popen[bytes] | None = None
        self.overdue = False

    def is_running(self) -> bool:
        """Whether it was started and did not end."""
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Start it, in the place of one that ended; raises OSError where the system gives no process."""
        self.close()
        self.process = subprocess.Popen(
            [sys.executable, "-m", self.module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # what ends it may be in what it was asked
            env={**os.environ, **self.environment},
        )

    def wait_until_ready(self) -> None:
        """Wait for its first word.

        Raises
        ------
        RuntimeError
            If it ends instead, or takes a minute.
        """
        process = self._started()
        with self._patience(process, _START_SECONDS):
            if _pipe(process.stdout).readline() != READY:
                raise RuntimeError(f"{self.module} does not start: {process.wait()}")

    def tell(self, question: bytes, body: bytes = b"") -> None:
        """Send a question, a line, and what follows it."""
        asking = _pipe(self._started().stdin)
        with contextlib.suppress(BrokenPipeError):  # it ended, as the lack of an answer will say
            asking.write(b"%s\n" % question)
            asking.write(body)
            asking.flush()

    def has_said(self) -> bool:
        """Whether an answer begins, or it ended: nobody waits for either then."""
        poll = select.poll()  # takes any number of a file, other than select
        poll.register(_pipe(self._started().stdout), select.POLLIN)
        return bool(poll.poll(0))

    def answer(self, seconds: float) -> tuple[int, bytes] | None:
        """Wait for an answer, a number and some content; None where it ended instead, or was ended over it."""
        process = self._started()
        with self._patience(process, seconds):
            return _answer(_pipe(process.stdout))

    def ask(self, question: bytes, body: bytes, seconds: float) -> tuple[int, bytes] | None:
        """Send a question and wait for its answer, as above."""
        process = self._started()
        with self._patience(process, seconds):
            self.tell(question, body)
            return _answer(_pipe(process.stdout))

    def stop(self) -> None:
        """End it, or wait until it ended by itself, and leave `process` to be asked how; nothing once it is closed."""
        process = self.process
        if process is not None:
            process.kill()
            process.wait()

    def close(self) -> None:
        """End it."""
        process, self.process = self.process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(BrokenPipeError):  # of a question that was not read to its end
                _pipe(pipe).close()

    def _started(self) -> subprocess.Popen[bytes]:
        if self.process is None:
            raise RuntimeError(f"{self.module} was not started")
        return self.process

    @contextlib.contextmanager
    def _patience(self, process: subprocess.Popen[bytes], seconds: float) -> Iterator[None]:
        """Kill it where it takes longer."""

        def give_up() -> None:
            self.overdue = True
            process.kill()

        self.overdue = False
        timer = threading.Timer(seconds, give_up)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


def _answer(out: IO[bytes]) -> tuple[int, bytes] | None:
    head = out.readline().split()
    if len(head) != 2:
        return None
    status, length = map(int, head)
    content = out.read(length)
    return (status, content) if len(content) == length else None


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise RuntimeError("a process without pipes")
    return pipe


# --- in the process itself --------------------------------------------------------------------------------------------


def stand_back() -> None:
    """Leave it to whoever asks when this process ends, and be the first to go where memory is short."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def yield_to_others() -> None:
    """Take little of the processor beside whoever else needs it, but some: an answer is waited for.

    About a tenth, beside one busy process. Of the lowest priority it would be a seventieth, and by Linux's policy for
    idle work (SCHED_IDLE) nothing for as long as another is busy.
    """
    os.nice(_NICENESS)


def bound_memory(size: int | None) -> None:
    """Take no more than `size` bytes beside what this process has; None for as much as the system gives."""
    most = resource.getrlimit(resource.RLIMIT_AS)[1]
    if size is None:
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    elif sys.platform == "linux":
        taken = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + size, most))


def say_ready() -> None:
    """Tell who waits that it can ask."""
    sys.stdout.buffer.write(READY)
    sys.stdout.buffer.flush()


def questions(idle_seconds: float) -> Iterator[bytes]:
    """Yield one question after the other, until nobody asks any more."""
    asking = sys.stdin.buffer
    waiting = selectors.DefaultSelector()
    waiting.register(asking, selectors.EVENT_READ)
    while waiting.select(idle_seconds):
        line = asking.readline()
        if not line:
            return
        yield line


def reply(status: int, content: bytes) -> None:
    """Answer the last question."""
    sys.stdout.buffer.write(b"%d %d\n" % (status, len(content)))
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()
