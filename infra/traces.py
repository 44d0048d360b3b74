"""Traces of faults of ours, kept for whoever looks into them; a user is shown a sentence."""

from __future__ import annotations

import os
import traceback
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from expectations.errors import StorageError
from expectations.masking import mask
from infra.settings import Settings

_MAX_BYTES = 2**20


def keep_trace(error: BaseException, command: str) -> Path | None:
    """Append a trace to ``logs/faults.log`` in the home and return its path; None where nothing can be written."""
    try:
        path = Settings().folder / "logs" / "faults.log"
        path.parent.mkdir(exist_ok=True, mode=0o700)
        if path.exists() and path.stat().st_size > _MAX_BYTES:
            path.replace(path.with_name(f"{path.name}.1"))
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "a", encoding="utf-8") as file:
            trace = mask("".join(traceback.format_exception(error)))
            file.write(f"{datetime.now(UTC).isoformat()} {command}\n{trace}\n")
    except (OSError, StorageError, ValidationError):
        return None
    return path
