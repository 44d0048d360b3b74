"""Checkpoints of a network that learns, so that a run that was killed loses an epoch at most (or a second of them)."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from expectations.families import Family, Rows
from tasks.stores.unfinished import kept_in

_SECONDS = 1.0


class Checkpoints:
    """The state of one fit, in a file named by what it learns from.

    Parameters
    ----------
    path : Path or None
        None where nothing is kept.
    """

    def __init__(self, path: Path | None) -> None:
        self.path, self._written = path, time.monotonic()

    @classmethod
    def of(cls, recipe: Family, seed: int, train: Rows, valid: Rows | None, start_from: Path | None) -> Checkpoints:
        """Return those of a fit: the same recipe, seed, rows and beginning have the same."""
        folder = kept_in()
        if folder is None:
            return cls(None)
        code = train.code.digest if recipe.calls and train.code is not None else ""
        digest = hashlib.sha256(f"{recipe.model_dump_json()}{seed}{start_from}{code}".encode())
        for rows in (train, valid):
            if rows is not None:
                for array in (rows.matrix, rows.label, rows.weight):
                    digest.update(b"" if array is None else array.tobytes())
        return cls(folder / f"{digest.hexdigest()}.pt")

    def read(self) -> dict[str, Any] | None:
        """Return what was written last; None where nothing was."""
        if self.path is None or not self.path.exists():
            return None
        found: dict[str, Any] = torch.load(self.path, weights_only=True)
        return found

    def write(self, state: Callable[[], dict[str, Any]], *, ended: bool = False) -> None:
        """Write the state at once, whole or not at all; not again within a second, but for the last."""
        if self.path is None or not (ended or time.monotonic() - self._written >= _SECONDS):
            return
        temporary = self.path.with_suffix(".new")
        torch.save(state(), temporary)
        temporary.replace(self.path)
        self._written = time.monotonic()
