"""Several workers that work together, as processes of this machine; none outlives the process that started them."""

from __future__ import annotations

import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from multiprocessing import Pipe
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from expectations.errors import ComputeError, DriftwheelError
from tasks.compute.compute import Result, Shared
from tasks.compute.worker_process import Failed, Said, Seat, WorkerResult
from tasks.modelling.processors import available_processors
from tasks.stores.files import remove_abandoned_in, unfinished

Say = Callable[[Any], None]
"""Takes what a worker says as it works: small values that can be pickled."""
Together = Callable[[Seat, Shared, Say], Result]
"""What each of several workers does: a function of a module, of its seat, what all are given, and whom it tells."""

_PREFIX = "dw-workers-"
_GRACE_SECONDS = 2.0
"""How long the others are waited for once one has failed: peers of one that died say so, often before it is seen."""


def run_together(work: Together[Shared, Result], shared: Shared, size: int, hear: Say) -> Result:
    """Run one function on several workers at once, which work together, and return what the first of them does.

    Parameters
    ----------
    work : callable
    shared : object
        What all are given.
    size : int
        How many workers.
    hear : callable
        Takes what the workers say, in the order that each said it.

    Raises
    ------
    ComputeError
        If there are fewer processors than workers, or one dies: all others are ended.
    DriftwheelError
        What a worker raised.
    """
    cores = available_processors()
    if size > cores:
        raise ComputeError(
            f"a processor for each of {size} workers on this machine",
            f"{cores} that may be used",
            "Lower `workers` of the candidate, or train on a machine with more",
        )
    content = pickle.dumps((work, shared))
    parent = tempfile.gettempdir()
    remove_abandoned_in(parent, _PREFIX)
    with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=parent) as folder, ExitStack() as held:
        held.enter_context(unfinished(Path(folder)))
        (Path(folder) / "held").touch()  # from now on it is removed by the next one, should this process be killed
        meeting = (Path(folder) / "meeting").as_uri()
        workers = [_Worker(Seat(rank, size, cores // size, meeting), held) for rank in range(size)]
        for worker in workers:
            worker.send(content)
        found: Result = _first_result(workers, hear)
        return found


class _Worker:
    """A process, and the channel to it; it ends by itself once the channel closes, and is killed as `held` ends."""

    def __init__(self, seat: Seat, held: ExitStack) -> None:
        self.seat = seat
        self.channel, theirs = Pipe()
        held.callback(self.channel.close)
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "tasks.compute.worker_process", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # gloo greets there
                start_new_session=True,  # Ctrl-C is for whoever waits for it
            )
        held.callback(self._end)

    def send(self, content: bytes) -> None:
        """Hand over what is to be done; that it died meanwhile shows as its channel is read."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self.channel.send_bytes(pickle.dumps((sys.path, self.seat)))
            self.channel.send_bytes(content)

    def heard(self) -> Said | WorkerResult | Failed | None:
        """Return what it says next; None where it is gone."""
        try:
            found: Said | WorkerResult | Failed = pickle.loads(self.channel.recv_bytes())  # noqa: S301 - our own process
        except (EOFError, ConnectionResetError):
            return None
        return found

    def death(self) -> ComputeError:
        """Say how it ended that said nothing."""
        code = self.process.wait()
        how = f"it was killed by signal {-code}" if code < 0 else f"it ended with status {code}"
        return ComputeError(
            f"{self.seat.size} workers to learn together until the end",
            f"worker {self.seat.rank + 1} died: {how}",
            "Run it again: what keeps checkpoints goes on from the newest. Where memory ran out (signal 9) lower "
            "`workers`: each holds all rows",
        )

    def _end(self) -> None:
        self.process.kill()
        self.process.wait()


def _first_result(workers: Sequence[_Worker], hear: Say) -> Any:  # noqa: ANN401 - whatever work returns
    """Hear what workers say until all have ended; return what came of the first, or raise what ended them."""
    left: dict[Any, _Worker] = {each.channel: each for each in workers}
    result: Any = None
    died, failed = list[ComputeError](), list[tuple[int, DriftwheelError]]()
    until: float | None = None
    while left:
        ready = wait(list(left), None if until is None else max(0.0, until - time.monotonic()))
        if not ready:
            break
        for channel in ready:
            worker = left[channel]
            match worker.heard():
                case Said(value):
                    hear(value)
                    continue
                case WorkerResult(value):
                    result = value if worker.seat.rank == 0 else result
                case Failed() as failure:
                    failed.append((worker.seat.rank, failure.error(worker.seat)))
                case None:
                    died.append(worker.death())
            del left[channel]
        if until is None and (died or failed):
            until = time.monotonic() + _GRACE_SECONDS
    if died:  # the others only say that they miss it
        raise died[0]
    if failed:
        raise min(failed, key=lambda each: (type(each[1]) is ComputeError, each[0]))[1]
    return result
