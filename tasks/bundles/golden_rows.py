"""Rows of a sealed bundle, golden ones and judged ones, and those of a person erased from it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from pathlib import Path

from tasks.stores.files import storing
from tasks.stores.whole_files import replace_file

GOLDEN = "golden.json"
ERASED = "erased.json"


def redact_golden(folder: Path, places: Collection[int]) -> None:
    """Erase golden rows of a sealed bundle; it stays the bundle it was, and is proved on those that are left.

    Nothing but these and its judged rows may change of a bundle. Killed in the middle, it can be loaded, and this be
    called again.

    Parameters
    ----------
    places : collection of int
        Which rows.
    """
    golden = folder / GOLDEN
    with storing("erase golden rows in", golden):
        data = json.loads(golden.read_text(encoding="utf-8"))
        left = {
            name: [each for place, each in enumerate(values) if place not in places] for name, values in data.items()
        }
        text = json.dumps(left, indent=1)
        note_erased(folder, GOLDEN, text.encode())
        replace_file(golden, text)


def note_erased(folder: Path, name: str, content: bytes) -> None:
    """Note what a file of a sealed bundle hashes to once rows are erased from it, before it is written."""
    digests = [*erased_hashes(folder, name), hashlib.sha256(content).hexdigest()]
    replace_file(folder / ERASED, json.dumps({**_erased(folder), name: digests}))


def erased_hashes(folder: Path, name: str) -> list[str]:
    """Return what a file hashes to after rows were erased from it, each time."""
    return _erased(folder).get(name, [])


def _erased(folder: Path) -> dict[str, list[str]]:
    path = folder / ERASED
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}
