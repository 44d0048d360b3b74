"""Checkpoints of a network that learns, so that a run that was killed loses an epoch at most (or a second of them)."""

from __future__ import annotations

import hashlib
import io
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
    def of(
        cls, recipe: Family, seed: int, train: Rows, valid: Rows | None, start_from: Path | None, begun: bytes = b""
    ) -> Checkpoints:
        """Return those of a fit: the same recipe, seed, rows and beginning have the same.

        `begun` is the digest of what others made and the network begins with.
        """
        folder = kept_in()
        if folder is None:
            return cls(None)
        code = train.code.digest if recipe.calls and train.code is not None else ""
        digest = hashlib.sha256(f"{recipe.model_dump_json()}{seed}{start_from}{code}".encode() + begun)
        for rows in (train, valid):
            if rows is not None:
                for array in (rows.matrix, rows.label, rows.weight):
                    digest.update(b"" if array is None else array.tobytes())
        return cls(folder / f"{digest.hexdigest()}.pt")

    @property
    def keeps(self) -> bool:
        """Whether anything is written."""
        return self.path is not None

    def content(self) -> bytes | None:
        """Return what was written last, as it lies there; None where nothing was."""
        return self.path.read_bytes() if self.path is not None and self.path.exists() else None

    def read(self) -> dict[str, Any] | None:
        """Return what was written last; None where nothing was."""
        content = self.content()
        return None if content is None else read_state(content)

    def write(self, state: Callable[[], dict[str, Any]], *, ended: bool = False) -> None:
        """Write the state at once, whole or not at all; not again within a second, but for the last."""
        if not self.keeps or not (ended or time.monotonic() - self._written >= _SECONDS):
            return
        content = io.BytesIO()
        torch.save(state(), content)
        self.put(content.getvalue())
        self._written = time.monotonic()

    def put(self, content: bytes) -> None:
        """Write a state that was saved, whole or not at all."""
        if self.path is not None:
            temporary = self.path.with_suffix(".new")
            temporary.write_bytes(content)
            temporary.replace(self.path)


def read_state(content: bytes) -> dict[str, Any]:
    """Return the state that `Checkpoints.write` saved."""
    found: dict[str, Any] = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    return found
