"""What workers of these tests do together; they import it."""

from __future__ import annotations

import os
import signal
import time

from expectations.errors import TrainingError
from tasks.compute.local_workers import Say
from tasks.compute.worker_process import Seat


def says(seat: Seat, shared: str, say: Say) -> tuple[str, Seat, int]:
    """Say something, and return where it ran."""
    say((seat.rank, shared))
    return shared, seat, os.getpid()


def dies(seat: Seat, _: str, say: Say) -> None:
    """Let the second be killed while the first waits for it, or says that it is gone."""
    say(os.getpid())
    if seat.rank == 1:
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(600)


def misses(seat: Seat, _: str, say: Say) -> None:
    """Let the first say that a peer is gone, before that one is seen to be."""
    if seat.rank == 0:
        raise RuntimeError("connection closed by peer")
    say(os.getpid())
    time.sleep(0.5)
    os._exit(3)


def fails(seat: Seat, kind: str, _: Say) -> None:
    """Let the second fail as a network does that cannot learn, or as a fault of somebody else's."""
    if seat.rank == 1:
        raise TrainingError("a number", "a word", "Take another") if kind == "ours" else ZeroDivisionError(kind)
    time.sleep(600)


def stays(seat: Seat, _: str, say: Say) -> None:
    """Say which process it is, and stay."""
    say(os.getpid())
    time.sleep(600)
