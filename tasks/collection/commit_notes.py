"""What commits of the raw table note: what rows were collected with, their columns, and the files that were read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from expectations.errors import SourceError
from expectations.loading import LoadedUseCase
from expectations.usecase import UseCase
from tasks.stores.lake import Lake

FILES = "driftwheel.files"
"""Note of a commit: which files were read, how they were, and the newest event time in each."""
COLUMNS = "driftwheel.columns"
"""Note of a commit: the columns that its rows were delivered with."""
DEFINITION = "driftwheel.definition"
"""Note of a commit: what its rows were collected with."""


def delivered(lake: Lake) -> list[str]:
    """Return the columns of the newest rows that were collected; none where that was not noted."""
    return list(json.loads(lake.note("raw", COLUMNS) or "[]"))


def definition(spec: UseCase) -> dict[str, str]:
    """Return what all rows of a table must have been collected with: under another, they could not be compared."""
    label, clock = spec.label, spec.clock
    return {
        "task": spec.task,
        "label": f"{label.column} = {label.expression.text}" if label.expression else label.column,
        "words": ", ".join(f"{word} as {name}" for word, name in sorted(label.words.items())),
        "keys": ", ".join(sorted(spec.keys)),
        "clock": f"{clock.column} in {clock.timezone}" if clock else "",
        "personal": ", ".join(f"{column}: {how}" for column, how in sorted(spec.personal.items())),
    }


def collected_with(lake: Lake) -> dict[str, str]:
    """Return what the rows of a use case were collected with: its task, label, keys, clock and personal columns."""
    noted: dict[str, str] = json.loads(lake.note("raw", DEFINITION) or "{}")
    return noted


def refuse_changed(usecase: LoadedUseCase, lake: Lake) -> None:
    """Refuse a use case by which rows mean something else than those that were collected.

    Raises
    ------
    SourceError
    """
    noted, now = collected_with(lake), definition(usecase.spec)
    changed = [name for name in now if noted.get(name, now[name]) != now[name]]
    if changed:
        raise SourceError(
            f"what the rows of {usecase.name} were collected with: "
            + "; ".join(f"{name} {noted[name] or 'none'}" for name in changed),
            "; ".join(f"{name} {now[name] or 'none'}" for name in changed),
            "Set it back; or give the use case another `name`, under which all is collected anew",
        )


def noted_files(usecase: LoadedUseCase, lake: Lake) -> dict[str, Any] | None:
    """Return the files of the source that were read, as the same use case noted them; None where all are always read.

    Where other sources are joined, a row of a file that stays may get another partner; a label finds its row anyway.
    """
    spec = usecase.spec
    if spec.clock is None or sum(name != spec.label.source for name in spec.sources) > 1:
        return None
    noted = json.loads((lake.note("raw", FILES) if lake.version("raw") is not None else None) or "{}")
    return dict(noted["files"]) if noted.get("digest") == usecase.digest else {}


def settled_files(noted: Mapping[str, Any], since: datetime) -> dict[str, str]:
    """Return those whose rows are all from before the time in which corrections are looked for."""
    return {name: mark for name, (mark, newest) in noted.items() if datetime.fromisoformat(newest) < since}
