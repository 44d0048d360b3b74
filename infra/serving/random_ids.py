"""Random texts, from the system's source, which is asked once for many: asking costs as much as predicting a row."""

from __future__ import annotations

import os

_POOL_BYTES = 16 * 1024
_pool, _used = "", 0


def random_text(digits: int) -> str:
    """Return hexadecimal digits that were handed out only once."""
    return random_texts(digits, 1)[0]


def random_texts(digits: int, number: int) -> list[str]:
    """Return some such texts."""
    global _pool, _used  # noqa: PLW0603 - one pool a process
    begin, needed = _used, digits * number
    if begin + needed > len(_pool):
        _pool, begin = os.urandom(max(_POOL_BYTES, needed)).hex(), 0
    _used = begin + needed
    return [_pool[at : at + digits] for at in range(begin, _used, digits)]
