"""Personal values are hashed where they enter: what is asked means what was collected, and is kept nowhere."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from expectations.errors import BundleError, StateError
from expectations.loading import LoadedUseCase, load_use_case
from expectations.windows import Window
from flows.rows import newest_rows
from infra.serving.access import Access
from infra.serving.app import Service
from infra.serving.bad_requests import BadRequestError
from infra.serving.documentation import example
from infra.serving.journal_writer import Journal
from infra.serving.models import check_signature, make_ready
from infra.serving.mounts import Mounts
from infra.serving.protocol import Reader
from infra.serving.replies import Reply
from tasks.bundles.bundle import Bundle
from tasks.bundles.manifest import BundleColumn
from tasks.bundles.row_frames import jsonable
from tasks.bundles.served_rows import decode_rows, true_labels, window_predictions
from tasks.collection.collecting import collect_sources
from tasks.deployment.scoring import predict_frame
from tasks.stores.desired_state import Served
from tasks.stores.harvest import harvest
from tasks.stores.known import Known
from tasks.stores.lake import Lake
from tasks.stores.pseudonyms import pseudonym, pseudonyms
from tasks.stores.releases import Releases
from tests.conftest import instant, make_use_case
from tests.unit.test_training import released, rows

SECRET = b"k"
Made = tuple[LoadedUseCase, Bundle, dict[str, str | int]]
"""With what each pseudonym stands for."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A use case that reads a hashed text and is keyed by a hashed number, its bundle, and its source."""
    folder = tmp_path_factory.mktemp("hidden")
    at = make_use_case.__wrapped__(folder)(
        changes={
            "sources.rides.path": "data/rides.csv",
            "keys": ["time", "renter"],
            "columns.renter": {"type": "integer"},
            "personal": {"weathersit": "hash", "renter": "hash"},
        }
    )
    rides = pl.read_csv(at / "data" / "rides.csv.gz", infer_schema=False).with_row_index("renter", 70_000)
    (at / "data" / "rides.csv").write_text(rides.write_csv())
    usecase = load_use_case(str(at))
    bundle, _, _ = released(usecase, rows(usecase, "2011-03-01"), folder / "bundle")
    weather = pl.read_csv(at / "data" / "weather.csv.gz", infer_schema=False)
    return (
        usecase,
        bundle,
        {pseudonym(each, SECRET): each for each in (*weather["weathersit"].unique(), *rides["renter"])},
    )


def asked(made: Made, n: int = 4) -> tuple[list[dict], pl.DataFrame]:
    """Return rows as a client has them, and as they are collected."""
    usecase, bundle, meant = made
    collected = rows(usecase, "2011-02-01").tail(n)
    clear = jsonable(collected.select(column.name for column in bundle.manifest.columns))
    return [row | {name: meant[row[name]] for name in ("weathersit", "renter")} for row in clear], collected


def test_a_bundle_says_what_is_hashed(made: Made) -> None:
    columns = {column.name: column for column in made[1].manifest.columns}
    assert (columns["weathersit"].type, columns["weathersit"].hashed_from) == ("text", "text")
    assert (columns["renter"].type, columns["renter"].hashed_from) == ("text", "integer")
    assert columns["temp"].hashed_from is None
    assert example(made[1])["weathersit"] == "text"  # no pseudonym of the commonest
    assert example(made[1])["renter"] == 1


def test_every_form_of_a_request_is_hashed_as_what_was_collected(made: Made) -> None:
    _, bundle, _ = made
    ready = make_ready(bundle, 100, SECRET)
    clear, collected = asked(made)
    names = list(clear[0])
    expected = bundle.predict(collected).tolist()
    exact = {"dataframe_split": {"columns": names, "data": [list(row.values()) for row in clear]}}
    by_column = {"inputs": {name: [row[name] for row in clear] for name in names}}
    whole = [{**row, "renter": float(row["renter"])} for row in clear]  # no whole number by its type: read by value
    bodies = [exact, {"dataframe_records": clear}, {"instances": clear}, by_column, {"dataframe_records": whole}]
    table = pl.DataFrame(clear).write_csv().encode()
    read = [ready.reader.read(json.dumps(body).encode())[0] for body in bodies] + [ready.reader.read(table, "csv")[0]]
    for found in read:
        values = [
            dict(zip(ready.reader.order, map(row.__getattribute__, row.__struct_fields__), strict=True))
            for row in found
        ]
        assert [each["renter"] for each in values] == collected["renter"].to_list()
        assert [each["weathersit"] for each in values] == collected["weathersit"].to_list()
        assert bundle.predictor.predict(ready.executor.matrix(found)).tolist() == expected


def test_a_table_from_elsewhere_is_hashed_and_one_of_the_lake_is_not(made: Made) -> None:
    clear, collected = asked(made)
    of_lake = predict_frame(made[1], collected)
    outside = predict_frame(made[1], pl.DataFrame(clear), secret=SECRET)
    assert outside["prediction"].to_list() == of_lake["prediction"].to_list()
    assert outside["renter"].to_list() == of_lake["renter"].to_list()


def test_what_is_no_value_of_the_column_is_refused_before_it_is_hashed(made: Made) -> None:
    reader = make_ready(made[1], 100, SECRET).reader
    (row,), _ = asked(made, 1)
    with pytest.raises(BadRequestError, match="renter needs a whole number of 64 bits in row 0"):
        reader.read(json.dumps({"dataframe_records": [{**row, "renter": "seven"}]}).encode())
    (found,), _ = reader.read(json.dumps({"dataframe_records": [{**row, "renter": None}]}).encode())
    assert getattr(found, reader.fields["renter"]) is None


@pytest.mark.slow
def test_the_service_keeps_no_value_and_its_answers_find_their_labels(made: Made, tmp_path: Path) -> None:
    usecase, bundle, _ = made
    clear, collected = asked(made)
    releases, lake = Releases(tmp_path / "releases"), Lake(str(tmp_path / "lake"), usecase.name)
    releases.add(usecase.name, bundle.folder, bundle.digest)
    releases.set_desired(usecase.name, champion=Served(bundle=bundle.digest, version="1"))

    async def ask() -> list[Reply]:
        mounts, journal = Mounts(releases), Journal(tmp_path / "journal")
        await mounts.reconcile()
        assert "privacy.key there from where it was trained" in mounts.by_name[usecase.name].refused[bundle.digest]
        releases.keep_secret(SECRET)
        releases.set_desired(usecase.name, champion=None)
        releases.set_desired(usecase.name, champion=Served(bundle=bundle.digest, version="1"))
        await mounts.reconcile()
        service = Service(mounts, journal, Access(None, loopback=True))
        try:
            admitted = service.predictions.admit([])
            bodies = [json.dumps({"dataframe_records": [row]}).encode() for row in clear]
            return [await service.predictions.reply("/invocations", admitted, body) for body in bodies]
        finally:
            service.close()
            journal.close()

    answers = [json.loads(reply.body) for reply in asyncio.run(ask())]
    assert [answer["predictions"][0] for answer in answers] == bundle.predict(collected).tolist()
    written = b"".join(path.read_bytes() for path in (tmp_path / "journal").rglob("*") if path.is_file())
    for row in clear:
        assert str(row["renter"]).encode() not in written
    assert b"clear" not in written

    collect_sources(usecase, lake, instant("2011-03-01"), SECRET)
    harvest(tmp_path / "journal", usecase.name, lake)
    window = Window(collected["time"][0] - timedelta(hours=1), instant("2011-02-02"))
    predictions = window_predictions(lake, window, {})
    answered = decode_rows(predictions, bundle.manifest.columns)
    labels, _ = true_labels(
        predictions, answered, Known(lake, usecase.spec, instant("2011-03-01")), lake, window, bundle.manifest
    )
    assert labels.to_list() == collected["bikers"].cast(pl.Float64).to_list()
    shown = newest_rows(usecase, lake, releases, "predictions", head=10, secret=lambda: SECRET).rows
    assert set(shown["renter"]) == set(collected["renter"])  # and not hashed once more


def test_a_number_that_is_hashed_from_now_on_is_the_same_input(made: Made) -> None:
    manifest = made[1].manifest
    before = tuple(
        BundleColumn(name=each.name, type=each.sent, role=each.role) if each.hashed_from else each
        for each in manifest.columns
    )
    check_signature(manifest.model_copy(update={"columns": before}), manifest)
    other = tuple(
        each.model_copy(update={"hashed_from": "integer"}) if each.name == "weathersit" else each
        for each in manifest.columns
    )
    with pytest.raises(BundleError, match="weathersit was text"):
        check_signature(manifest, manifest.model_copy(update={"columns": other}))


@pytest.mark.parametrize(
    ("values", "same"),
    [
        (pl.Series([17, None, -3]), ["17", None, "-3"]),
        (pl.Series([17.0, float("nan"), 2.5]), ["17", None, "2.5"]),
        (pl.Series([True, None, False]), ["true", None, "false"]),
        (pl.Series(["ä", "", None]), ["ä", "", None]),
        (pl.Series(["ä", "b", None], dtype=pl.Categorical), ["ä", "b", None]),
        (pl.Series([None, None, None]), [None, None, None]),
    ],
)
def test_a_column_and_its_values_have_the_same_pseudonyms(values: pl.Series, same: list[str | None]) -> None:
    expected = [None if each is None else pseudonym(each, SECRET) for each in same]
    assert pseudonyms(values.alias("x"), SECRET).to_list() == expected
    assert all(each is None or len(each) == 32 for each in expected)
    column = BundleColumn(name="x", type="text", hashed_from="text")
    if values.dtype == pl.String:
        reader = Reader([column], secret=SECRET)
        read, _ = reader.read(json.dumps({"dataframe_records": [{"x": each} for each in values]}).encode())
        assert [row.c0 for row in read] == expected


def test_a_damaged_key_is_said(tmp_path: Path) -> None:
    releases = Releases(tmp_path)
    assert releases.secret() is None
    releases.keep_secret(b"k")
    assert releases.secret() == b"k"
    assert (tmp_path / "privacy.key").stat().st_mode & 0o077 == 0
    (tmp_path / "privacy.key").write_text("what")
    with pytest.raises(StateError, match=r"hexadecimal digits in .*privacy.key"):
        releases.secret()
