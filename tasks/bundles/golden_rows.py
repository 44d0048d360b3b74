"""Golden rows of a sealed bundle, and those of a person erased from it."""

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

    Nothing else of a bundle may change. Killed in the middle, it can be loaded, and this be called again.

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
        digests = [*erased_hashes(folder), hashlib.sha256(text.encode()).hexdigest()]
        replace_file(folder / ERASED, json.dumps({GOLDEN: digests}))
        replace_file(golden, text)


def erased_hashes(folder: Path) -> list[str]:
    """Return what the golden rows hash to after some were erased, each time."""
    path = folder / ERASED
    return list(json.loads(path.read_text(encoding="utf-8"))[GOLDEN]) if path.is_file() else []
