"""What a judged model said of its holdout: what the first window of the champion that came of it is held against.

A row is named by a hash of its keys, and none of its values is kept: inputs and label are read from the lake again,
as they were known when it was judged. Who is erased there is in no comparison any more.
"""

from __future__ import annotations

import io
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl

from expectations.errors import BundleError
from expectations.families import Scores
from expectations.parts import kind_of
from expectations.usecase import UseCase
from tasks.bundles.golden_rows import note_erased
from tasks.bundles.manifest import Manifest
from tasks.stores.files import storing
from tasks.stores.hashing import hash_keys
from tasks.stores.whole_files import replace_file

JUDGED = "judged.parquet"
FORMAT = "1"
MAX_ROWS = 20_000
"""Rows of a holdout that are kept; of more, so many are drawn."""
MAX_SCORES = 100_000
"""Scores that are kept, of all rows together: of many classes fewer rows."""
_NOTED = ("format", "as_of", "since", "until")
"""What is noted in the file of all rows."""


@dataclass(frozen=True)
class JudgedRows:
    """Rows of a holdout, and what the judged model said of them without having learnt from them.

    It is the model that was judged, not its refit, which is the one that is released.

    Attributes
    ----------
    keys : polars.Series of type UInt64, shape (n_rows,)
        As `hash_keys` returns them.
    prediction : ndarray of shape (n_rows,) or (n_rows, n_classes)
        Of several classes in the order of the released model.
    as_of : datetime
        When they were judged: what was known of them then.
    since, until : datetime
        Event times of the first and the last of them.
    """

    keys: pl.Series
    prediction: Scores
    as_of: datetime
    since: datetime
    until: datetime


def write_judged(folder: Path, holdout: pl.DataFrame, prediction: Scores, spec: UseCase, as_of: datetime) -> None:
    """Keep what a judged model said of its holdout, at most `MAX_ROWS` rows of it, in the bundle in a folder.

    Parameters
    ----------
    prediction : ndarray of shape (n_rows,) or (n_rows, n_classes)
    as_of : datetime
        Of the training.
    """
    scores = prediction.reshape(len(holdout), -1)
    most = max(1, min(MAX_ROWS, MAX_SCORES // scores.shape[1]))
    if len(holdout) > most:
        drawn = np.sort(np.random.default_rng(spec.model.seed).choice(len(holdout), most, replace=False))
        holdout, scores = holdout[drawn], scores[drawn]
    times = holdout[spec.time_column]
    since: datetime = times.min()  # type: ignore[assignment] # an instant column
    until: datetime = times.max()  # type: ignore[assignment] # an instant column
    named = {f"score_{place}": scores[:, place] for place in range(scores.shape[1])}
    kept = pl.DataFrame({"key": hash_keys(holdout.select(spec.keys)), **named}).drop_nulls("key").sort("key")
    noted = {
        "format": FORMAT,
        "as_of": as_of.isoformat(),
        "since": since.isoformat(),
        "until": until.isoformat(),
    }
    kept.write_parquet(folder / JUDGED, compression="zstd", statistics=False, metadata=noted)


def read_judged(folder: Path, manifest: Manifest) -> JudgedRows | None:
    """Return what the judged model of a checked bundle said of its holdout.

    None in a bundle from before that was kept.

    Raises
    ------
    BundleError
        If a later driftwheel wrote it.
    """
    if JUDGED not in manifest.files:
        return None
    path = folder / JUDGED
    noted = pl.read_parquet_metadata(path)
    if noted.get("format") != FORMAT:
        raise BundleError(
            f"{JUDGED} of format {FORMAT} in {folder.name[:12]}", f"format {noted.get('format')}", "Update driftwheel"
        )
    kept = pl.read_parquet(path)
    scores = kept.drop("key").to_numpy()
    as_of, since, until = (datetime.fromisoformat(noted[name]) for name in ("as_of", "since", "until"))
    return JudgedRows(kept["key"], scores[:, 0] if scores.shape[1] == 1 else scores, as_of, since, until)


def judged_keys(rows: pl.DataFrame, spec: UseCase) -> pl.Series:
    """Hash the keys of rows of the raw table as cleaning leaves them: of rows that are judged no others are known.

    Returns
    -------
    polars.Series of type UInt64, shape (n_rows,)
        Missing where cleaning leaves no key.
    """
    keys = rows.select(spec.keys)
    kinds = {name: kind_of(dtype) for name, dtype in keys.schema.items()}
    for fitted in (each for step in spec.cleaning for each in step.served(kinds)):
        if kinds.keys() >= {*fitted.touches}:
            keys = fitted.frame(keys)
    return hash_keys(keys)


def count_judged(folder: Path, keys: Collection[int]) -> int:
    """Return how many of the kept rows have one of some hashes of keys."""
    return len(pl.read_parquet(folder / JUDGED, columns=["key"]).filter(pl.col("key").is_in(_hashes(keys))))


def redact_judged(folder: Path, keys: Collection[int]) -> None:
    """Erase judged rows of a sealed bundle; it stays the bundle it was.

    Killed in the middle, it can be loaded, and this be called again.

    Parameters
    ----------
    keys : collection of int
        Hashes of their keys.
    """
    path = folder / JUDGED
    with storing("erase judged rows in", path):
        noted = {name: value for name, value in pl.read_parquet_metadata(path).items() if name in _NOTED}
        left = pl.read_parquet(path).filter(~pl.col("key").is_in(_hashes(keys)))
        content = io.BytesIO()
        left.write_parquet(content, compression="zstd", statistics=False, metadata=noted)
        note_erased(folder, JUDGED, content.getvalue())
        replace_file(path, content.getvalue())


def _hashes(keys: Collection[int]) -> pl.Expr:
    return pl.lit(pl.Series(sorted(keys), dtype=pl.UInt64)).implode()
