"""The rows that a champion was judged on are found again in the lake, whatever their keys and columns are."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from expectations.loading import load_use_case
from tasks.cleaning.cleaning import clean_batches
from tasks.collection.collecting import collect_sources
from tasks.monitoring.compared_rows import judged_rows
from tasks.stores.known import Known
from tasks.stores.lake import Lake
from tests.conftest import instant
from tests.unit.test_training import released

AS_OF = instant("2024-03-01")
Rows = list[dict[str, Any]]


def orders(number: int = 400) -> Rows:
    random.seed(1)
    return [
        {
            "time": (instant("2024-01-01") + timedelta(hours=each)).isoformat(),
            "id": each,
            "amount": random.randrange(99),
            "late": random.randrange(2),
        }
        for each in range(number)
    ]


def use_case(folder: Path, rows: Rows, changes: Mapping[str, Any]) -> str:
    folder.mkdir()
    pl.DataFrame(rows).write_csv(folder / "orders.csv")
    spec = {
        "name": "orders",
        "title": "Late?",
        "task": "binary_classification",
        "clock": {"column": "time"},
        "keys": ["id"],
        "sources": {"orders": {"kind": "file", "path": "orders.csv"}},
        "label": {"column": "late", "available_after": "1d"},
        "features": [{"numeric": ["amount"]}],
        "model": {"candidates": [{"family": "lightgbm", "rounds": 5, "leaves": 4, "patience": None}]},
        "gates": [{"metric": "log_loss", "max": 9.0}],
        "evaluation": {"min_rows": 50},
        "monitoring": {"every": "1w", "performance": [{"metric": "log_loss", "drop": 0.03}]},
        **changes,
    }
    (folder / "usecase.yaml").write_text(yaml.safe_dump({name: each for name, each in spec.items() if each}))
    (folder / "suite.yaml").write_text("[]")
    return str(folder)


COUNTED = {"every": {"rows": 100}, "performance": [{"metric": "log_loss", "drop": 0.03}]}
NAMED = {"amount": "key", "id": "_place"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rows", "changes"),
    [
        pytest.param([row | {"id": row["id"] + 0.25} for row in orders()], {}, id="fractions"),
        pytest.param(
            orders(), {"keys": ["time"], "clock": {"column": "time", "timezone": "Asia/Tokyo"}}, id="instants"
        ),
        pytest.param([row | {"id": f"id {row['id']}"} for row in orders()], {"personal": {"id": "hash"}}, id="hashed"),
        pytest.param(
            [{name: each for name, each in row.items() if name != "time"} for row in orders()],
            {"clock": None, "label": {"column": "late"}, "monitoring": COUNTED},
            id="no clock",
        ),
        pytest.param(
            [{NAMED.get(name, name): each for name, each in row.items()} for row in orders()],
            {"keys": ["_place"], "features": [{"numeric": ["key", "_place"]}]},
            id="columns named as hashes and places were",
        ),
        pytest.param(
            [row | {"id": f" id{row['id']}"} for row in orders()], {"cleaning": [{"trim": ["id"]}]}, id="trimmed"
        ),
        pytest.param(orders(), {"cleaning": [{"convert": {"columns": ["id"], "factor": 0.5}}]}, id="converted"),
        pytest.param(
            [row | {"id": f"{' ' * (row['id'] % 2)}id{row['id'] // 2}"} for row in orders()],
            {"cleaning": [{"trim": ["id"]}, {"drop_duplicates": "keys"}]},
            id="several trimmed to one",
        ),
    ],
)
def test_judged_rows_are_found_by_keys_of_any_kind_and_as_cleaning_leaves_them(
    tmp_path: Path, lake: Lake, rows: Rows, changes: Mapping[str, Any]
) -> None:
    usecase = load_use_case(use_case(tmp_path / "orders", rows, changes))
    collect_sources(usecase, lake, AS_OF, b"secret")
    clean_batches(usecase, lake)
    known = Known(lake, usecase.spec, AS_OF)
    bundle, judged, _ = released(usecase, known.labelled(), tmp_path / "bundle")
    assert judged.holdout is not None

    found = judged_rows(bundle, known)

    assert found is not None
    ticks = judged.holdout[usecase.spec.time_column].dt.epoch("us").to_numpy()
    np.testing.assert_array_equal(found.seconds, ticks.astype(np.float64) / 1e6)
    np.testing.assert_array_equal(found.prediction, judged.prediction)
    assert found.label.tolist() == judged.holdout["late"].to_list()
    for name in {"amount", "key"} & {*found.inputs.columns}:
        assert found.inputs[name].to_list() == judged.holdout[name].to_list()


@pytest.mark.slow
def test_where_collected_rows_lack_an_input_there_is_no_reference(tmp_path: Path, lake: Lake) -> None:
    """It was an error of polars, and no window of that champion was measured."""
    usecase = load_use_case(use_case(tmp_path / "orders", orders(), {}))
    collect_sources(usecase, lake, AS_OF, b"secret")
    clean_batches(usecase, lake)
    bundle, _, _ = released(usecase, Known(lake, usecase.spec, AS_OF).labelled(), tmp_path / "bundle")
    anew = Lake(str(tmp_path / "anew"), "orders")
    anew.append("raw", lake.scan("raw").drop("amount").collect(), transactions={"collect": 1})
    assert judged_rows(bundle, Known(anew, usecase.spec, AS_OF)) is None


@pytest.mark.slow
def test_of_some_keys_the_rows_are_those_of_all_of_them(tmp_path: Path, lake: Lake) -> None:
    """Of a large table the columns of judged rows alone are held, a corrected one as it was known."""
    usecase = load_use_case(use_case(tmp_path / "orders", orders(), {}))
    collect_sources(usecase, lake, AS_OF, b"secret")
    raw = lake.scan("raw").collect()
    later = raw.head(9).with_columns(pl.col("amount") + 1000, _batch=2, _collected=pl.lit(instant("2024-04-01")))
    lake.append("raw", later.cast(dict(raw.schema)), transactions={"corrected": 2})
    some = raw.select("id").gather_every(3)
    for as_of in (AS_OF, instant("2024-05-01")):
        known, since = Known(lake, usecase.spec, as_of), instant("2024-01-01T05:00:00")
        found = known.scan("raw", since=since, of=some).collect()
        everything = known.scan("raw", since=since).collect()
        assert found.equals(everything.filter(pl.col("id").is_in(some["id"].implode())))
        assert (found["amount"].max() >= 1000) == (as_of != AS_OF)
