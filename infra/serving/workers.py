"""What the workers of one service share, as one small file each in a folder of the machine's memory or disk.

Every worker writes its own file and reads the others'. A worker that died is known by its lock, which died with it.
What it counted stays, and its successor counts on from there.
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any

from infra.serving.counters import add_up

POLL_SECONDS = 0.04
SETTLE_SECONDS = 0.15
"""After the last worker is ready for a swap, all wait this long and then swap at the same instant."""


class Workers:
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
        self._inherited = _read(folder / f"{worker}.json").get("counts", {})
        self._write({}, self._inherited)  # what the one before said of itself holds no more

    def say(self, state: dict[str, Any], counts: dict[str, Any]) -> None:
        """Replace what this worker says of itself, and what it counted since it began."""
        self._write(state, add_up([self._inherited, counts]))

    def _write(self, state: dict[str, Any], counts: dict[str, Any]) -> None:
        beside = self.folder / f".{self.worker}.json"
        beside.write_text(json.dumps({"state": state, "counts": counts}), encoding="utf-8")
        beside.replace(self.folder / f"{self.worker}.json")

    def others(self) -> list[dict[str, Any]]:
        """Return what the other living workers said last; an empty object of one that has not spoken."""
        found = []
        for lock in sorted(self.folder.glob("*.lock")):
            if lock.stem == str(self.worker) or not _alive(lock):
                continue
            found.append(_read(lock.with_suffix(".json")).get("state", {}))
        return found

    def counted(self, counts: dict[str, Any]) -> dict[str, Any]:
        """Return what all workers counted: this one until now, the others as they said last, living or dead."""
        others = [path for path in sorted(self.folder.glob("[0-9]*.json")) if path.stem != str(self.worker)]
        total: dict[str, Any] = add_up([*(_read(path)["counts"] for path in others), self._inherited, counts])
        return total

    def ask_to_seal(self, token: int) -> None:
        """Ask every worker to close its segments; a later request, a larger token, covers the earlier ones."""
        beside = self.folder / f".seal-{self.worker}"
        beside.write_text(str(token), encoding="ascii")
        beside.replace(self.folder / "seal")

    def asked_to_seal(self) -> int:
        """Return the newest such request; 0 for none."""
        path = self.folder / "seal"
        return int(path.read_text(encoding="ascii")) if path.exists() else 0


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found


def _alive(lock: Path) -> bool:
    handle = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False
