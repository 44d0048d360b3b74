"""Protections: the same is put in the place of a personal value wherever it enters, and kept nowhere."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from expectations.errors import ExpressionError, SourceError, UseCaseError
from expectations.loading import load_use_case
from expectations.protection import Protection
from expectations.slots import PROTECTIONS
from flows.rows import _protected
from infra.serving.documentation import example
from infra.serving.models import make_ready
from infra.serving.protocol import Reader
from tasks.bundles.manifest import BundleColumn
from tasks.bundles.row_frames import jsonable
from tasks.collection.collecting import collect_sources
from tasks.deployment.scoring import predict_frame
from tasks.erasing.person import find_person
from tasks.stores.lake import Lake
from tests.conftest import instant
from tests.unit.test_collection import edit
from tests.unit.test_training import released, rows

SECRET = b"k"


def protection(written: dict[str, object]) -> Protection:
    part = PROTECTIONS.part_of(written)
    assert part is not None
    return part.model_validate(written)


@pytest.mark.parametrize(
    ("written", "values", "kept"),
    [
        ({"bucket": 10}, pl.Series([47, -3, None, 0, 9]), [40, -10, None, 0, 0]),
        ({"bucket": 10}, pl.Series([47.9, -3.2, None, math.nan, math.inf]), [40.0, -10.0, None, None, None]),
        ({"bucket": 7}, pl.Series([-(2**63), 2**63 - 1]), [None, 2**63 - 1]),
        ({"truncate": 3}, pl.Series(["10115", "ä", "", None]), ["101", "ä", "", None]),
        ({"truncate": 3}, pl.Series([10115, -7, None]), ["101", "-7", None]),
        ({"truncate": 2}, pl.Series([17.0, 2.5, math.nan]), ["17", "2.", None]),
        ({"truncate": 4}, pl.Series(["1980-05-01"]).str.to_date(), ["1980"]),
        ({"keep": True}, pl.Series([1, None]), [1, None]),
    ],
)
def test_what_is_kept_of_values(written: dict[str, object], values: pl.Series, kept: list[object]) -> None:
    how = protection(written)
    found = how.column(values.alias("x"), SECRET)
    assert (found.name, found.to_list()) == ("x", kept)
    assert how.value(1, SECRET) == how.column(pl.Series([1]), SECRET)[0]


@given(
    st.sampled_from([{"bucket": 10}, {"bucket": 3}, {"truncate": 2}, {"hash": True}]),
    st.lists(st.integers(-(2**63) + 1, 2**63 - 1) | st.none(), min_size=1),
    st.lists(st.floats(-1e300, 1e300) | st.none(), min_size=1),
    st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])) | st.none(), min_size=1),
)
def test_a_request_is_protected_as_a_delivery_is(
    written: dict[str, object], whole: list[int | None], numbers: list[float | None], texts: list[str | None]
) -> None:
    how = protection(written)
    values = {"integer": (whole, pl.Int64()), "number": (numbers, pl.Float64()), "text": (texts, pl.String())}
    for kind, (sent, dtype) in values.items():
        if how.misfits(kind):
            continue
        column = BundleColumn(name="x", type=how.type_of(kind), hashed_from=kind, protection=how)
        body = json.dumps({"dataframe_records": [{"x": each} for each in sent]})
        read, _ = Reader([column], secret=SECRET).read(body.encode())
        assert [row.c0 for row in read] == how.column(pl.Series(sent, dtype=dtype), SECRET).to_list()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"personal": {"hum": "hahs"}}, "a protection starts with one of: hash, drop, truncate, bucket, encrypt, keep"),
        ({"personal": {"hum": {"truncate": 0}}}, "personal.hum.*expected a number of at least 1; found the number 0"),
        ({"personal": {"time": {"truncate": 4}}}, "time identifies rows and cannot be truncated; hash it"),
        ({"personal": {"weathersit": {"bucket": 5}}, "columns.weathersit": {"type": "text"}}, "it takes numbers"),
    ],
)
def test_what_cannot_be_is_refused(make_use_case: Callable[..., Path], changes: dict[str, object], said: str) -> None:
    with pytest.raises(UseCaseError, match=f"(?s){said}"):
        load_use_case(str(make_use_case(changes=changes)))


def test_a_text_that_turns_up_is_put_into_no_range(make_use_case: Callable[..., Path], lake: Lake) -> None:
    folder = make_use_case(changes={"personal": {"street": {"bucket": 5}}})
    edit(folder, lambda frame: frame.with_columns(street=pl.lit("Long Lane")))
    with pytest.raises(SourceError, match="numbers in street, to be put into ranges") as refused:
        collect_sources(load_use_case(str(folder)), lake, instant("2011-02-01"), SECRET)
    assert "Long Lane" not in str(refused.value)


@pytest.mark.slow
def test_a_service_protects_what_it_is_asked(make_use_case: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_use_case(
        changes={
            "personal": {"weathersit": {"truncate": 2}, "age": {"bucket": 10}},
            "columns.age": {"type": "integer"},
            "features": [{"numeric": ["age", "temp"]}, {"encode": ["weathersit"]}],
        }
    )
    edit(folder, lambda frame: frame.with_row_index("age").with_columns(pl.col("age") % 83))
    usecase = load_use_case(str(folder))
    collected = rows(usecase, "2011-03-01")
    assert set(collected["age"]) == set(range(0, 90, 10))
    assert {len(each) for each in collected["weathersit"]} == {2}
    bundle, _, _ = released(usecase, collected, tmp_path / "bundle")
    columns = {each.name: each for each in bundle.manifest.columns}
    assert (columns["age"].type, columns["age"].sent) == ("integer", "integer")
    assert (columns["weathersit"].type, columns["weathersit"].sent) == ("text", "text")
    assert not usecase.spec.needs_key
    assert example(bundle)["weathersit"] == "text"
    ready = make_ready(bundle, 100)  # no key is needed
    few = collected.tail(4)
    clear = [
        row | {"age": row["age"] + 3, "weathersit": row["weathersit"] + "???"} for row in jsonable(few.select(*columns))
    ]
    found, _ = ready.reader.read(json.dumps({"dataframe_records": clear}).encode())
    field = ready.reader.fields
    assert [getattr(row, field["age"]) for row in found] == few["age"].to_list()
    assert [getattr(row, field["weathersit"]) for row in found] == few["weathersit"].to_list()
    expected = bundle.predict(few)
    assert np.array_equal(bundle.predictor.predict(ready.executor.matrix(found)), expected)
    assert predict_frame(bundle, pl.DataFrame(clear), secret=SECRET)["prediction"].to_list() == expected.tolist()


def test_nobody_is_named_by_what_many_share(make_use_case: Callable[..., Path]) -> None:
    spec = load_use_case(str(make_use_case(changes={"personal": {"zip": {"truncate": 3}, "who": "hash"}}))).spec
    with pytest.raises(ExpressionError, match="found zip, which is truncated"):
        find_person("zip == '10115'", spec, SECRET)
    assert len(find_person("who == 'Ann'", spec, SECRET).values["who"]) == 2


def test_two_protections_that_differ_read_differently() -> None:
    class Mask(Protection):
        mask: int
        letters: str = "*"

    assert str(Mask(mask=3)) == "mask 3"
    assert str(Mask(mask=3, letters="#")) == 'mask 3 {"letters": "#"}'
    assert [str(protection(each)) for each in ({"hash": True}, {"truncate": 3}, {"bucket": 10})] == [
        "hash",
        "truncate 3",
        "bucket 10",
    ]


def test_what_was_protected_otherwise_is_shown_as_missing_where_it_cannot_be_protected_now() -> None:
    asked = pl.DataFrame({"bundle": ["hashed", "now", "now"], "age": ["0f0f", "47", None]})
    found = asked.select(_protected("age", protection({"bucket": 10}), ["now"], lambda: SECRET))["age"]
    assert found.to_list() == [None, 47.0, None]  # of a bundle that did so by itself as it answered
    found = asked.select(_protected("age", protection({"truncate": 2}), ["now"], lambda: SECRET))["age"]
    assert found.to_list() == ["0f", "47", None]


def test_bundles_of_before_hash() -> None:
    column = BundleColumn.model_validate_json('{"name": "x", "type": "text", "hashed_from": "integer"}')
    assert str(column.replaced_by) == "hash"
    cut = BundleColumn(name="x", type="text", hashed_from="text", protection=protection({"truncate": 3}))
    assert str(BundleColumn.model_validate_json(cut.model_dump_json()).replaced_by) == "truncate 3"
