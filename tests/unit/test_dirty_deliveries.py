"""What people really deliver is read right, or refused with a remedy that works; nothing is read silently wrong."""

from __future__ import annotations

import csv
import io
import json
import os
import tarfile
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import numpy as np
import polars as pl
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import _registry

from expectations.data import EVENT_TIME
from expectations.errors import ExpressionError, SourceError, UseCaseError
from expectations.expressions import parse_expression
from expectations.loading import load_use_case
from flows.checking import CheckResult, check_use_case
from infra.serving.bad_requests import BadRequestError
from infra.serving.protocol import Reader
from infra.settings import Settings
from tasks.bundles.manifest import BundleColumn
from tasks.cleaning.cleaning import clean_batches
from tasks.collection.collecting import Collected, collect_sources
from tasks.collection.numbers import Notation
from tasks.collection.sources.file import FileSource
from tasks.collection.sources.tables import _partitions
from tasks.collection.types import cast_column
from tasks.monitoring.report import draw_report
from tasks.stores.lake import Lake
from tasks.stores.lake_tables import BATCH
from tests.conftest import instant

YAML = """\
name: pumps
title: Will this pump stop within the hour?
task: binary_classification
clock: {CLOCK}
keys: [KEYS]
sources:
  readings: {kind: file, path: PATH}
COLUMNS
label: {column: stops, available_after: 1h}
features:
  - numeric: [pressure]
  - encode: [ENCODE]
FEATURESmodel: {candidates: [{family: lightgbm, rounds: 5, min_rows_in_leaf: 1, patience: null}]}
evaluation: {min_rows: 10}
gates: [{metric: roc_auc, min: 0.1}]
monitoring:
  every: 1d
  performance: [{metric: roc_auc, drop: 0.1}]
  policy: {cooldown: 1d}
"""
HEAD = "time,pump,pressure,stops\n"
PARIS = "column: time, timezone: Europe/Paris"


def row(at: int, pressure: str = "5.1", pump: str = "north", when: str | None = None, more: str = "") -> str:
    return f"{when or f'2024-01-{1 + at // 24:02d} {at % 24:02d}:00:00'},{pump},{pressure},{at % 5 == 0:d}{more}\n"


def rows(number: int, start: int = 0, **options: Any) -> str:
    return "".join(row(at, **options) for at in range(start, start + number))


class Pumps:
    """A use case whose deliveries are written and collected."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.lake, self.features = folder, Lake(str(folder / "lake"), "pumps"), ""

    def put(self, content: str | bytes, name: str = "readings.csv") -> None:
        target = self.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)

    def write(
        self, path: str = "readings.csv", clock: str = "column: time", keys: str = "time, pump", columns: str = "",
        encode: str = "pump",
    ) -> None:  # fmt: skip
        written = YAML.replace("CLOCK", clock).replace("KEYS", keys).replace("PATH", path).replace("ENCODE", encode)
        written = written.replace("FEATURES", self.features)
        (self.folder / "usecase.yaml").write_text(written.replace("COLUMNS", columns), encoding="utf-8")
        (self.folder / "suite.yaml").write_text("[]\n")

    def collect(self, **options: str) -> Collected:
        self.write(**options)
        return collect_sources(load_use_case(str(self.folder)), self.lake, instant("2025-01-01"), b"secret")

    def clean(self) -> pl.DataFrame:
        clean_batches(load_use_case(str(self.folder)), self.lake)
        return self.lake.scan("clean").collect().sort("time", "_batch").unique("time", keep="last", maintain_order=True)

    def read(self) -> pl.DataFrame:
        raw = self.lake.scan("raw").collect().sort("_batch", "time", maintain_order=True)
        return raw.unique(["time", "pump"], keep="last", maintain_order=True).sort("time", maintain_order=True)

    def refuses(self, message: str, **options: str) -> str:
        with pytest.raises(SourceError, match=message) as raised:
            self.collect(**options)
        return str(raised.value)


@pytest.fixture
def pumps(tmp_path: Path) -> Pumps:
    return Pumps(tmp_path)


# --- a table that grows -----------------------------------------------------------------------------------------------


def test_case_1_an_undeclared_number_is_a_float_from_the_start(pumps: Pumps) -> None:
    pumps.put(HEAD + rows(48, pressure="5"))
    pumps.collect()
    pumps.clean()
    pumps.put(HEAD + rows(48, pressure="5") + rows(24, 48, pressure="5.5"))
    assert (pumps.collect().new, pumps.collect().new) == (24, 0)
    assert pumps.clean()["pressure"].to_list() == pumps.read()["pressure"].to_list() == [5.0] * 48 + [5.5] * 24


def test_case_1_whole_numbers_of_a_table_become_wider_in_all_that_follows(pumps: Pumps) -> None:
    head = HEAD.replace("\n", ",load\n")
    pumps.put(head + rows(48, more=",5"))
    pumps.collect()
    pumps.clean()
    version = pumps.lake.version("raw")
    pumps.put(head + rows(48, more=",5") + rows(24, 48, more=",5.5"))
    found = pumps.collect()
    assert (found.new, found.corrected) == (24, 0)
    assert found.changes == ("load held whole numbers, and from now on numbers",)
    assert pumps.collect().changes == ()
    assert pumps.clean()["load"].to_list() == pumps.read()["load"].to_list() == [5.0] * 48 + [5.5] * 24
    assert pumps.lake.scan("raw", version).collect()["load"].to_list() == [5] * 48


def test_case_2_a_column_has_no_type_until_its_first_value(pumps: Pumps) -> None:
    head = HEAD.replace("\n", ",note\n")
    pumps.put(head + rows(48, more=","))
    assert pumps.collect().said == ("note without any value yet: kept from the first value on",)
    pumps.put(head + rows(48, more=",") + rows(24, 48, more=",ok"))
    found = pumps.collect()
    assert (found.new, found.corrected, found.changes) == (24, 0, ("note new: missing in earlier rows",))
    assert pumps.read()["note"].to_list() == [None] * 48 + ["ok"] * 24


@pytest.mark.slow
def test_case_3_a_new_column_is_kept_and_used_once_it_is_named(pumps: Pumps) -> None:
    pumps.put(HEAD + rows(300))
    pumps.collect()
    pumps.clean()
    pumps.put(HEAD.replace("\n", ",flow\n") + rows(324, more=",7"))
    found = pumps.collect()
    assert (found.new, found.changes) == (24, ("flow new: missing in earlier rows",))
    assert pumps.clean().height == 324
    assert pumps.collect().corrected == 0
    pumps.put(HEAD.replace("\n", ",flow\n") + rows(325, more=",7.5"))
    assert pumps.collect(columns="columns: {flow: {type: number}}", encode="pump, flow").new == 1
    flow = pumps.read()["flow"]
    assert pumps.clean()["flow"].equals(flow)
    assert (flow.head(24).null_count(), flow.tail(1).item(), len(flow)) == (24, 7.5, 325)


def test_case_3_a_column_more_in_one_file_of_several(pumps: Pumps) -> None:
    pumps.put(HEAD + rows(24), "in/a.csv")
    pumps.put(HEAD.replace("\n", ",flow\n") + rows(24, 24, more=",7"), "in/b.csv")
    found = pumps.collect(path="in/*.csv")
    assert found.said == ("readings: flow only in some of the files: missing in the rows of the others",)
    assert pumps.read()["flow"].to_list() == [None] * 24 + [7] * 24
    pumps.put(HEAD.replace("pressure", "Pressure") + rows(24, 48), "in/c.csv")
    pumps.refuses(r"pressure not in all of them \(pressure not in c.csv\)", path="in/*.csv")


# --- texts, numbers, instants -----------------------------------------------------------------------------------------


def test_case_4_leading_zeros_stay_also_where_only_some_files_have_them(pumps: Pumps) -> None:
    head = HEAD.replace("\n", ",zip\n")
    pumps.put(head + rows(24, more=",12345"), "in/a.csv")
    pumps.put(head + rows(24, 24, more=",01234"), "in/b.csv")
    pumps.collect(path="in/*.csv", encode="zip")
    assert pumps.read()["zip"].to_list() == ["12345"] * 24 + ["01234"] * 24
    pumps.put(head + rows(24, 48, more=",12345"), "in/b.csv")  # a later delivery decides nothing anew
    pumps.collect(path="in/*.csv", encode="zip")
    assert pumps.read()["zip"].to_list() == ["12345"] * 24 + ["01234"] * 24 + ["12345"] * 24


@pytest.mark.parametrize(
    ("written", "form", "first"),
    [
        ("0{a}/0{b}/2024", "%m/%d/%Y", datetime(2024, 1, 2, tzinfo=UTC)),
        ("0{a}/0{b}/2024", "%d/%m/%Y", datetime(2024, 2, 1, tzinfo=UTC)),
        ("0{a}.0{b}.2024 13:30", "%d.%m.%Y %H:%M", datetime(2024, 2, 1, 13, 30, tzinfo=UTC)),
        ("2024/0{a}/0{b}", "%Y/%m/%d", datetime(2024, 1, 2, tzinfo=UTC)),
    ],
)
def test_case_5_a_date_is_read_as_it_is_declared_alone(pumps: Pumps, written: str, form: str, first: datetime) -> None:
    pumps.put(HEAD + "".join(row(at, when=written.format(a=1 + at % 9, b=2 + at % 3)) for at in range(9)))
    said = pumps.refuses("instant in the column 'time'.*9 of 9 values that are none.*declare")
    assert f'"{form}"' in said
    pumps.collect(clock=f'column: time, format: "{form}"')
    assert pumps.read()["time"].min() == first
    assert len(pumps.read()) == 9


def test_case_5_a_day_above_twelve_is_no_proof_where_others_fit_both(pumps: Pumps) -> None:
    pumps.put(HEAD + row(0, when="01/02/2024") + row(1, when="13/02/2024"))
    assert '`format: "%d/%m/%Y"`' in pumps.refuses("Declare it")
    pumps.put(HEAD + row(0, when="01/02/2024") + row(1, when="13/02/2024") + row(2, when="02/13/2024"))
    pumps.refuses("3 of 3 values that are none")


@pytest.mark.parametrize("text", ["2024-02-30", "2024-01-01 25:00:00", "2024-1-1", "soon", "2024-01-01T10:00:60Z"])
def test_case_5_what_is_no_instant_to_the_service_is_none_to_collection(pumps: Pumps, text: str) -> None:
    pumps.put(HEAD + rows(5) + row(5, when=text))
    pumps.refuses("1 of 6 values that are none, the first in row 6")


def test_case_5_every_way_of_iso_is_one_instant(pumps: Pumps) -> None:
    texts = ["2024-01-01T12:00:00Z", "2024-01-01 12:00", "2024-01-01T13:00:00+01:00", "20240101T120000Z",
             "2024-01-01T12:00:00.000000", "2024-01-01 12:00:00+00:00"]  # fmt: skip
    pumps.put(HEAD + "".join(row(at, when=text, pump=str(at)) for at, text in enumerate(texts)))
    pumps.collect(columns="columns: {pump: {type: text}}")
    assert pumps.read()["time"].to_list() == [datetime(2024, 1, 1, 12, tzinfo=UTC)] * len(texts)


def test_case_6_the_hour_that_is_left_out_is_read_as_the_service_reads_it(pumps: Pumps) -> None:
    pumps.put(HEAD + rows(48) + row(49, when="2024-03-31 02:30:00"))
    found = pumps.collect(clock=PARIS)
    assert (found.new, found.lost) == (49, 0)
    assert "1 times lie in an hour that Europe/Paris leaves out" in found.said[0]
    assert pumps.read()["time"].max() == datetime(2024, 3, 31, 1, 30, tzinfo=UTC)


DOUBLED = [("01:30", 23), ("02:00", 0), ("02:30", 0.5), ("02:00", 1), ("02:30", 1.5), ("03:00", 2)]


@pytest.mark.parametrize("descending", [False, True])
def test_case_7_the_order_of_rows_says_which_of_two_hours_is_meant(pumps: Pumps, *, descending: bool) -> None:
    written = [
        row(at, when=f"2024-10-27 {text}:00", pump=pump, pressure=str(hour))
        for at, (text, hour) in enumerate(DOUBLED)
        for pump in ("north", "south")
    ]
    pumps.put(HEAD + "".join(reversed(written) if descending else written))
    found = pumps.collect(clock=PARIS)
    assert (found.new, found.lost) == (12, 0)
    assert "8 times lie in an hour that Europe/Paris has twice: 4 of them are read as the second" in found.said[0]
    midnight = datetime(2024, 10, 27, tzinfo=UTC)
    for pressure, when in pumps.read().select("pressure", "time").rows():
        assert when == midnight + timedelta(hours=pressure if pressure < 23 else -0.5)
    assert pumps.collect(clock=PARIS).corrected == 0


def test_case_7_without_an_order_the_two_are_set_apart(pumps: Pumps) -> None:
    times = ["05:00", "01:00", "02:30", "02:30", "02:10", "03:00"]
    pumps.put(HEAD + "".join(row(at, when=f"2024-10-27 {text}:00") for at, text in enumerate(times)))
    found = pumps.collect(clock=PARIS)
    assert (found.new, found.lost) == (4, 2)
    assert "2 that share theirs with another row, in no order, have no event time" in found.said[0]


def test_case_8_whole_numbers_of_64_bits_are_exact(pumps: Pumps) -> None:
    head = HEAD.replace("\n", ",order\n")
    numbers = [9007199254740993, 9007199254740992, 2**63 - 1, -(2**63)]
    pumps.put(head + "".join(row(at, more=f",{number}") for at, number in enumerate(numbers)))
    assert pumps.collect(keys="order").new == 4
    assert sorted(pumps.read()["order"]) == sorted(numbers)


def test_case_8_orders_beyond_64_bits_are_texts(pumps: Pumps) -> None:
    frame = pl.read_csv(io.StringIO(HEAD + rows(3))).with_columns(
        order=pl.Series([2**63, 2**63 + 1, 5], dtype=pl.UInt64)
    )
    frame.write_parquet(pumps.folder / "readings.parquet")
    pumps.collect(path="readings.parquet", keys="order", clock="column: time")
    assert sorted(pumps.read()["order"]) == sorted(["9223372036854775808", "9223372036854775809", "5"])


# --- files ------------------------------------------------------------------------------------------------------------


def zipped(**files: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return packed.getvalue()


def tarred(**files: str) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return packed.getvalue()


@pytest.mark.parametrize(("name", "pack"), [("readings.zip", zipped), ("readings.tar.gz", tarred)])
def test_case_9_all_members_of_an_archive_are_read(pumps: Pumps, name: str, pack: Callable[..., bytes]) -> None:
    pumps.put(pack(**{"jan.csv": HEAD + rows(48), "feb.csv": HEAD + rows(48, 48)}), name)
    assert pumps.collect(path=name).new == 96


@pytest.mark.parametrize("fork", ["__MACOSX/._jan.csv", "._jan.csv", ".DS_Store"])
def test_case_9_resource_forks_are_left_out(pumps: Pumps, fork: str) -> None:
    pumps.put(zipped(**{fork: "x", "jan.csv": HEAD + rows(48)}), "readings.zip")
    assert pumps.collect(path="readings.zip").new == 48


@pytest.mark.parametrize(
    ("separator", "written"), [(";", '";"'), ("\t", r'"\\t"'), ("|", r'"\|"')], ids=["semicolon", "tab", "bar"]
)
def test_case_10_another_separator_is_named(pumps: Pumps, separator: str, written: str) -> None:
    pumps.put((HEAD + rows(48)).replace(",", separator).replace("5.1", "5,1"))
    pumps.refuses(f'Declare `separator: {written}` .*`decimal: ","`')
    pumps.collect(path=f"readings.csv, separator: {json.dumps(separator)}, decimal: ','")
    assert pumps.read()["pressure"].to_list() == [5.1] * 48


def test_case_10_a_number_is_read_as_it_is_declared_alone(pumps: Pumps) -> None:
    pumps.put(
        (HEAD + rows(1, pressure="1.234,5") + rows(1, 1, pressure="1.234")).replace(",", ";").replace("4;5", "4,5")
    )
    options = 'readings.csv, separator: ";", decimal: ","'
    pumps.refuses('declare `thousands: "."` at the source', path=options)
    pumps.collect(path=f'{options}, thousands: "."')
    assert pumps.read()["pressure"].to_list() == [1234.5, 1234.0]
    pumps.put((HEAD + rows(1, 2, pressure="12.34")).replace(",", ";"))  # no group of three
    pumps.refuses("1 of 1 values that are none", path=f'{options}, thousands: "."')


def test_case_11_an_encoding_is_declared(pumps: Pumps) -> None:
    pumps.put((HEAD + rows(48, pump="Zürich")).encode("latin-1"))
    pumps.refuses("another encoding, first in line 2. Declare its `encoding`")
    pumps.collect(path="readings.csv, encoding: latin-1")
    assert set(pumps.read()["pump"]) == {"Zürich"}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_case_11_an_encoding_that_the_first_bytes_say_is_reported(pumps: Pumps, encoding: str) -> None:
    pumps.put((HEAD + rows(48, pump="Zürich")).encode(encoding))
    found = pumps.collect()
    assert list(found.said) == [f"readings: readings.csv is {encoding.upper()}, by its first bytes"] * (
        "8" not in encoding
    )
    assert set(pumps.read()["pump"]) == {"Zürich"}


def test_case_11_utf_16_without_its_first_bytes_is_named(pumps: Pumps) -> None:
    pumps.put((HEAD + rows(48)).encode("utf-16-le"))
    pumps.refuses("zero bytes in it, as UTF-16 has. Declare its `encoding`")
    assert pumps.collect(path="readings.csv, encoding: utf-16-le").new == 48


def test_case_11_quotes_in_a_name_are_no_longer_doubled(pumps: Pumps) -> None:
    pumps.put(HEAD.replace("\n", ',"Tarif: ""Art"", neu"\n') + rows(48, more=",1"))
    pumps.collect()
    assert 'Tarif: "Art", neu' in pumps.read().columns


@pytest.mark.parametrize("columns", ["columns: {pump: {type: text}}", ""])
def test_case_12_na_is_a_text_among_texts(pumps: Pumps, columns: str) -> None:
    pumps.put(HEAD + rows(24, pump="NA") + rows(24, 24, pump="ZA") + rows(1, 48, pump="ZA", pressure="NA"))
    pumps.collect(columns=columns)
    found = pumps.read()
    assert found["pump"].to_list() == ["NA"] * 24 + ["ZA"] * 25
    assert found["pressure"].to_list() == [5.1] * 48 + [None]


def test_case_12_na_is_missing_where_that_is_declared(pumps: Pumps) -> None:
    pumps.put(HEAD.replace("\n", ",land\n") + rows(24, more=",NA") + rows(24, 24, more=",ZA"))
    pumps.collect(path='readings.csv, missing: ["", NA]')
    assert pumps.read()["land"].to_list() == [None] * 24 + ["ZA"] * 24


@pytest.mark.parametrize(
    ("text", "option", "value"),
    [
        ("-", 'missing: ["", "-"]', None),
        ('"1,234.5"', 'thousands: ","', 1234.5),
        ("5%", 'signs: ["%"]', 5.0),
        ("€ 5", "signs: [€]", 5.0),
        ("1 234", 'thousands: " "', 1234.0),
    ],
)
def test_case_13_values_that_are_no_numbers_are_counted(
    pumps: Pumps, text: str, option: str, value: float | None
) -> None:
    pumps.put(HEAD + rows(48) + row(48, pressure=text))
    said = pumps.refuses("'pressure'.*a feature reads as one; found 1 of 49 values that are none, the first in row 49")
    assert option.partition(":")[0] in said
    pumps.collect(path=f"readings.csv, {option}")
    assert pumps.read()["pressure"].to_list() == [5.1] * 48 + [value]


@pytest.mark.parametrize("text", [" 5", "5e0", "+5.0", "5 "])
def test_case_13_a_number_may_have_spaces_and_an_exponent(pumps: Pumps, text: str) -> None:
    pumps.put(HEAD + rows(4) + row(4, pressure=text))
    pumps.collect()
    assert pumps.read()["pressure"].to_list() == [5.1] * 4 + [5.0]


def test_case_14_a_folder_and_its_partitions_are_read(pumps: Pumps) -> None:
    frame = pl.read_csv(io.StringIO(HEAD + rows(48)))
    for site, part in (("007", frame.head(24)), ("b", frame.tail(24))):
        (pumps.folder / f"in/site={site}").mkdir(parents=True)
        part.write_parquet(pumps.folder / f"in/site={site}/part.parquet")
    pumps.put("", "in/_SUCCESS")
    for path in ("in", "in/*/*.parquet", "in/**/*.parquet"):
        pumps.collect(path=path)
        assert pumps.read()["site"].to_list() == ["007"] * 24 + ["b"] * 24


@pytest.mark.parametrize(
    ("path", "file", "expected"),
    [
        ("data/*/data.csv", "data/day=1/data.csv", "1"),  # what is fixed occurs again
        ("d/*/x.csv", "d/day=1/x.csv", "1"),
        ("sales/", "sales/day=1/sales.parquet", "1"),
        ("data", "data/day=a%3Ab/a.csv", "a:b"),
        ("data", "data/day=__HIVE_DEFAULT_PARTITION__/a.csv", None),
        ("data", "data/a.csv", ...),  # no folder above the path is a column
        ("*.csv", "a.csv", ...),
    ],
)
def test_case_14_only_folders_below_what_is_fixed_are_columns(path: str, file: str, expected: object) -> None:
    folder = Path("/mnt/env=prod/uc")
    for start in ("", "s3://bucket/env=prod/"):
        where = (
            {"path": start + path, "address": start + file} if start else {"path": path, "address": f"{folder}/{file}"}
        )
        assert _partitions(**where, folder=folder) == ({} if expected is ... else {"day": expected})


class Bucket(MemoryFileSystem):
    """A store whose objects lie in memory."""

    protocol = "s3"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.removeprefix("s3:/")))


@pytest.mark.parametrize("path", ["s3://bucket/in/*/*.csv", "s3://bucket/in/**/*.csv", "s3://bucket/in/"])
def test_case_14_all_that_a_pattern_matches_in_a_store_is_read(
    pumps: Pumps, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(_registry, "s3", Bucket)
    store = fsspec.filesystem("s3")
    for at, site in enumerate(("a", "b")):
        store.pipe(f"/bucket/in/site={site}/rows.csv", (HEAD + rows(24, 24 * at)).encode())
    store.pipe("/bucket/in/_SUCCESS", b"")
    pumps.collect(path=json.dumps(path))
    assert pumps.read()["site"].to_list() == ["a"] * 24 + ["b"] * 24


def test_case_15_a_file_with_a_header_alone_has_no_rows(pumps: Pumps) -> None:
    pumps.put(HEAD + rows(48), "in/a.csv")
    pumps.put(HEAD, "in/b.csv")
    found = pumps.collect(path="in/*.csv")
    assert (found.new, found.said) == (48, ("readings: no rows in b.csv",))


# --- columns ----------------------------------------------------------------------------------------------------------


def test_case_18_names_that_differ_in_capitals(pumps: Pumps) -> None:
    pumps.put(HEAD.replace("\n", ",Pressure\n") + rows(48, more=",1"))
    found = pumps.collect()
    assert found.said == ("Pressure left out: in a table it would be the same as pressure",)
    assert pumps.read()["pressure"].to_list() == [5.1] * 48
    with pytest.raises(SourceError, match="pressure and Pressure"):
        pumps.collect(encode="pump, Pressure")


@pytest.mark.parametrize("name", ["*", "^pressure$", "^.*$"])
def test_case_25_names_that_would_be_read_as_patterns(pumps: Pumps, name: str) -> None:
    """They stood for other columns."""
    pumps.put(HEAD.replace("\n", f",{name}\n") + rows(48, more=",1"))
    found = pumps.collect()
    assert found.said == (f"readings: {name} left out: such a name is read as a pattern of names",)
    assert pumps.read()["pressure"].to_list() == [5.1] * 48
    with pytest.raises(SourceError, match="Rename them in the source"):
        pumps.collect(encode=f'pump, "{name}"')


def test_case_18_kinds_of_parquet_are_read_or_left_out_and_said(pumps: Pumps) -> None:
    frame = pl.read_csv(io.StringIO(HEAD + rows(2))).with_columns(
        lasted=pl.Series([timedelta(hours=1)] * 2),
        opens=pl.Series([time(9)] * 2),
        huge=pl.Series([2**64 - 1, 1], dtype=pl.UInt64),
        paid=pl.Series(["1.25", "2.50"]).str.to_decimal(scale=2),
        small=pl.Series([1, None], dtype=pl.Int8),
        kind=pl.Series(["a", "b"], dtype=pl.Categorical),
        parts=pl.Series([[1], [2]]),
        nothing=pl.Series([None, None], dtype=pl.Null),
    )
    frame.write_parquet(pumps.folder / "readings.parquet")
    found = pumps.collect(path="readings.parquet")
    assert "lasted (Duration" in found.said[0]
    assert "parts (List(Int64)) left out: no table here holds such" in found.said[0]
    read = pumps.read()
    assert read.select("huge", "paid", "small", "kind").rows() == [
        ("18446744073709551615", 1.25, 1, "a"),
        ("1", 2.5, None, "b"),
    ]
    assert not {"lasted", "opens", "parts", "nothing"} & set(read.columns)
    pumps.refuses("Duration.* in lasted. Write it as a number", path="readings.parquet", encode="lasted")


def test_case_26_an_infinite_number_is_missing(pumps: Pumps) -> None:
    pumps.put(
        HEAD + rows(45) + "".join(row(45 + at, pressure=text) for at, text in enumerate(["inf", "-Infinity", "1e999"]))
    )
    found = pumps.collect()
    assert found.said == ("readings: 3 infinite values of pressure taken for missing",)
    assert pumps.read()["pressure"].to_list() == [5.1] * 45 + [None] * 3


# --- other formats ----------------------------------------------------------------------------------------------------


def records(number: int) -> list[dict[str, Any]]:
    return [
        {"time": f"2024-01-01T{at:02d}:00:00Z", "pump": "007", "pressure": 5 if at else 5.5, "stops": at % 2, "n": None}
        for at in range(number)
    ]


@pytest.mark.parametrize(
    "name", ["readings.jsonl", "readings.ndjson", "readings.json", "list.json", "odd.log, format: jsonl"]
)
def test_case_34_json_lines_are_no_csv(pumps: Pumps, name: str) -> None:
    lines = [json.dumps(each) for each in records(20)]
    pumps.put(f"[{','.join(lines)}]" if name == "list.json" else "\n".join(lines) + "\n", name.partition(",")[0])
    pumps.collect(path=name)
    assert pumps.read().select("pump", "pressure").rows() == [("007", 5.5)] + [("007", 5.0)] * 19


def test_case_34_a_column_of_several_kinds_is_one_of_texts(pumps: Pumps) -> None:
    pumps.put(
        "".join(
            f"{json.dumps(each | {'pressure': value})}\n"
            for each, value in zip(records(3), ["a", 1, True], strict=True)
        ),
        "r.jsonl",
    )
    pumps.refuses("1 of 3 values that are none|2 of 3 values that are none", path="r.jsonl")
    pumps.put('{"time": "2024-01-01T00:00:00Z"}\n{"time": \n', "r.jsonl")
    pumps.refuses("r.jsonl, line 2: no JSON", path="r.jsonl")


@pytest.mark.parametrize("name", ["readings.arrow", "readings.feather", "stream.arrow"])
def test_case_34_arrow_and_feather_are_read(pumps: Pumps, name: str) -> None:
    frame = pl.DataFrame(records(20))
    write = frame.write_ipc_stream if name == "stream.arrow" else frame.write_ipc
    write(pumps.folder / name)
    pumps.collect(path=name)
    assert pumps.read()["pump"].to_list() == ["007"] * 20


def test_case_34_a_workbook_says_what_to_do(pumps: Pumps) -> None:
    pumps.put(zipped(**{"[Content_Types].xml": "<Types/>", "xl/workbook.xml": "<x/>"}), "readings.xlsx")
    pumps.refuses("Save it again as .xlsx, or as CSV", path="readings.xlsx")


# --- the service reads the same texts as the same values --------------------------------------------------------------

_ROWS = {
    "time": ["31/03/2024 02:30", "30/03/2024 12:00", "2024-03-30T12:00:00+01:00"],
    "pump": ["NA", "007", "Zürich"],
    "pressure": ["inf", "1e999", "5.5"],
}


def test_the_service_makes_the_same_values_of_the_same_texts(pumps: Pumps) -> None:
    columns = 'columns: {seen: {type: instant, format: "%d.%m.%y"}}'
    clock = f'{PARIS}, format: "%d/%m/%Y %H:%M"'
    written = list(zip(*_ROWS.values(), strict=True))
    lines = [
        f"{when},{pump},{pressure},{at % 2},0{at + 1}.02.24\n" for at, (when, pump, pressure) in enumerate(written)
    ]
    pumps.put(HEAD.replace("\n", ",seen\n") + "".join(lines))
    pumps.collect(clock=clock, columns=columns)
    spec = load_use_case(str(pumps.folder)).spec
    kinds = {"time": "instant", "pump": "text", "pressure": "number", "seen": "instant"}
    declared = [BundleColumn(name=name, type=kind, format=spec.format_of(name)) for name, kind in kinds.items()]
    reader = Reader(declared, "time", "Europe/Paris")
    asked = [
        {"time": when, "pump": pump, "pressure": float(pressure), "seen": f"0{at + 1}.02.24"}
        for at, (when, pump, pressure) in enumerate(written)
    ]
    answered, _ = reader.read(json.dumps({"dataframe_records": asked}).encode())
    served = {
        tuple(
            datetime.fromisoformat(getattr(one, field)) if kinds[name] == "instant" else getattr(one, field)
            for name, field in reader.fields.items()
        )
        for one in answered
    }
    assert served == set(pumps.lake.scan("raw").select(list(kinds)).collect().rows())
    with pytest.raises(BadRequestError, match="time needs an instant like %d/%m/%Y %H:%M"):
        reader.read(json.dumps({"dataframe_records": [{**asked[0], "time": "2024-03-30 12:00"}]}).encode())


def test_a_format_is_of_an_instant_with_its_day(pumps: Pumps) -> None:
    pumps.put(HEAD + rows(3))
    for clock, columns, words in (
        ('column: time, format: "%H:%M"', "", "no year, month and day in it"),
        ('column: time, format: "%d/%m/%Y %Q"', "", "%Q in it"),
        ("column: time", 'columns: {pump: {type: text, format: "%d/%m/%Y"}}', "it is text"),
    ):
        with pytest.raises(UseCaseError, match=words):
            pumps.collect(clock=clock, columns=columns)


# --- files that stay --------------------------------------------------------------------------------------------------


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names: list[str] = []
    fetch = FileSource.fetch

    def noted(self: FileSource, name: str, address: str) -> bytes:
        names.append(Path(address).stem)
        return fetch(self, name, address)

    monkeypatch.setattr(FileSource, "fetch", noted)
    return names


@pytest.mark.slow
def test_case_35_only_files_that_are_new_or_changed_are_read(pumps: Pumps, fetched: list[str]) -> None:
    def put(day: int, content: str) -> None:
        pumps.put(content, f"in/{day:02d}.csv")
        os.utime(pumps.folder / f"in/{day:02d}.csv", (day, day + len(content)))

    for day in range(20):
        put(day, HEAD + rows(24, 24 * day))
    assert pumps.collect(path="in").new == 480
    pumps.clean()
    every = [f"{day:02d}" for day in range(20)]
    assert fetched == every
    put(20, HEAD + rows(24, 480))
    fetched.clear()
    assert pumps.collect(path="in").new == 24
    pumps.clean()
    assert fetched == [f"{day:02d}" for day in range(12, 21)]  # those within the lookback may hold corrections
    put(3, HEAD + rows(24, 72) + row(0, when="2024-01-04 12:30:00"))
    fetched.clear()
    found = pumps.collect(path="in")
    assert (found.new, found.late) == (1, 1)
    assert fetched == ["03", *(f"{day:02d}" for day in range(13, 21))]
    pumps.clean()
    fetched.clear()
    assert (
        pumps.collect(path="in", columns="columns: {pump: {type: text}}").new == 0
    )  # another reading may read otherwise
    assert fetched == [*every, "20"]


def test_case_35_a_file_that_was_just_written_or_has_rows_without_a_time_is_read_again(
    pumps: Pumps, fetched: list[str]
) -> None:
    pumps.put(HEAD + rows(24), "in/a.csv")
    pumps.put(HEAD + rows(24, 24) + row(24, when="NA"), "in/b.csv")
    pumps.put(HEAD + rows(24, 480), "in/c.csv")
    os.utime(pumps.folder / "in/b.csv", (1, 1))
    pumps.collect(path="in")
    pumps.clean()
    pumps.put(HEAD + rows(24, 504), "in/d.csv")
    fetched.clear()
    assert pumps.collect(path="in").lost == 1
    assert fetched == ["a", "b", "c", "d"]


# --- what check says --------------------------------------------------------------------------------------------------


@pytest.fixture
def check(pumps: Pumps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, CheckResult]]:
    monkeypatch.setenv("DRIFTWHEEL_HOME", str(tmp_path / "home"))

    def tried(**options: str) -> dict[str, CheckResult]:
        pumps.write(**options)
        return {each.what: each for each in check_use_case(Settings(), str(pumps.folder))}

    return tried


def test_check_says_what_was_found_and_that_it_is_kept(pumps: Pumps, check) -> None:
    pumps.put(HEAD.replace("\n", ",zip\n") + rows(47, more=",01234") + row(47, pressure="inf", more=",01234"))
    found = check(encode="zip")
    assert found["columns"].found.endswith("kept: pump text, pressure number, zip text")
    assert "1 infinite value of pressure taken for missing" in found["source readings"].found


def test_check_says_what_comes_of_hashed_columns_in_requests(pumps: Pumps, check) -> None:
    pumps.put(HEAD + rows(48))
    assert "personal" not in check()
    declared = pumps.folder / "usecase.yaml"
    declared.write_text(declared.read_text() + "\npersonal: {pump: hash}\n")
    said = {each.what: each.found for each in check_use_case(Settings(), str(pumps.folder))}["personal"]
    assert said.startswith("pump: hashed where it enters, when collected and by the service alike; a request carries")


EXPECTED = "- {{type: expect_column_{}, kwargs: {{{}}}}}\n"


@pytest.mark.parametrize(
    ("expectation", "arguments", "failing"),
    [
        (
            "values_to_be_between",
            "column: time, min_value: 2024-01-01T02:00:00, max_value: 2024-01-01T04:00:00Z",
            [0, 1, 5],
        ),
        (
            "values_to_be_between",
            "column: time, min_value: 2024-01-01 02:00, max_value: 2024-01-01T06:00+02:00",
            [0, 1, 5],
        ),
        ("values_to_be_between", "column: time, max_value: 2024-01-01", [1, 2, 3, 4, 5]),
        ("values_to_be_between", "column: seen, min_value: 2024-01-03, max_value: 2024-01-05T00:00:00Z", [0, 1, 5]),
        ("values_to_be_in_set", "column: seen, value_set: [2024-01-02, 2024-01-06]", [0, 2, 3, 4]),
        ("values_to_match_regex", "column: n, regex: '^[0-9]$'", [5]),
        ("value_lengths_to_equal", "column: n, value: 1", [5]),
        ("values_to_be_between", "column: n, max_value: 9007199254740992", [5]),
        ("values_to_be_in_set", "column: n, value_set: [1, 3, 9007199254740992]", [2, 4, 5]),
        ("values_to_not_be_null", "column: n", [0]),
        ("pair_values_a_to_be_greater_than_b", "column_A: pressure, column_B: n, row_condition: n > 1", [5]),
        ("values_to_be_between", "column: n, min_value: 4, row_condition: n > 2", [3]),
        ("values_to_not_be_null", "column: n, row_condition: n != 3", [0]),  # what is missing is not 3
        ("values_to_be_in_set", "column: seen, value_set: [2024-01-02, null]", [0, 2, 3, 4, 5]),
    ],
)
def test_case_20_exactly_the_failing_rows_are_set_apart(
    pumps: Pumps, expectation: str, arguments: str, failing: list[int]
) -> None:
    whole = ["", 1, 2, 3, 4, 9007199254740993]
    pumps.put(
        HEAD.replace("\n", ",n,seen\n") + "".join(row(at, more=f",{whole[at]},2024-01-{at + 1:02d}") for at in range(6))
    )
    types = "columns: {n: {type: integer}, seen: {type: instant}}"
    pumps.collect(columns=types)
    (pumps.folder / "suite.yaml").write_text(EXPECTED.format(expectation, arguments + ", mostly: 0.1"))
    cleaned = clean_batches(load_use_case(str(pumps.folder)), pumps.lake)
    assert (cleaned.held, sum(cleaned.quarantined.values())) == ((), len(failing))
    assert [at.hour for at in pumps.lake.scan("quarantine").collect()["time"].sort()] == failing


@pytest.mark.parametrize(
    ("expectation", "arguments"),
    [
        ("unique_value_count_to_be_between", "column: seen, min_value: 2, max_value: 6"),
        ("proportion_of_unique_values_to_be_between", "column: seen, min_value: 0.9"),
        ("values_to_be_between", "column: seen, max_value: 9999-12-31T23:59:59"),
        ("values_to_be_of_type", "column: n, type_: float64"),
        ("values_to_be_in_type_list", "column: n, type_list: [int, float]"),
    ],
)
def test_case_20_counts_of_instants_and_types_of_columns_are_judged_as_before(
    pumps: Pumps, expectation: str, arguments: str
) -> None:
    pumps.put(
        HEAD.replace("\n", ",n,seen\n") + "".join(row(at, more=f",{at or ''},2024-01-{at + 1:02d}") for at in range(6))
    )
    pumps.collect(columns="columns: {n: {type: integer}, seen: {type: instant}}")
    (pumps.folder / "suite.yaml").write_text(EXPECTED.format(expectation, arguments))
    cleaned = clean_batches(load_use_case(str(pumps.folder)), pumps.lake)
    assert (cleaned.held, cleaned.clean, cleaned.quarantined) == ((), 6, {})


def test_case_20_bounds_without_an_offset_are_in_the_zone_of_the_clock(pumps: Pumps) -> None:
    pumps.put(HEAD + rows(6))
    pumps.collect(clock=PARIS)  # hours 0 to 5 of Paris
    bounds = "column: time, min_value: 2024-01-01 01:00, max_value: 2024-01-01T03:00:00Z, mostly: 0.1"
    (pumps.folder / "suite.yaml").write_text(EXPECTED.format("values_to_be_between", bounds))
    clean_batches(load_use_case(str(pumps.folder)), pumps.lake)
    assert [at.hour for at in pumps.lake.scan("quarantine").collect()["time"].sort()] == [23, 4]


def test_case_20_a_bound_that_is_no_instant_is_a_problem_with_its_line(pumps: Pumps) -> None:
    pumps.put(HEAD + rows(6))
    pumps.collect()
    (pumps.folder / "suite.yaml").write_text(EXPECTED.format("values_to_be_between", "column: time, min_value: soon"))
    with pytest.raises(
        UseCaseError, match=r"suite.yaml:1: .*min_value of a column of instants must be an instant in ISO"
    ):
        clean_batches(load_use_case(str(pumps.folder)), pumps.lake)


@pytest.mark.slow
def test_case_23_a_million_failing_rows_are_held_and_counted(pumps: Pumps) -> None:
    pumps.put(HEAD + row(0))
    pumps.collect()
    first = pumps.lake.scan("raw").collect()
    at = pl.datetime_range(
        instant("2000-01-01"), instant("2000-01-01") + timedelta(seconds=999_999), "1s", eager=True, time_unit="us"
    )
    many = first[[0] * 1_000_000].with_columns(time=at, **{EVENT_TIME: at, BATCH: pl.lit(2, pl.Int64)})
    pumps.lake.append("raw", many, transactions={})
    bounds = "column: pressure, min_value: 6"
    (pumps.folder / "suite.yaml").write_text(EXPECTED.format("values_to_be_between", bounds))
    cleaned = clean_batches(load_use_case(str(pumps.folder)), pumps.lake)
    assert cleaned.held == ("expect_column_values_to_be_between(pressure): 1000001 of 1000001 rows failed",)
    assert (cleaned.clean, cleaned.quarantined) == (0, {})


def test_case_13_check_counts_what_is_no_number(pumps: Pumps, check) -> None:
    pumps.put(HEAD + rows(48) + row(48, pressure="-"))
    found = check()["source readings"]
    assert not found.good
    assert "1 of 49 values that are none, the first in row 49" in found.found


@pytest.mark.slow
def test_cases_32_and_33_check_takes_a_sample_over_all_rows_and_says_so(pumps: Pumps, check) -> None:
    lines = (f"{at},north,{at % 7 if at == 11_999 else ''},{at % 5 == 0:d},note {at}\n" for at in range(12_000))
    start = datetime(2024, 1, 1, tzinfo=UTC)
    times = ((start + timedelta(minutes=at)).isoformat() + line[len(str(at)) :] for at, line in enumerate(lines))
    pumps.put(HEAD.replace("\n", ",note\n") + "".join(times))
    found = check(encode="pump, note")
    assert found["one prediction"].good
    assert "from a sample of 4,001 of 12,000 rows, spread over them" in found["features"].found
    assert "4,001 in 4,001 rows: most are never seen again" in found["categories of note"].found


NAMES = [
    "Luftdruck (hPa)",
    "x:y",
    "价格",
    'a"b',
    "[z]",
    "a.b",
    "$p",
    "Größe",
    "it's",
    "a`b",
    "class",
    "a,b",
    "{q}",
    " sp",
]


def test_case_25_columns_of_any_name_are_learnt_from_and_served(pumps: Pumps, check) -> None:
    quoted = ['"' + name.replace('"', '""') + '"' for name in NAMES]
    values = [f",{at}" for at in range(len(NAMES))]
    lines = "".join(row(at, more="".join(values[:-1]) + f",{at % 7}") for at in range(96))
    pumps.put(HEAD.replace("\n", f",{','.join(quoted)}\n") + lines)
    numeric = json.dumps(NAMES[::2], ensure_ascii=False)
    texts = json.dumps(NAMES[1::2], ensure_ascii=False)
    ticked = [f"`{name.replace('`', '``')}`" for name in NAMES]
    terms = [*ticked[::2], *(f"(1 if {name} == '`' else 0)" for name in ticked[1::2])]
    expression = json.dumps(" + ".join(terms), ensure_ascii=False)
    pumps.features = f"  - numeric: {numeric}\n  - one_hot: {texts}\n  - expression: {expression}\n    name: total\n"
    found = check()
    assert {what: each.found for what, each in found.items() if not each.good} == {}
    assert "Luftdruck (hPa)" in found["features"].found
    assert "one prediction" in found


def test_case_25_a_name_in_backticks_is_shown_in_what_is_refused() -> None:
    parsed = parse_expression("`a b` + quoted_0 + `c``d`")
    assert parsed.columns == ("a b", "quoted_0", "c`d")
    with pytest.raises(ExpressionError, match="the text `'x'` where a number"):
        parse_expression("`a b` + 'x'")
    with pytest.raises(ExpressionError, match="`a b\\(1\\)`"):
        parse_expression("`a b`(1)")


@pytest.mark.slow
def test_case_25_columns_of_any_name_are_drawn_and_described(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    frame = pl.DataFrame(
        {name: random.normal(size=300) if at % 2 else random.choice(["a", "b"], 300) for at, name in enumerate(NAMES)}
    )
    drawn = draw_report(tmp_path, "pumps", frame, frame, name="w", tags=[])
    (stored,) = tmp_path.rglob(f"{drawn.snapshot}*")
    text = json.dumps(json.loads(stored.read_text()), ensure_ascii=False)
    assert all(json.dumps(name, ensure_ascii=False)[1:-1] in text for name in NAMES)


def test_case_25_columns_of_any_name_are_asked_for() -> None:
    columns = [BundleColumn(name=name, type="number") for name in NAMES]
    reader = Reader(columns)
    written = {name: float(at) for at, name in enumerate(NAMES)}
    for body in (
        {"dataframe_records": [written]},
        {"dataframe_split": {"columns": NAMES, "data": [list(written.values())]}},
        {"inputs": {name: [value] for name, value in written.items()}},
    ):
        ((asked,), _) = reader.read(json.dumps(body).encode())
        assert {name: getattr(asked, field) for name, field in reader.fields.items()} == written
    lines = io.StringIO(newline="")
    csv.writer(lines).writerows([NAMES, list(written.values())])
    ((asked,), _) = reader.read(lines.getvalue().encode(), "csv")
    assert {name: getattr(asked, field) for name, field in reader.fields.items()} == written


def test_case_25_a_key_that_no_model_knows_stands_for_no_column() -> None:
    reader = Reader([BundleColumn(name='a"b', type="number")])
    ((asked,), _) = reader.read(json.dumps({"dataframe_records": [{'a"b': 1.0, "(c0)": 5.0}]}).encode())
    assert asked.c0 == 1.0
    with pytest.raises(BadRequestError, match="is missing in row 0"):
        reader.read(json.dumps({"dataframe_records": [{"(c0)": 5.0}]}).encode())


@pytest.mark.parametrize("written", ["1e999", "-1e999", "9" * 400])
def test_a_number_beyond_a_float_is_refused_by_its_column_however_it_comes(written: str) -> None:
    """It was missing where it came as CSV; infinity itself is."""
    reader = Reader([BundleColumn(name="x", type="number")])
    for body, media in ((f"x\n{written}\n", "csv"), (f'{{"dataframe_records": [{{"x": {written}}}]}}', "json")):
        with pytest.raises(BadRequestError, match="the column x needs a finite number in row 0"):
            reader.read(body.encode(), media)
    assert reader.read(b"x\ninf\n", "csv")[0][0].c0 is None


@pytest.mark.parametrize("written", [("12345678901234567.00", "12345678901234569.00"), ("9007199254740993.0", "1e3")])
def test_case_8_identifiers_with_a_point_keep_all_their_digits(written: tuple[str, str]) -> None:
    """Two of them became one: they were read by way of a float."""
    expected = [int(float(each)) if "e" in each else int(each.partition(".")[0]) for each in written]
    notation, texts = Notation(), pl.Series("order", written)
    assert notation.integers(texts).to_list() == expected
    assert cast_column(texts, "integer", "readings", None).to_list() == expected
    assert notation.integers(pl.Series(["1e20", "7.5", "9007199254740993e0"])).to_list() == [None, None, None]


def test_case_26_of_numbers_one_and_zero_alone_are_booleans() -> None:
    """Each but 0 was true."""
    for kind in (pl.Int64, pl.Float64):
        assert cast_column(pl.Series("wet", [1, 0, None], dtype=kind), "boolean", "readings", None).to_list() == [
            True,
            False,
            None,
        ]
        with pytest.raises(SourceError, match="2 of 4 values that are none, the first in row 2"):
            cast_column(pl.Series("wet", [1, 2, -1, 0], dtype=kind), "boolean", "readings", None)
