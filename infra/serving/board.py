"""What the workers of one service tell each other, as one small file each in a folder of the machine's memory or disk.

Every worker writes its own file and reads the others'. A worker that died is known by its lock, which died with it.
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any

POLL_SECONDS = 0.04
SETTLE_SECONDS = 0.15
"""After the last worker is ready for a swap, all wait this long and then swap at the same instant."""


class Board:
    """One worker's view.

    Parameters
    ----------
    folder : Path
        Of this service alone; exists.
    worker : int
        This worker's number.
    """

    def __init__(self, folder: Path, worker: int) -> None:
        self.folder, self.worker = folder, worker
        self._lock = os.open(folder / f"{worker}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def say(self, state: dict[str, Any]) -> None:
        """Replace what this worker says of itself."""
        beside = self.folder / f".{self.worker}.json"
        beside.write_text(json.dumps(state), encoding="utf-8")
        beside.replace(self.folder / f"{self.worker}.json")

    def others(self) -> list[dict[str, Any]]:
        """Return what the other living workers said last; an empty object of one that has not spoken."""
        found = []
        for lock in sorted(self.folder.glob("*.lock")):
            if lock.stem == str(self.worker) or not _alive(lock):
                continue
            path = lock.with_suffix(".json")
            found.append(json.loads(path.read_text(encoding="utf-8")) if path.exists() else {})
        return found

    def ask_to_seal(self, token: int) -> None:
        """Ask every worker to close its segments; a later wish, a larger token, covers the earlier ones."""
        beside = self.folder / f".seal-{self.worker}"
        beside.write_text(str(token), encoding="ascii")
        beside.replace(self.folder / "seal")

    def asked_to_seal(self) -> int:
        """Return the newest such wish; 0 for none."""
        path = self.folder / "seal"
        return int(path.read_text(encoding="ascii")) if path.exists() else 0


def _alive(lock: Path) -> bool:
    handle = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False
