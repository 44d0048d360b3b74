"""Random texts, from the system's source, which is asked once for many: asking costs as much as predicting a row."""

from __future__ import annotations

import os

_POOL_BYTES = 16 * 1024
_pool, _used = "", 0


def random_text(digits: int) -> str:
    """Return hexadecimal digits that were handed out to nobody else."""
    global _pool, _used  # noqa: PLW0603 - one pool a process
    if _used + digits > len(_pool):
        _pool, _used = os.urandom(_POOL_BYTES).hex(), 0
    _used += digits
    return _pool[_used - digits : _used]
