"""Rows whose picture could not be decoded, as an expectation that every use case with pictures has."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import polars as pl

from expectations.loading import LoadedUseCase
from tasks.cleaning.suite import Outcome
from tasks.preprocessing.unreadable import Unreadable
from tasks.stores.stored_rows import StoredRows

MOSTLY = 0.5
"""Share of a batch's pictures that must be readable; else the batch is held: its folder is another, or is gone."""


def unreadable_pictures(usecase: LoadedUseCase, rows: pl.DataFrame | StoredRows) -> Iterator[Outcome]:
    """Yield, for each column of pictures and each reason, which rows hold one that could not be decoded."""
    for name, column in usecase.spec.columns.items():
        if column.type != "image" or rows.schema.get(name) != pl.Binary:
            continue
        places: dict[str, list[int]] = defaultdict(list)
        pictures = rows[name]
        for at, content in enumerate(pictures):
            if odd := Unreadable.of(content):
                places[odd.reason].append(at)
        there = len(pictures) - pictures.null_count()
        enough = sum(map(len, places.values())) <= MOSTLY * there
        for reason, failing in sorted(places.items()):
            found = np.array(failing, dtype=np.int64)
            yield Outcome(f"picture({name}): {reason}", "row", enough, "critical", found, None)
