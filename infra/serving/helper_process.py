"""A process of a worker's own, asked by pipes: what it does holds up nobody, and what ends it ends nothing else.

It ends when whoever asks it closes the pipe, at the latest by ending.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import select
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

READY = b"ready\n"
"""What such a process says first where it is waited for."""
_START_SECONDS = 60
_END_SECONDS = 1
_NICENESS = 10
_PIPE_BYTES = 256 * 1024
"""What lies in a pipe at once, where the system lets it: most answers are read in one go."""


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
        for pipe in (self.process.stdin, self.process.stdout):
            _widen(_pipe(pipe).fileno())

    def wait_until_ready(self) -> None:
        """Wait for its first word.

        Raises
        ------
        RuntimeError
            If it ends instead, or takes a minute.
        """
        said: bytes | None = None
        with self._patience(_START_SECONDS) as until:
            said = self._line(until)
        if said != READY:
            process = self._started()
            with contextlib.suppress(subprocess.TimeoutExpired):  # one that closed its pipe is about to end
                process.wait(_END_SECONDS)
            process.kill()
            raise RuntimeError(f"{self.module} does not start: {process.wait()}")

    def tell(self, question: bytes, body: bytes = b"", until: float | None = None) -> None:
        """Send a question, a line, and what follows it; raises TimeoutError where it is not taken until then."""
        asking = _pipe(self._started().stdin).fileno()
        with contextlib.suppress(BrokenPipeError):  # it ended, as the lack of an answer will say
            _write(asking, b"%s\n" % question, until)
            _write(asking, body, until)

    def has_said(self) -> bool:
        """Whether an answer begins, or it ended: nobody waits for either then."""
        try:
            _wait(_pipe(self._started().stdout).fileno(), select.POLLIN, 0.0)
        except TimeoutError:
            return False
        return True

    def answer(self, seconds: float) -> tuple[int, bytes] | None:
        """Wait for an answer, a number and some content; None where it ended instead, or was ended over it."""
        with self._patience(seconds) as until:
            return self._answer(until)
        return None

    def ask(self, question: bytes, body: bytes, seconds: float) -> tuple[int, bytes] | None:
        """Send a question and wait for its answer, as above."""
        with self._patience(seconds) as until:
            self.tell(question, body, until)
            return self._answer(until)
        return None

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
    def _patience(self, seconds: float) -> Iterator[float]:
        """Yield until when to wait, and kill it where it takes longer.

        No timer's thread: each would take the interpreter from the event loop, twice for every question.
        """
        self.overdue = False
        try:
            yield time.monotonic() + seconds
        except TimeoutError:
            self.overdue = True
            self._started().kill()

    def _line(self, until: float) -> bytes:
        """Read to the end of a line, and what came with it; or to the end of all."""
        out, said = _pipe(self._started().stdout).fileno(), b""
        while b"\n" not in said and (part := _read(out, until)):
            said += part
        return said

    def _answer(self, until: float) -> tuple[int, bytes] | None:
        line, _, content = self._line(until).partition(b"\n")
        head = line.split()
        if len(head) != 2:
            return None
        status, length = map(int, head)
        out, parts, size = _pipe(self._started().stdout).fileno(), [content], len(content)
        while size < length and (part := _read(out, until)):
            parts.append(part)
            size += len(part)
        return (status, b"".join(parts)) if size == length else None


def _write(pipe: int, content: bytes, until: float | None) -> None:
    os.set_blocking(pipe, False)  # else the system waits itself, for as long as nobody reads
    rest = memoryview(content)
    while rest:
        try:
            rest = rest[os.write(pipe, rest) :]
        except BlockingIOError:
            _wait(pipe, select.POLLOUT, until)


def _read(pipe: int, until: float) -> bytes:
    _wait(pipe, select.POLLIN, until)
    return os.read(pipe, _PIPE_BYTES)


def _wait(pipe: int, event: int, until: float | None) -> None:
    poll = select.poll()  # takes any number of a file, other than select
    poll.register(pipe, event)
    if not poll.poll(None if until is None else max(0.0, until - time.monotonic()) * 1000):
        raise TimeoutError


def _widen(pipe: int) -> None:
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # a user has only so much for all pipes
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise RuntimeError("a process without pipes")
    return pipe


# --- in the process itself --------------------------------------------------------------------------------------------


def stand_back() -> IO[bytes]:
    """Leave it to whoever asks when this process ends, and be the first to go where memory is short.

    Returns
    -------
    binary file
        Where answers go. What else is printed, by a part of somebody's own say, goes where errors do: in the pipe it
        would be read as an answer.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return answers


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


def say_ready(answers: IO[bytes]) -> None:
    """Tell who waits that it can ask."""
    answers.write(READY)
    answers.flush()


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


def reply(answers: IO[bytes], status: int, content: bytes) -> None:
    """Answer the last question."""
    answers.write(b"%d %d\n%s" % (status, len(content), content))  # at once: who asks wakes once
    answers.flush()
