"""One of several workers as a process of its own: it is told by a channel what to do, and ends where that closes."""

from __future__ import annotations

import os
import pickle
import sys
import threading
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from expectations.errors import ComputeError, DriftwheelError
from expectations.wording import one_line


@dataclass(frozen=True)
class Seat:
    """The place of one of several workers that work together.

    Attributes
    ----------
    rank, size : int
        Which it is, from 0 on, and of how many.
    cores : int
        That it may use.
    meeting : str
        Where they find each other: `init_method` of `torch.distributed.init_process_group`.
    """

    rank: int
    size: int
    cores: int
    meeting: str


@dataclass(frozen=True)
class Said:
    """What a worker says as it works."""

    value: Any


@dataclass(frozen=True)
class WorkerResult:
    """What came of its work."""

    value: Any


@dataclass(frozen=True)
class Failed:
    """What ended it: an error of ours as it is, of others its words and where it was raised."""

    ours: DriftwheelError | None
    words: str = ""
    trace: str = ""

    def error(self, seat: Seat) -> DriftwheelError:
        """Return what is to be raised of it."""
        if self.ours is not None:
            return self.ours
        error = ComputeError(
            f"{seat.size} workers to learn together until the end",
            f"{self.words} at worker {seat.rank + 1}",
            "Run it with `workers: 1`, which says more",
        )
        error.add_note(self.trace)
        return error


def failure(error: Exception) -> Failed:
    """Return what is said of an error."""
    if isinstance(error, DriftwheelError):
        return Failed(error)
    words = one_line(error)
    return Failed(None, f"{type(error).__name__}: {words}", "".join(traceback.format_exception(error)))


def main() -> None:
    """Do what the channel says whose number is the first argument."""
    channel = Connection(int(sys.argv[1]))
    path, seat = pickle.loads(channel.recv_bytes())  # noqa: S301 - of the process that started this one
    sys.path[:] = path
    content = channel.recv_bytes()
    threading.Thread(target=_end_with, args=(channel,), daemon=True).start()

    def send(word: Said | WorkerResult | Failed) -> None:
        channel.send_bytes(pickle.dumps(word))

    try:
        work, shared = pickle.loads(content)  # noqa: S301
        del content
        found = work(seat, shared, lambda value: send(Said(value)))
    except Exception as error:  # noqa: BLE001 - whatever it is, whoever waits for it has to hear it
        send(failure(error))
    else:
        send(WorkerResult(found))


def _end_with(channel: Connection) -> None:
    """End this process once the one that started it is gone, or closes the channel."""
    try:
        channel.recv_bytes()
    except (EOFError, OSError):
        os._exit(1)


if __name__ == "__main__":
    from tasks.compute.worker_process import main as run  # what is pickled is of the module, not of __main__

    run()
