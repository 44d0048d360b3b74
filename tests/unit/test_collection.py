"""What comes in: incremental, by key, and every fault of a source has a message and no effect."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from expectations.errors import DriftwheelError, JoinError, LakeError, SourceError
from expectations.loading import LoadedUseCase, load_use_case
from tasks.cleaning.cleaning import clean_batches
from tasks.collection import collecting
from tasks.collection.collecting import Collected, collect_sources
from tasks.collection.held_rows import with_held
from tasks.collection.joining import Joined
from tasks.stores.known import Known
from tasks.stores.lake import Lake
from tests.conftest import instant

Make = Callable[..., Path]


def collect(folder: Path, lake: Lake, as_of: str) -> Collected:
    return collect_sources(load_use_case(str(folder)), lake, instant(as_of), b"secret")


def edit(folder: Path, change: Callable[[pl.DataFrame], pl.DataFrame], name: str = "rides") -> None:
    path = folder / "data" / f"{name}.csv.gz"
    frame = pl.read_csv(path, infer_schema=False)
    path.write_bytes(gzip.compress(change(frame).write_csv().encode()))


def test_twice_adds_nothing_and_later_adds_what_is_new(make_use_case: Make, lake: Lake) -> None:
    folder = make_use_case()
    first = collect(folder, lake, "2011-02-01")
    again = collect(folder, lake, "2011-02-01")
    later = collect(folder, lake, "2011-03-01")
    assert (first.new, again.new, later.new) == (688, 0, 649)
    assert lake.scan("raw").select(pl.len()).collect().item() == first.new + later.new


def test_steps_in_between_do_not_change_what_is_known(make_use_case: Make, tmp_path: Path) -> None:
    folder = make_use_case()
    at_once, in_steps = Lake(str(tmp_path / "a"), "x"), Lake(str(tmp_path / "b"), "x")
    collect(folder, at_once, "2011-04-01")
    for day in ("2011-01-15", "2011-02-20", "2011-03-01", "2011-04-01"):
        collect(folder, in_steps, day)
    spec = load_use_case(str(folder)).spec
    seen = [
        Known(lake, spec, instant("2011-04-01")).rows("raw").drop("_batch", "_collected")
        for lake in (at_once, in_steps)
    ]
    assert seen[0].equals(seen[1])


@pytest.mark.slow
def test_late_rows_are_taken_however_late_and_corrections_inside_the_lookback(make_use_case: Make, lake: Lake) -> None:
    folder = make_use_case()
    whole = pl.read_csv(folder / "data" / "rides.csv.gz", infer_schema=False)
    late_inside, late_beyond = "2011-01-30T10:00:00Z", "2011-01-10T10:00:00Z"
    edit(folder, lambda f: f.filter(~pl.col("time").is_in([late_inside, late_beyond])))
    collect(folder, lake, "2011-02-01")
    clean_batches(load_use_case(str(folder)), lake)
    corrected, too_old = "2011-01-31T05:00:00Z", "2011-01-05T05:00:00Z"
    changed = pl.col("time").is_in([corrected, too_old])
    edit(folder, lambda _: whole.with_columns(bikers=pl.when(changed).then(pl.lit("7")).otherwise("bikers")))

    found = collect(folder, lake, "2011-02-01")

    assert (found.new, found.corrected, found.late, found.lost) == (2, 1, 1, 0)
    assert found.late_from == found.late_to == "2011-01-10 10:00"
    spec = load_use_case(str(folder)).spec
    rows = Known(lake, spec, instant("2011-02-02")).rows("raw")
    assert rows.filter(pl.col("time") == instant(corrected[:-1]))["bikers"].to_list() == [7.0]
    assert rows.filter(pl.col("time") == instant(late_beyond[:-1])).height == 1
    assert rows.filter(pl.col("time") == instant(too_old[:-1]))["bikers"].to_list() != [7.0]


@pytest.mark.parametrize(
    ("harm", "error", "message"),
    [
        (lambda d: (d / "rides.csv.gz").unlink(), SourceError, "nothing at data/rides.csv.gz"),
        (lambda d: (d / "rides.csv.gz").write_bytes(gzip.compress(b"")), SourceError, "is empty"),
        (
            lambda d: (d / "rides.csv.gz").write_bytes(gzip.compress(b"time,bikers\n")),
            SourceError,
            "found none in rides",
        ),
        (
            lambda d: (d / "rides.csv.gz").write_bytes((d / "rides.csv.gz").read_bytes()[:5000]),
            SourceError,
            "cut short",
        ),
        (lambda d: (d / "rides.csv.gz").write_bytes(b"no gzip"), SourceError, "cut short or damaged"),
        (
            lambda d: edit(d.parent, lambda f: f.rename({"workingday": "working_day"})),
            SourceError,
            r"no workingday \(there is working_day\)",
        ),
        (lambda d: edit(d.parent, lambda f: f.rename({"time": "hour"})), SourceError, "no time"),
        (
            lambda d: edit(d.parent, lambda f: f.with_columns(temp=pl.lit("warm")), "weather"),
            SourceError,
            "number in the column 'temp'.*first in row 1",
        ),
        (
            lambda d: edit(d.parent, lambda f: f.with_columns(time=pl.lit("yesterday"))),
            SourceError,
            "instant in the column 'time'",
        ),
        (
            lambda d: edit(d.parent, lambda f: f.with_columns(holiday=pl.lit("0.5"))),
            SourceError,
            "integer in the column",
        ),
        (
            lambda d: edit(d.parent, lambda f: pl.concat([f, f.tail(1)]), "weather"),
            JoinError,
            "2 rows that share theirs with another",
        ),
        (
            lambda d: edit(d.parent, lambda f: f.head(100), "weather"),
            JoinError,
            "a partner in 'weather' for at least 99.0%",
        ),
        (
            lambda d: edit(d.parent, lambda f: f.with_columns(bikers=pl.lit("many"))),
            SourceError,
            "numbers in the label",
        ),
    ],
)
def test_a_broken_source_is_told_and_leaves_no_trace(
    make_use_case: Make, lake: Lake, harm, error: type[DriftwheelError], message: str
) -> None:
    folder = make_use_case()
    harm(folder / "data")
    with pytest.raises(error, match=message) as caught:
        collect(folder, lake, "2011-03-01")
    assert lake.version("raw") is None
    assert "warm" not in str(caught.value)
    assert "many" not in str(caught.value)


@pytest.mark.slow
def test_a_column_that_nothing_reads_may_come_and_go(make_use_case: Make, lake: Lake) -> None:
    folder = make_use_case()
    collect(folder, lake, "2011-02-01")
    edit(folder, lambda f: f.with_columns(extra=pl.lit("1")))
    more = collect(folder, lake, "2011-03-01")
    assert (more.new, "extra new: missing in earlier rows" in more.changes) == (649, True)
    edit(folder, lambda f: f.drop("extra"))
    less = collect(folder, lake, "2011-04-01")
    assert (less.corrected, "extra no longer delivered: missing in new rows" in less.changes) == (0, True)
    newest = lake.scan("raw").filter(pl.col("time") >= instant("2011-02-01")).collect()
    assert newest.filter(pl.col("time") < instant("2011-03-01"))["extra"].to_list() == [1] * 649
    assert newest.filter(pl.col("time") >= instant("2011-03-01"))["extra"].null_count() == less.new


def test_a_column_that_is_read_may_not_go(make_use_case: Make, lake: Lake) -> None:
    folder = make_use_case()
    collect(folder, lake, "2011-02-01")
    edit(folder, lambda f: f.rename({"workingday": "working_day"}))
    with pytest.raises(SourceError, match=r"no workingday \(there is working_day\)"):
        collect(folder, lake, "2011-03-01")
    assert lake.scan("raw").collect().height == 688


def test_a_missing_package_says_how_to_get_it(make_use_case: Make, lake: Lake) -> None:
    folder = make_use_case(changes={"sources.rides": {"kind": "package", "package": "no_such_thing", "path": "x.csv"}})
    with pytest.raises(SourceError, match="pip install no_such_thing"):
        collect(folder, lake, "2011-03-01")


def test_many_files_by_glob_are_one_source(make_use_case: Make, lake: Lake) -> None:
    folder = make_use_case(changes={"sources.rides.path": "data/rides-*.parquet"})
    whole = pl.read_csv(folder / "data" / "rides.csv.gz")
    whole.head(4000).write_parquet(folder / "data" / "rides-1.parquet")
    whole.tail(-4000).write_parquet(folder / "data" / "rides-2.parquet")
    assert collect(folder, lake, "2012-01-01").new == 8645


def test_personal_columns_never_enter(make_use_case: Make, lake: Lake) -> None:
    folder = make_use_case(changes={"personal": {"email": "hash", "phone": "drop"}})
    edit(folder, lambda f: f.with_columns(email=pl.lit("ann@example.org"), phone=pl.lit("555")))
    collect(folder, lake, "2011-02-01")
    rows = lake.scan("raw").collect()
    assert "phone" not in rows.columns
    assert rows["email"].n_unique() == 1
    assert "ann" not in rows["email"][0]


def test_zones_of_the_clock_are_read(make_use_case: Make, lake: Lake, bikes: LoadedUseCase) -> None:
    folder = make_use_case(changes={"clock.timezone": "America/New_York"})
    for name in ("rides", "weather"):
        edit(folder, lambda f: f.with_columns(pl.col("time").str.strip_suffix("Z").str.replace("T", " ")), name)
    collect(folder, lake, "2011-02-01")
    assert lake.scan("raw").select(pl.col("time").min()).collect().item() == instant("2011-01-01T05:00:00")
    assert bikes.spec.clock.timezone == "UTC"


def test_a_misspelt_personal_column_is_refused(make_use_case: Make, lake: Lake) -> None:
    folder = make_use_case(changes={"personal": {"emial": "hash"}})
    with pytest.raises(SourceError, match="named under `personal`"):
        collect(folder, lake, "2011-02-01")


def test_parquet_of_pandas_kinds_is_read(make_use_case: Make, lake: Lake) -> None:
    folder = make_use_case(changes={"sources.rides.path": "data/rides.parquet"})
    rides = pl.read_csv(folder / "data" / "rides.csv.gz").with_columns(
        pl.col("time").str.to_datetime(time_unit="ns", time_zone="UTC").dt.replace_time_zone(None),
        pl.col("workingday").cast(pl.Int8),
        kind=pl.lit("a").cast(pl.Categorical),
        paid=pl.col("casual").cast(pl.Decimal(10, 2)),
        since=pl.lit("2010-01-01").str.to_date(),
    )
    rides.write_parquet(folder / "data" / "rides.parquet")
    assert collect(folder, lake, "2011-02-01").new == 688
    assert collect(folder, lake, "2011-02-01").new == 0
    assert lake.scan("raw").collect().schema["since"] == pl.Datetime("us", "UTC")


def test_join_columns_of_other_types_are_told(make_use_case: Make, lake: Lake) -> None:
    folder = make_use_case(changes={"sources.weather.join": {"on": {"casual": "hum"}}, "columns.hum": ...})
    with pytest.raises(JoinError, match="the same type on both sides"):
        collect(folder, lake, "2011-02-01")


PUMPS = """
name: pumps
title: Pumps
task: regression
clock: {column: time}
keys: [time, k]
sources: {readings: {kind: file, path: readings.csv}}
label: {column: y, available_after: 1h}
features: [{numeric: [x]}]
model: {candidates: [{family: lightgbm}]}
gates: [{metric: r2, min: 0.5}]
monitoring: {every: 1w, performance: [{metric: rmse, drop: 0.3}], policy: {cooldown: 1w}}
"""
HEADER = "time,k,x,y\n"


@pytest.fixture
def pumps(tmp_path: Path) -> Callable[..., Collected]:
    """Deliver a CSV file to a small use case, written as it stands or with changes, and collect it."""
    lake = Lake(str(tmp_path / "lake"), "pumps")
    (tmp_path / "suite.yaml").write_text("[]")

    def deliver(content: str, *changes: tuple[str, str]) -> Collected:
        written = PUMPS
        for before, after in changes:
            assert before in written
            written = written.replace(before, after)
        (tmp_path / "usecase.yaml").write_text(written)
        (tmp_path / "readings.csv").write_text(content)
        return collect(tmp_path, lake, "2024-03-01")

    deliver.lake = lake  # type: ignore[attr-defined]
    return deliver


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("{column: y,", '{column: z, expression: "y > 1",', "label y; found label z = y > 1"),
        ("keys: [time, k]", "keys: [time]", "keys k, time; found keys time"),
        ("{column: time}", "{column: time, timezone: America/New_York}", "clock time in UTC; found clock time in Am"),
        ("features:", "personal: {k: hash}\nfeatures:", "personal none; found personal k: hash"),
    ],
)
def test_what_rows_mean_does_not_change_unnoticed(pumps, before: str, after: str, says: str) -> None:
    content = f"{HEADER}2024-01-01T00:00:00Z,a,6,1\n2024-01-01T01:00:00Z,b,7,2\n"
    assert pumps(content).new == 2
    with pytest.raises(SourceError, match=says):
        pumps(content, (before, after))
    assert pumps(content, ("title: Pumps", "title: The pumps")).new == 0
    assert pumps.lake.scan("raw").collect()["k"].sort().to_list() == ["a", "b"]


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("{column: y,", "{column: y, words: {wet: rain},", "words none; found words wet as rain"),
        ("multiclass_", "binary_", "task multiclass_classification; found task binary_classification"),
    ],
)
def test_what_a_label_means_does_not_change_unnoticed(pumps, before: str, after: str, says: str) -> None:
    content = f"{HEADER}2024-01-01T00:00:00Z,a,6,rain\n2024-01-01T01:00:00Z,b,7,wet\n"
    words = (
        ("regression", "multiclass_classification"),
        ("metric: r2, min", "metric: accuracy, min"),
        ("metric: rmse", "metric: accuracy"),
    )
    assert pumps(content, *words).new == 2
    assert pumps(content, *words).new == 0
    with pytest.raises(SourceError, match=says):
        pumps(content, *words, (before, after))


def test_what_a_number_would_not_give_back_stays_a_text(pumps) -> None:
    big = 18446744073709551617
    keys = ["007", "7", str(big), str(big + 1)]
    assert pumps(HEADER + "".join(f"2024-01-01T00:00:00Z,{key},6,1\n" for key in keys)).new == 4
    assert pumps.lake.scan("raw").collect()["k"].sort().to_list() == sorted(keys)


def test_whole_numbers_and_others_are_one_kind_of_number(pumps) -> None:
    assert pumps(f"{HEADER}2024-01-01T00:00:00Z,a,6.5,1\n").new == 1
    assert pumps(f"{HEADER}2024-01-01T00:00:00Z,a,6.5,1\n2024-01-01T01:00:00Z,a,7,2\n").new == 1
    assert pumps.lake.scan("raw").collect()["x"].sort().to_list() == [6.5, 7.0]


def test_an_undeclared_number_that_a_feature_reads_is_one_from_the_start(pumps) -> None:
    assert pumps(f"{HEADER}2024-01-01T00:00:00Z,a,6,1\n").said == ()
    more = f"{HEADER}2024-01-01T00:00:00Z,a,6,1\n2024-01-01T01:00:00Z,a,7.5,2\n"
    assert pumps(more).said == ()
    assert pumps.lake.scan("raw").collect().sort("time")["x"].to_list() == [6.0, 7.5]


@pytest.mark.parametrize(
    ("odd", "value", "said"),
    [
        ("7.5", 7.5, "z held whole numbers, and from now on numbers"),
        ("9007199254740993", 2**53 + 1, ""),
        ("9007199254740993.0", 2**53 + 1, ""),
        ("7.0", 7, ""),
        ("inf", None, "readings: 1 infinite value of z taken for missing"),
        ("nan", None, ""),
        ("NA", None, ""),
    ],
)
def test_whole_numbers_become_numbers_once_and_that_is_said(pumps, odd: str, value: object, said: str) -> None:
    header = HEADER.replace("y\n", "y,z\n")
    first = f"{header}2024-01-01T00:00:00Z,a,6,1,6\n"
    assert pumps(first).new == 1
    both = f"{first}2024-01-01T01:00:00Z,a,7,2,{odd}\n"
    found = pumps(both)
    assert (found.new, found.corrected, [*found.said, *found.changes]) == (1, 0, [said] if said else [])
    assert pumps(both).changes == ()
    assert pumps.lake.scan("raw").collect().sort("time")["z"].to_list() == [6, value]


@pytest.mark.parametrize("declared", [[], [("features:", "columns: {z: {type: text}}\nfeatures:")]])
def test_whole_numbers_become_texts_where_that_is_declared(pumps, declared: list[tuple[str, str]]) -> None:
    header = HEADER.replace("y\n", "y,z\n")
    first = f"{header}2024-01-01T00:00:00Z,a,6,1,6\n"
    assert pumps(first).new == 1
    both = f"{first}2024-01-01T01:00:00Z,a,7,2,x7\n"
    if not declared:
        with pytest.raises(SourceError, match=r"z, as .*1 of 1 values that are none.*z: \{type: text\}"):
            pumps(both)
    found = pumps(both, ("features:", "columns: {z: {type: text}}\nfeatures:"))
    assert (found.new, found.corrected) == (1, 0)
    assert found.changes == ("z held whole numbers, and from now on texts",)
    assert pumps.lake.scan("raw").collect().sort("time")["z"].to_list() == ["6", "x7"]


def test_a_number_that_a_table_cannot_take_says_what_helps(pumps) -> None:
    header = HEADER.replace("y\n", "y,z\n")
    first = f"{header}2024-01-01T00:00:00Z,a,6,1,6.5\n"
    assert pumps(first).new == 1
    with pytest.raises(SourceError, match=r"z is String, was Float64.*another `name`"):
        pumps(f"{first}2024-01-01T01:00:00Z,a,7,2,x7\n")


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("time,k,x,y,_batch", "_batch"),
        ("time,k,x,y,_Hash", "_Hash"),
        ("time,k,x,y,x", "x several times in the first line of readings.csv"),
    ],
)
def test_columns_that_a_table_cannot_hold_are_refused_before_anything_is_written(pumps, header: str, says: str) -> None:
    with pytest.raises(SourceError, match=says):
        pumps(f"{header}\n2024-01-01T00:00:00Z,a,6,1,2\n")
    assert pumps.lake.version("raw") is None


def test_a_blank_line_is_no_row(pumps) -> None:
    found = pumps(f"{HEADER}\n2024-01-01T00:00:00Z,a,6,1\n\n\n2024-01-01T01:00:00Z,b,7,2\n\n")
    assert (found.new, found.lost) == (2, 0)


def test_a_label_is_a_finite_number_or_missing(pumps) -> None:
    with pytest.raises(SourceError, match="finite numbers in the label 'y'; found 1"):
        pumps(f"{HEADER}2024-01-01T00:00:00Z,a,6,inf\n")
    assert pumps(f"{HEADER}2024-01-01T00:00:00Z,a,6,nan\n2024-01-01T01:00:00Z,a,6,1.5\n").new == 2
    assert pumps.lake.scan("raw").collect()["y"].null_count() == 1


def test_a_table_that_is_damaged_meanwhile_is_said_wherever_it_is_read(make_use_case: Make, lake: Lake) -> None:
    folder = make_use_case()
    collect(folder, lake, "2011-02-01")
    (path,) = Path(lake.address("raw")).glob("*.parquet")
    content = path.read_bytes()
    path.write_bytes(content[:4] + b"\0" * (len(content) - 8) + content[-4:])  # as long, and Parquet at its ends
    spec, as_of = load_use_case(str(folder)).spec, instant("2011-03-01")
    with pytest.raises(LakeError, match="the table raw"):
        collect(folder, lake, "2011-03-01")
    with pytest.raises(LakeError, match="the table raw"):
        with_held({"rides": None}, lake.scan("raw"), lake, spec, as_of)


def test_the_log_of_the_table_may_be_shortened_while_sources_are_read(
    make_use_case: Make, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look elsewhere may do so: what was committed up to the version in use is asked before that."""
    folder, read = make_use_case(), collecting.join_sources
    collect(folder, lake, "2011-02-01")

    def slowly(*asked: Any, **how: Any) -> Joined:
        joined = read(*asked, **how)
        lake.open("raw").alter.set_table_description("rides")
        lake.open("raw").create_checkpoint()
        Path(lake.address("raw"), "_delta_log", f"{0:020}.json").unlink()
        return joined

    monkeypatch.setattr(collecting, "join_sources", slowly)
    assert collect(folder, lake, "2011-03-01").batch == 2
