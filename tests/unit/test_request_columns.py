"""What clients asked is read back from the lake as it was sent, also where tables hold it as texts of JSON."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.bundles.manifest import BundleColumn
from tasks.bundles.served_rows import decode_rows
from tasks.stores.harvest import harvest
from tasks.stores.journal import Origin, Predictions, pack
from tasks.stores.lake import Lake
from tasks.stores.request_columns import FORMER, apart, as_sent, columns_of, read_requests, to_columns
from tasks.stores.table_settings import HARVEST
from tests.conftest import instant

AT = "2026-01-02T00:00:00.000000Z"
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "number": st.floats(allow_nan=False, allow_infinity=False),
    "integer": st.integers(-(2**63), 2**63 - 1),
    "text": st.text(),
    "boolean": st.booleans(),
    "instant": st.just(AT),
}
NAMES = ("x", "Luftdruck (hPa)", "a.b", "x:y", "id", "价格", "^a$", "*", "row", "X", "A.b", "^58.", "İ", "ΣΣ")


@given(st.data())
def test_what_was_sent_is_read_back(data: st.DataObject) -> None:
    columns = tuple(
        BundleColumn(name=name, type=data.draw(st.sampled_from(sorted(VALUES))))  # type: ignore[arg-type] # one of them
        for name in data.draw(st.lists(st.sampled_from(NAMES), min_size=1, unique=True))
    )
    row = st.tuples(*(st.none() | VALUES[column.type] for column in columns))
    rows = data.draw(st.lists(row, min_size=1, max_size=5))
    ids = pl.DataFrame({"id": [str(place) for place in range(len(rows))]})
    names = [column.name for column in columns]
    kept = pl.concat([ids, to_columns(names, rows)], how="horizontal")
    assert decode_rows(kept, columns).rows() == rows
    sent = [{name: value for name, value in zip(names, row, strict=True) if value is not None} for row in rows]
    assert list(as_sent(kept)) == sent


@pytest.mark.parametrize("name", ["^a$", "*", "^.*$"])
def test_names_that_polars_reads_as_patterns_are_names(name: str) -> None:
    """Without an error their values were lost, or another column's were taken."""
    sent = pl.concat([pl.DataFrame({"id": ["x"], "a": [9.0]}), to_columns([name, "a"], [[1.5, 2.5]])], how="horizontal")
    types = {name: pl.Float64(), "a": pl.Float64()}
    assert read_requests(sent.lazy(), types, ("id",)).collect().to_dict(as_series=False) == {
        "id": ["x"],
        name: [1.5],
        "a": [2.5],
    }
    former = pl.DataFrame({"row": [json.dumps({name: 1.5, "a": 2.5})]})
    assert read_requests(former.lazy(), types).collect().rows() == [(1.5, 2.5)]


def test_a_number_that_is_none_is_missing_as_in_json() -> None:
    rows = to_columns(["x"], [[float("nan")], [float("inf")], [0.5]])
    assert rows.to_dict(as_series=False) == {"row:number:x": [None, None, 0.5]}


def test_what_json_does_not_have_is_refused() -> None:
    with pytest.raises(TypeError, match="no value of a request: list"):
        to_columns(["x"], [[1.0], [[1.0]]])


@pytest.mark.parametrize(
    ("values", "dtype", "read"),
    [
        ((1, 2.5, "3", True), pl.Float64(), [1.0, 2.5, 3.0, 1.0]),
        ((1, 2.5, "x", True), pl.Int64(), [1, None, None, 1]),
        ((1, 2.5, "x", True), pl.String(), ["1", "2.5", "x", "true"]),
        ((0, 1.0, "true", "x"), pl.Boolean(), [False, True, True, None]),
        ((1, 0.0, 2, 0.5, -1, "false"), pl.Boolean(), [True, False, None, None, None, False]),
    ],
)
def test_what_another_model_took_as_another_type(values: tuple[Any, ...], dtype: pl.DataType, read: list[Any]) -> None:
    rows = to_columns(["x"], [[value] for value in values])
    assert rows.width == len(set(map(type, values)))
    assert read_requests(rows.lazy(), {"x": dtype}).collect()["x"].to_list() == read


@pytest.mark.parametrize("apiece", [True, False])
@pytest.mark.parametrize("order", [("age", "Age", "AGE"), ("AGE", "Age", "age")])
def test_models_whose_columns_differ_in_capitals_are_harvested_one_after_the_other(
    tmp_path: Path, order: tuple[str, ...], *, apiece: bool
) -> None:
    """Delta knows names without regard to capitals: the second one stopped the harvest for good."""
    lake, folder = Lake(str(tmp_path / "lake"), "rentals"), tmp_path / "journal" / "rentals" / "instance"
    folder.mkdir(parents=True)
    for place, name in enumerate(order):
        record = Predictions(AT, [str(place)], [0.5], Origin(str(place), "new", (name,), None), [[place + 0.5]])
        (folder / f"predictions-{place}.msgpack").write_bytes(pack(record))
        if apiece or place == 2:
            assert harvest(tmp_path / "journal", "rentals", lake).predictions == (1 if apiece else 3)
    rows = lake.scan("predictions").sort("id").collect()
    for place, name in enumerate(order):
        read = decode_rows(rows, (BundleColumn(name=name, type="number"),))
        assert read[name].to_list() == [place + 0.5 if place == at else None for at in range(3)]
    assert list(as_sent(rows)) == [{name: place + 0.5} for place, name in enumerate(order)]
    assert list(as_sent(rows.select(columns_of(rows.columns, {"Age"})))) == [
        {name: place + 0.5} if name == "Age" else {} for place, name in enumerate(order)
    ]


@given(st.lists(st.text(min_size=1, max_size=3) | st.sampled_from(NAMES), min_size=1, max_size=8, unique=True))
def test_columns_that_are_named_anew_differ_in_more_than_capitals(names: list[str]) -> None:
    kept = to_columns(names[:1], [[0.5]])
    for place, name in enumerate(names[1:], 1):
        more = apart(to_columns([name], [[place + 0.5]]), kept.columns)
        kept = pl.concat([kept, more], how="diagonal")
    assert len({column.lower() for column in kept.columns}) == kept.width == len(names)
    read = read_requests(kept.lazy(), dict.fromkeys(names, pl.Float64())).collect()
    assert read.select(pl.sum_horizontal(pl.all())).to_series().to_list() == [at + 0.5 for at in range(len(names))]
    assert list(as_sent(kept)) == [{name: place + 0.5} for place, name in enumerate(names)]


@pytest.mark.parametrize("dtype", [pl.Float64(), pl.Int64(), pl.String(), pl.Boolean()])
def test_requests_as_texts_are_read_as_another_type_as_columns_are(dtype: pl.DataType) -> None:
    """A number among them that was to be read as a boolean was an error of Polars."""
    values = [1, 0.0, 2.5, "3", "true", "x", True, None, -(2**63)]
    texts = pl.DataFrame({"row": [*(json.dumps({"x": value}) for value in values), None]})
    columns = to_columns(["x"], [[value] for value in [*values, None]])
    read = read_requests(texts.lazy(), {"x": dtype}).collect()
    assert read.to_dict(as_series=False) == read_requests(columns.lazy(), {"x": dtype}).collect().to_dict(
        as_series=False
    )
    odd = pl.DataFrame({"row": [json.dumps({"x": value}) for value in ([1], {"a": 1}, 10**400)]})
    assert read_requests(odd.lazy(), {"x": dtype}).collect()["x"].to_list() == [None] * 3


def test_a_table_from_before_goes_on_with_columns(tmp_path: Path) -> None:
    """Both forms, in one table and one file; what both hold is read alike, and is searched for a person alike."""
    lake, folder = Lake(str(tmp_path / "lake"), "rentals"), tmp_path / "journal" / "rentals" / "instance"
    former = pl.DataFrame(
        {
            "id": ["a", "b"],
            "event_time": [instant("2026-01-01")] * 2,
            "served_at": [instant("2026-01-01")] * 2,
            "version": ["1", "1"],
            "bundle": ["old", "old"],
            "prediction": [0.25, 0.5],
            "row": [json.dumps({"x": 1.5, "kind": "a", "n": 3}), json.dumps({"x": None, "kind": None, "n": None})],
        },
        schema_overrides={"event_time": pl.Datetime("us", "UTC"), "served_at": pl.Datetime("us", "UTC")},
    )
    lake.append("predictions", former, transactions={"test": 1})
    folder.mkdir(parents=True)
    records = [
        Predictions(AT, ["c"], [0.75], Origin("2", "new", ("x", "kind", "n"), None), [[2.5, "b", 2**60 + 1]]),
        Predictions(AT, ["d"], [1.0], Origin("3", "newer", ("kind", "x", "more"), None), [["c", None, True]]),
    ]
    (folder / "predictions-1.msgpack").write_bytes(b"".join(map(pack, records)))
    harvest(tmp_path / "journal", "rentals", lake)
    table = lake.open("predictions")
    assert table is not None
    table.optimize.compact()
    rows = lake.scan("predictions").sort("id").collect()
    assert [column for column in rows.columns if column.startswith("row")] == [
        "row",
        *(f"row:{each}" for each in ("number:x", "text:kind", "integer:n", "boolean:more")),
    ]
    assert rows["row"].null_count() == 2
    assert rows[HARVEST].to_list() == [None, None, 2, 2]
    columns = (
        BundleColumn(name="x", type="number"),
        BundleColumn(name="n", type="integer"),
        BundleColumn(name="kind", type="text"),
        BundleColumn(name="never", type="text"),
    )
    read = [(1.5, 3, "a", None), (None, None, None, None), (2.5, 2**60 + 1, "b", None), (None, None, "c", None)]
    assert decode_rows(rows, columns).rows() == read
    asked = list(as_sent(rows.select("id", *columns_of(rows.columns, {"kind"}))))
    assert [each.get("kind") for each in asked] == ["a", None, "b", "c"]


@pytest.mark.parametrize("rows", [0, 3])
def test_rows_of_now_need_nothing_of_the_former_column(rows: int) -> None:
    types = {"id": pl.String, FORMER: pl.String, "row:number:x": pl.Float64}
    frame = pl.DataFrame([["a", None, 1.5]] * rows, schema=types, orient="row")
    found = read_requests(frame.lazy(), {"x": pl.Float64(), "y": pl.String()}, ["id"]).collect()
    assert found.to_dict(as_series=False) == {"id": ["a"] * rows, "x": [1.5] * rows, "y": [None] * rows}
