"""Signs of life that a process leaves in a file: that it runs does not say that it works."""

from __future__ import annotations

import time
from pathlib import Path

FRESH_SECONDS = 30.0
RUNNER = "runner.alive"
"""Name of the runner's file in the folder of the stack."""


def show(path: Path) -> None:
    """Leave a sign."""
    path.touch()


def shows(path: Path) -> bool:
    """Whether there was a sign lately."""
    try:
        return abs(time.time() - path.stat().st_mtime) < FRESH_SECONDS
    except FileNotFoundError:
        return False
