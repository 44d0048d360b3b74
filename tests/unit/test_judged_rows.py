"""A bundle keeps what the judged model said of its holdout, and of the rows hashes of their keys alone."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from expectations.errors import BundleError
from tasks.bundles.golden_rows import erased_hashes
from tasks.bundles.judged_rows import (
    JUDGED,
    MAX_ROWS,
    MAX_SCORES,
    JudgedRows,
    count_judged,
    read_judged,
    redact_judged,
    write_judged,
)
from tasks.stores.hashing import hash_file, hash_keys
from tests.conftest import instant

START = instant("2024-03-01")


def spec(**others: Any) -> Any:
    model = SimpleNamespace(seed=others.pop("seed", 7))
    return SimpleNamespace(**{"keys": ("customer", "at"), "time_column": "at", "model": model, **others})


def holdout(rows: int) -> pl.DataFrame:
    times = [START + timedelta(minutes=each) for each in range(rows)]
    return pl.DataFrame(
        {"customer": [f"Ann {each % 9}" for each in range(rows)], "at": times, "paid": [1.5] * rows},
        schema_overrides={"at": pl.Datetime("us", "UTC")},
    )


def kept(folder: Path, frame: pl.DataFrame, scores: np.ndarray, **others: Any) -> JudgedRows:
    write_judged(folder, frame, scores, spec(**others), instant("2024-05-01"))
    found = read_judged(folder, SimpleNamespace(files={JUDGED: ""}))  # type: ignore[arg-type] # all it looks at
    assert found is not None
    return found


def test_what_was_said_comes_back_by_the_keys_of_rows(tmp_path: Path) -> None:
    frame, scores = holdout(300), np.random.default_rng(1).uniform(size=300)

    found = kept(tmp_path, frame, scores)

    said = dict(zip(found.keys, found.prediction.tolist(), strict=True))
    assert [said[key] for key in hash_keys(frame.select("customer", "at"))] == scores.tolist()
    assert found.as_of == instant("2024-05-01")
    assert (found.since, found.until) == (START, START + timedelta(minutes=299))


def test_no_value_of_a_row_is_kept(tmp_path: Path) -> None:
    kept(tmp_path, holdout(300), np.zeros(300))
    assert pl.read_parquet(tmp_path / JUDGED).columns == ["key", "score_0"]
    assert b"Ann" not in (tmp_path / JUDGED).read_bytes()


def test_so_many_rows_are_drawn_by_the_seed_and_are_small(tmp_path: Path) -> None:
    """20,000 rows of one score take 0.31 MB."""
    frame, scores = holdout(30_000), np.random.default_rng(1).uniform(size=30_000)
    found = kept(tmp_path, frame, scores)
    first = (tmp_path / JUDGED).read_bytes()
    assert len(found.keys) == MAX_ROWS
    assert len(first) < 330_000
    kept(tmp_path, frame, scores)
    assert (tmp_path / JUDGED).read_bytes() == first, "the same content gives the same bundle"
    assert set(kept(tmp_path, frame, scores, seed=8).keys) != set(found.keys)


def test_of_many_classes_fewer_rows_are_kept(tmp_path: Path) -> None:
    scores = np.random.default_rng(1).dirichlet(np.ones(40), size=3000)
    found = kept(tmp_path, holdout(3000), scores)
    assert found.prediction.shape == (MAX_SCORES // 40, 40)


def test_a_row_whose_key_is_missing_is_left_out(tmp_path: Path) -> None:
    frame = holdout(5).with_columns(customer=pl.Series(["a", None, "b", "c", "d"]))
    assert sorted(kept(tmp_path, frame, np.arange(5.0)).prediction) == [0.0, 2.0, 3.0, 4.0]


def test_a_bundle_from_before_has_none_and_one_of_a_later_format_is_refused(tmp_path: Path) -> None:
    assert read_judged(tmp_path, SimpleNamespace(files={})) is None  # type: ignore[arg-type]
    pl.DataFrame({"key": [1]}).write_parquet(tmp_path / JUDGED, metadata={"format": "2"})
    with pytest.raises(BundleError, match=r"of format 1.*format 2"):
        read_judged(tmp_path, SimpleNamespace(files={JUDGED: ""}))  # type: ignore[arg-type]


def test_keys_hash_alike_whatever_holds_them_and_as_they_did() -> None:
    def hashed(*values: Any, dtype: Any = None) -> list[int]:
        return hash_keys(pl.DataFrame({"key": pl.Series(values, dtype=dtype)})).to_list()

    assert hashed(7, -1) == hashed(7.0, -1.0) == hashed("7", "-1")
    assert hashed(0.5) != hashed(0.25)
    assert hashed(True) == hashed("true")
    moment = datetime.fromisoformat("2024-01-01T00:00:00+00:00")
    assert hashed(moment) == hashed(int(moment.timestamp() * 1e6))
    assert hashed(None, dtype=pl.Int64) == [None]
    assert hashed("Ann") == [6_815_783_469_026_767_838], "bundles hold what it was"
    both = hash_keys(pl.DataFrame({"a": ["x", "xy"], "b": ["yz", "z"]})).to_list()
    assert both[0] != both[1]


def test_rows_of_a_person_go_and_the_others_stay_as_often_as_it_is_called(tmp_path: Path) -> None:
    frame, scores = holdout(300), np.random.default_rng(1).uniform(size=300)
    kept(tmp_path, frame, scores)
    theirs = set(hash_keys(frame.filter(customer="Ann 4").select("customer", "at")))
    assert count_judged(tmp_path, theirs) == len(theirs) > 30

    redact_judged(tmp_path, theirs)
    redact_judged(tmp_path, theirs)

    left = read_judged(tmp_path, SimpleNamespace(files={JUDGED: ""}))  # type: ignore[arg-type]
    others = frame.with_columns(said=pl.Series(scores)).filter(pl.col("customer") != "Ann 4")
    said = dict(zip(left.keys, left.prediction.tolist(), strict=True))
    assert said == dict(zip(hash_keys(others.select("customer", "at")), others["said"].to_list(), strict=True))
    assert left.as_of == instant("2024-05-01")
    assert hash_file(tmp_path / JUDGED) in erased_hashes(tmp_path, JUDGED)
    assert count_judged(tmp_path, theirs) == 0
