"""Which entities a canary answers: the same ones every time, in every process, on every machine."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec

from tasks.bundles.manifest import Manifest

_encode = msgspec.json.Encoder().encode


def place_of(entity: Sequence[object]) -> float:
    """Return where an entity falls in [0, 1): a canary with a share answers those below it.

    Parameters
    ----------
    entity : sequence
        Values of its key without the clock, as a request has them.
    """
    return int.from_bytes(hashlib.blake2b(_encode(entity), digest_size=6).digest()) / 2**48


def entity_columns(manifest: Manifest) -> list[str]:
    """Columns of a request that say whom a row is about: the key without the clock; none where each row is its own."""
    known = {column.name for column in manifest.columns}
    return [name for name in manifest.keys if name in known and name != manifest.clock]
