"""Faults of ours in the log: where they happened, without the words of the exception, which may hold values."""

from __future__ import annotations

import traceback


def trace(error: BaseException) -> str:
    """Return the type of an error and the lines it came through."""
    frames = "".join(traceback.format_tb(error.__traceback__))
    return f"{type(error).__name__}\n{frames}"
