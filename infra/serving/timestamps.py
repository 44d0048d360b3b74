"""The present instant as text, some ten thousand times a second: what stays the same within a second is kept."""

from __future__ import annotations

import time
from datetime import UTC, datetime

_kept = (-1, "")


def present_instant() -> str:
    """Return the present instant in ISO 8601 and UTC, always to the microsecond."""
    global _kept  # noqa: PLW0603 - one clock a process
    second, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    kept = _kept
    if kept[0] != second:
        kept = _kept = (second, datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S"))
    return f"{kept[1]}.{nanoseconds // 1000:06d}+00:00"
