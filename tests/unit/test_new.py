"""A table becomes a use case that is valid and learns, or it is said why it does not."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from expectations.errors import DriftwheelError, SourceError
from expectations.loading import LoadedUseCase, load_use_case
from flows.backtest import past_of
from flows.cli import main
from flows.founding import found_use_case
from tasks.cleaning.cleaning import clean_batches
from tasks.collection.collecting import collect_sources
from tasks.collection.reading import read_source
from tasks.profiling.choices import Choices
from tasks.profiling.choosing import choose
from tasks.profiling.profile import ColumnProfile, Profile, profile_table, split_name
from tasks.profiling.reading import read_table
from tasks.profiling.suspicions import is_personal, score
from tasks.profiling.writing import quote
from tasks.stores.known import Known
from tasks.stores.lake import Lake
from tasks.training.judging import judge
from tasks.training.packing import training_rows
from tests.conftest import examples

HOURS = [f"2024-01-{1 + hour // 24:02d}T{hour % 24:02d}:00:00Z" for hour in range(700)]


def profiled(folder: Path, text: str) -> Profile:
    (folder / "t.csv").write_text(text)
    return profile_table(read_table("t.csv", folder))


def table(folder: Path, rows: int = 700, **columns: object) -> Profile:
    """Profile a table with a clock, a number that says something of the target, and what a test adds."""
    random = np.random.default_rng(1)
    x = random.normal(size=rows).round(3)
    frame = pl.DataFrame(
        {"at": HOURS[:rows], "x": x, "y": (x + random.normal(size=rows)).round(3), **columns}  # type: ignore[dict-item]
    )
    return profiled(folder, frame.write_csv())


def test_two_numbers_that_are_not_whole_are_a_regression(tmp_path: Path) -> None:
    profile = table(tmp_path, z=[0.5 + place % 2 for place in range(700)])
    assert choose(profile, "made", "z").target.task == "regression"


# --- what columns are -------------------------------------------------------------------------------------------------

KINDS = {
    "integer": ["1", "2", "-3", "1", "9007199254740993"],
    "number": ["1", "2.5", "1e3", "1", "-7"],
    "boolean": ["true", "False", "true", "true", "false"],
    "instant": ["2024-01-01", "2024-02-30"[:8] + "28", "2023-12-31", "2024-01-01", "2024-01-09"],
    "text": ["a", "b", "1", "a", "ä,ö"],
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_column_is_what_all_of_its_values_are(kind: str, tmp_path: Path) -> None:
    found = profiled(tmp_path, pl.DataFrame({"c": KINDS[kind], "n": [1, 2, 3, 4, 5]}).write_csv())
    assert found.columns["c"].kind == kind
    assert found.columns["c"].distinct == (2 if kind == "boolean" else 4)


WRITTEN = {
    "a lone hyphen among numbers is missing": (["1", "-", "3.5"], "number", 1),
    "a question mark among whole numbers": (["1", "?", "3"], "integer", 1),
    "words for missing alone": (["NA", "n/a", ""], "empty", 3),
    "numbers filled up with spaces": ([" 1", "2.5 ", "3"], "number", 0),
    "leading zeros are no number": (["01234", "02345", "12345"], "text", 0),
    "a hyphen among words is a word": (["a", "-", "b"], "text", 0),
    "NA among words is missing": (["apple", "NA", "pear"], "text", 1),
    "NA among countries is Namibia": (["DE", "NA", "FR"], "text", 0),
    "a decimal comma": (['"1,5"', '"2,5"', '"3,5"'], "text", 0),
    "per cent": (["1%", "2%", "3%"], "text", 0),
    "day first": (["13/02/2024", "01/02/2024", "14/02/2024"], "text", 0),
    "nobody knows day and month": (["01/02/2024", "02/02/2024", "03/02/2024"], "text", 0),
    "dates and something else": (["2024-01-01", "2024-01-01T10:00:00", "2024-01-02"], "text", 0),
    "a date that does not exist": (["2024-01-01", "2024-02-30", "2024-01-02"], "text", 0),
}


@pytest.mark.parametrize("case", WRITTEN)
def test_how_values_are_written_decides(case: str, tmp_path: Path) -> None:
    values, kind, missing = WRITTEN[case]
    found = profiled(tmp_path, "n,c\n" + "\n".join(f"{n},{value}" for n, value in enumerate(values)) + "\n")
    assert (found.columns["c"].kind, found.columns["c"].missing) == (kind, missing)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (["1,5", "2,5", "3,25"], "decimal comma"),
        (["1,200", "2,500", "13,250"], "thousands"),
        (["1%", "2%", "3.5%"], "sign"),
        (["13/02/2024", "01/02/2024"], "day first"),
        (["02/13/2024", "01/02/2024"], "month first"),
        (["01/02/2024", "02/02/2024"], "day and month cannot be told apart"),
        ([*map(str, range(20)), "x"], "1 of 21 values are no numbers"),
    ],
)
def test_texts_that_look_like_something_are_named(values: list[str], said: str, tmp_path: Path) -> None:
    found = profiled(tmp_path, pl.DataFrame({"c": values, "n": range(len(values))}).write_csv())
    assert found.columns["c"].kind == "text"
    assert said in " ".join(found.columns["c"].notes)


VALUES = st.lists(
    st.sampled_from(["1", "2.5", "-", "NA", "", "01", "x", "2024-01-01", "2024-01-01T00:00:00Z", "true", "?", "1,5"]),
    min_size=1,
    max_size=12,
)


@examples(25)
@given(values=VALUES, seed=st.integers(0, 5))
def test_what_a_column_is_does_not_depend_on_the_order_of_rows(
    values: list[str], seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("order")
    frame = pl.DataFrame({"n": [str(n) for n in range(len(values))], "c": values})
    first = profiled(folder, frame.write_csv())
    other = profiled(folder, frame.sample(fraction=1, shuffle=True, seed=seed).write_csv())
    for name in ("n", "c"):
        one, two = first.columns[name], other.columns[name]
        assert (one.kind, one.missing, one.distinct, one.notes) == (two.kind, two.missing, two.distinct, two.notes)
    assert first.missing == other.missing


def test_a_long_table_is_counted_whole_and_looked_at_in_part(tmp_path: Path) -> None:
    rows = 50_001
    lines = "\n".join(f"{n},{n % 7}" for n in range(rows))
    found = profiled(tmp_path, f"n,c\n{lines}\n{rows},x\n")
    assert found.rows == rows + 1
    assert found.columns["c"].kind == "text"  # of the last row alone
    assert found.columns["c"].distinct == 8
    assert len(found.sample) <= 20_000
    assert found.exact_distinct(["n"], ["n", "c"], ["c"]) == [rows + 1, rows + 1, 8]


def test_parquet_is_what_it_says(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "at": [datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 2, tzinfo=UTC)],
            "f": pl.Series([1.5, None], dtype=pl.Float32),
            "i": pl.Series([1, 2], dtype=pl.UInt8),
            "c": pl.Series(["a", "-"], dtype=pl.Categorical),
            "b": [True, None],
        }
    )
    frame.write_parquet(tmp_path / "t.parquet")
    found = profile_table(read_table("t.parquet", tmp_path))
    assert [each.kind for each in found.columns.values()] == ["instant", "number", "integer", "text", "boolean"]
    assert [each.missing for each in found.columns.values()] == [0, 1, 0, 0, 1]


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_what_parts_columns_is_found_and_written(separator: str, tmp_path: Path) -> None:
    frame = table(tmp_path).sample.with_columns(pl.lit("p,q").alias("a,b"))
    (tmp_path / "t.csv").write_text(frame.write_csv(separator=separator))
    profile = profile_table(read_table("t.csv", tmp_path))
    assert list(profile.columns) == ["at", "x", "y", "a,b"]
    found_use_case(tmp_path / "made", profile, "y", clock=None, keys=())
    usecase = load_use_case(str(tmp_path / "made"))
    source = usecase.spec.sources["data"]
    rows = read_source("data", source, usecase.folder, usecase.spec.columns, usecase.spec.clock)
    assert rows["x"].to_list() == frame["x"].to_list()


def test_words_of_a_name() -> None:
    assert split_name("customerID") == ("customer", "id")
    assert split_name("Luftdruck (hPa)") == ("luftdruck", "h", "pa")


# --- what is chosen ---------------------------------------------------------------------------------------------------


def chosen(profile: Profile, target: str = "y", **asked: object) -> Choices:
    return choose(profile, "made", target, **asked)  # type: ignore[arg-type]


def test_of_several_instants_the_earliest_is_the_clock_and_the_others_are_named(tmp_path: Path) -> None:
    later = [(datetime.fromisoformat(hour) + timedelta(days=n % 5)).isoformat() for n, hour in enumerate(HOURS)]
    found = chosen(table(tmp_path, done=later))
    assert found.clock.column == "at"
    assert found.clock.others == ("done",)
    assert "done" in found.left_out
    assert chosen(table(tmp_path, done=later), clock="done").clock.column == "done"


@pytest.mark.slow
def test_keys_are_an_identifier_or_the_clock_with_as_little_as_does(tmp_path: Path) -> None:
    assert chosen(table(tmp_path)).keys == ("at",)
    assert chosen(table(tmp_path, order_id=range(1000, 1700))).keys == ("order_id",)
    both = pl.concat([pl.DataFrame({"at": HOURS, "pump": "n"}), pl.DataFrame({"at": HOURS, "pump": "s"})])
    both = both.with_columns(x=pl.int_range(1400) * 7 % 13, y=pl.int_range(1400) * 11 % 17)
    assert chosen(profiled(tmp_path, both.write_csv())).keys == ("at", "pump")


def test_where_nothing_tells_rows_apart_they_are_keyed_by_what_they_hold(tmp_path: Path) -> None:
    rows = [
        *table(tmp_path).sample.with_columns(pl.col("at").dt.strftime("%Y-%m-%dT%H:%M:%SZ")).iter_rows(),
        *[("2024-01-05T00:00:00Z", 1.0, 2.0)] * 3,
    ]
    frame = pl.DataFrame(rows, schema=["at", "x", "y"], orient="row")
    profile = profiled(tmp_path, frame.write_csv())
    _, found = found_use_case(tmp_path / "made", profile, "y", clock=None, keys=())
    assert found.row_key == "row_key"
    usecase = load_use_case(str(tmp_path / "made"))
    first = keys_of(usecase)
    assert first.n_unique() == len(frame)
    frame.reverse().with_columns(new=1).write_csv(tmp_path / "t.csv")  # another order, and a column nobody declared
    assert set(keys_of(usecase)) == set(first)


def keys_of(usecase: LoadedUseCase) -> pl.Series:
    spec = usecase.spec
    return read_source("data", spec.sources["data"], usecase.folder, spec.columns, spec.clock)["row_key"]


@pytest.mark.parametrize("target", ["casual", "registered"])
def test_two_columns_that_add_up_to_the_target_are_forbidden(target: str, tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    a, b = random.poisson(20, 700), random.poisson(50, 700)
    found = chosen(table(tmp_path, casual=a, registered=b, total=a + b), "total")
    assert {"casual", "registered"} == set(found.forbidden)
    assert target in found.left_out
    assert found.numeric == ("x", "y")


def test_a_column_that_tells_the_label_alone_is_forbidden(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    churned = random.random(700) < 0.3
    ended = [HOURS[n] if gone else None for n, gone in enumerate(churned)]
    words = ["left" if gone else "with us" for gone in churned]
    half = np.where(random.random(700) < 0.8, churned, ~churned)
    found = chosen(table(tmp_path, churned=churned.astype(int), ended=ended, status=words, half=half), "churned")
    assert set(found.forbidden) == {"ended", "status"}
    assert found.target.task == "binary_classification"
    assert "half" in found.numeric


def test_another_scale_of_the_label_tells_it(tmp_path: Path) -> None:
    wage = np.exp(np.random.default_rng(4).normal(3, 1, 700))
    found = chosen(table(tmp_path, wage=wage, lwage=np.log(wage)), "wage")
    assert found.forbidden == ("lwage",)


def test_where_all_tells_the_label_nothing_is_taken_away_but_it_is_said(tmp_path: Path) -> None:
    profile = table(tmp_path)
    same = profile.sample.select("at", x="y", y="y")
    found = chosen(profiled(tmp_path, same.write_csv()))
    assert found.numeric == ("x",)
    assert found.forbidden == ()
    assert any(each.what == "leaks the label?" for each in found.suspicions)


def test_what_names_persons_is_dropped_and_shown_nowhere(tmp_path: Path) -> None:
    people = [f"person{n}@example.org" for n in range(700)]
    profile = table(
        tmp_path, contact=people, first_name=[f"N{n % 90}" for n in range(700)], phone=[n % 2 for n in range(700)]
    )
    folder = tmp_path / "made"
    _, found = found_use_case(folder, profile, "y", clock=None, keys=())
    assert found.personal == {"contact": "drop", "first_name": "drop"}
    assert "phone" in found.numeric  # yes or no names nobody
    for file in folder.iterdir():
        assert "@example.org" not in file.read_text()
        assert "N17" not in file.read_text()
    hashed = chosen(profile, keys=("contact",))
    assert hashed.personal["contact"] == "hash"


def test_numbers_of_persons_that_are_keys_are_in_no_file(tmp_path: Path) -> None:
    profile = table(tmp_path, phone=[4_917_000_000 + 17 * n for n in range(700)])
    _, found = found_use_case(tmp_path / "made", profile, "y", clock=None, keys=("phone",))
    assert found.personal == {"phone": "hash"}
    for file in (tmp_path / "made").iterdir():
        assert "4917000000" not in file.read_text()


def test_what_says_nothing_is_left_out_with_its_reason(tmp_path: Path) -> None:
    found = chosen(
        table(
            tmp_path,
            none=[None] * 700,
            same=["a"] * 700,
            row=range(700),
            essay=[f"it was the {n} of times and the worst of them" for n in range(700)],
            many=[f"w{n % 300}" for n in range(700)],
            group=[("a", "b", "c")[n % 3] for n in range(700)],
            zip=[f"0{1000 + n % 9}" for n in range(700)],
            region=[n % 4 for n in range(700)],
        ),
        keys=("at",),
    )
    reasons = {name: why.partition(":")[0] for name, why in found.left_out.items()}
    assert reasons == {
        "none": "empty",
        "same": "constant",
        "row": "identifier",
        "essay": "identifier",
        "many": "many categories",
    }
    assert found.encoded == ("group", "zip", "region")


@pytest.mark.parametrize(
    ("values", "positive"),
    [(["yes", "no"], "yes"), (["Bad", "good"], "Bad"), (["1", "2"], "2"), (["stayed", "stayed", "moved"], "moved")],
)
def test_two_words_are_a_label_once_one_of_them_counts_as_one(values: list[str], positive: str, tmp_path: Path) -> None:
    profile = table(tmp_path, label=[values[n % len(values)] for n in range(699)] + values[:1])
    if positive == "2":
        profile = table(tmp_path, label=["1", "1", "2"] * 233 + ["1"])
    found_use_case(tmp_path / "made", profile, "label", clock=None, keys=())
    spec = load_use_case(str(tmp_path / "made")).spec
    assert spec.task == "binary_classification"
    assert chosen(profile, "label").target.positive == positive


@pytest.mark.slow
@pytest.mark.parametrize(
    ("days", "rows", "every"), [(365, 300_000, "1mo"), (91, 4368, "1w"), (3, 5000, "1h"), (3650, 3650, "1y")]
)
def test_windows_are_as_long_as_leaves_a_dozen(days: int, rows: int, every: str, tmp_path: Path) -> None:
    step = days * 86400 // min(rows, 5000)
    begin = datetime(2020, 1, 1, tzinfo=UTC)
    at = [(begin + timedelta(seconds=step * n)).isoformat() for n in range(min(rows, 5000))]
    n = len(at)
    profile = profiled(
        tmp_path, pl.DataFrame({"at": at, "x": [i % 5 for i in range(n)], "y": [i % 7 for i in range(n)]}).write_csv()
    )
    assert chosen(profile).windows.every == every


# --- what is written --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["no", "1", "a: b", 'say "x"', "", " ", "a#b", "価格", "2024-01-01", "x y", "{a}", "~"]
)
def test_a_text_is_read_as_it_was_written(text: str) -> None:
    assert yaml.safe_load(f"[{quote(text)}]") == [text]
    assert yaml.safe_load(f"{{{quote(text)}: 1}}") == {text: 1}


NAMES = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufeff\ufffe\uffff"), min_size=1, max_size=12
)


@pytest.mark.slow
@examples(12)
@given(names=st.lists(NAMES, min_size=2, max_size=2, unique_by=str.lower))
def test_whatever_columns_are_called_the_use_case_is_valid(
    names: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("names")
    frame = pl.DataFrame({"at": HOURS[:200], "y": [n % 7 for n in range(200)], names[0]: [n % 5 for n in range(200)]})
    try:
        frame = frame.with_columns(pl.Series(names[1], [("a", "b")[n % 2] for n in range(200)]))
        frame.write_csv(folder / "t.csv")
        profile = profile_table(read_table("t.csv", folder))
        found_use_case(folder / "made", profile, "y", clock="at", keys=("at",))
    except SourceError:  # a name that no table can hold is refused
        return
    spec = load_use_case(str(folder / "made")).spec
    assert set(spec.columns) <= set(profile.columns)  # as they are read: quotes in a name stay doubled


GOLDEN = """\
# Written by `driftwheel new` from 700 rows and 5 columns; change
# whatever is otherwise, then run `driftwheel check`. profile.html shows what was seen.
name: made
title: "What will y be?"
task: regression
clock: {column: at}  # the only column with an instant in every row; UTC where it says no zone
keys: [at]  # no two rows share them
sources:
  data: {kind: file, path: "PATH", missing: ["", "-"]}
# how long after a row its y is known: 1d is a guess
label: {column: y, available_after: 1d}
# what each column is, once for all deliveries and for the service; a value that is none is an error
columns:
  at: {type: instant}  # 2024-01-01 00:00 to 2024-01-30 03:00, 700 different
  x: {type: number}  # -3.08 to 3.1, 643 different
  y: {type: number}  # -3.838 to 4.652, 650 different
  "odd: one": {type: text}  # 2 different
  gaps: {type: number}  # 0 to 8, 9 different, 10.0% missing
features:
  - calendar: at
    parts: [hour, weekday]
  - numeric: [x, gaps]
  - encode: ["odd: one"]
"""


def test_a_use_case_explains_itself(tmp_path: Path) -> None:
    gaps = ["-" if n % 10 == 9 else str(n % 10) for n in range(700)]
    profile = table(tmp_path, **{"odd: one": ["p", "q"] * 350, "gaps": gaps})
    found_use_case(tmp_path / "made", profile, "y", clock=None, keys=())
    text = (tmp_path / "made" / "usecase.yaml").read_text()
    assert text.startswith(GOLDEN.replace("PATH", str(tmp_path / "t.csv")))
    suite = yaml.safe_load((tmp_path / "made" / "suite.yaml").read_text())
    bounds = {each["kwargs"]["column"]: each["kwargs"] for each in suite if "between" in each["type"]}
    assert bounds["x"]["min_value"] < -5
    assert bounds["x"]["max_value"] > 5
    page = (tmp_path / "made" / "profile.html").read_text()
    assert page.count("<svg") == 5
    assert "<script" not in page
    assert "http" not in page


def test_it_learns_as_it_is_written(tmp_path: Path) -> None:
    profile = table(tmp_path, group=[("a", "b", "c")[n % 3] for n in range(700)])
    found_use_case(tmp_path / "made", profile, "y", clock=None, keys=())
    with past_of(load_use_case(str(tmp_path / "made")), b"k") as past:
        model = past.first()
        assert model.inputs == ("at", "x", "group")
        assert past.score(0, past.predictions(model, 0), metric="r2") > 0.2


def judged(folder: Path) -> str:
    """Collect, clean and judge a first model, as the flows do."""
    usecase, as_of = load_use_case(str(folder)), datetime(2030, 1, 1, tzinfo=UTC)
    lake = Lake(str(folder / "lake"), usecase.name)
    collect_sources(usecase, lake, as_of, b"k")
    assert clean_batches(usecase, lake).held == ()
    rows = training_rows(Known(lake, usecase.spec, as_of).labelled())
    return judge(rows, usecase.spec, None).judgement.outcome


def test_of_names_that_differ_in_capitals_new_keeps_what_collecting_does(tmp_path: Path) -> None:
    twice = {"X": [n % 7 for n in range(700)], "Y": [n % 5 for n in range(700)]}
    table(tmp_path, **twice)
    profile = profile_table(read_table("t.csv", tmp_path), {"Y"})
    assert list(profile.columns) == ["at", "x", "Y"]
    assert profile.said == (
        "X left out: in a table it would be the same as x",
        "y left out: in a table it would be the same as Y",
    )
    found_use_case(tmp_path / "made", profile, "Y", clock=None, keys=())
    lake = Lake(str(tmp_path / "lake"), "made")
    found = collect_sources(load_use_case(str(tmp_path / "made")), lake, datetime(2030, 1, 1, tzinfo=UTC), b"k")
    assert found.said == profile.said


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_names_that_would_be_read_as_patterns_are_left_out_of_what_new_writes(tmp_path: Path, ending: str) -> None:
    frame = pl.DataFrame({"*": [1, 2, 3], "^x$": [4, 5, 6], "x": [7, 8, 9], "y": [0, 1, 0]})
    (frame.write_csv if ending == "csv" else frame.write_parquet)(tmp_path / f"t.{ending}")
    profile = profile_table(read_table(f"t.{ending}", tmp_path), {"y"})
    assert profile.sample.to_dict(as_series=False) == {"x": [7, 8, 9], "y": [0, 1, 0]}
    assert profile.said == ("*, ^x$ left out: such a name is read as a pattern of names",)


def test_names_that_differ_in_capitals_and_are_both_read_are_refused(tmp_path: Path) -> None:
    table(tmp_path, Y=HOURS)
    with pytest.raises(SourceError, match="differ in more than capitals"):
        profile_table(read_table("t.csv", tmp_path), {"y", "Y"})


# --- what is refused --------------------------------------------------------------------------------------------------

REFUSED = {
    "an empty file": (b"", "empty"),
    "names alone": (b"a,b\n", "rows below the names"),
    "a workbook": (b"PK\x03\x04\0\0", "Excel"),
    "UTF-16": ("a,b\n1,2\n".encode("utf-16"), "UTF-16"),
    "Latin-1": ("at,grün\n2024-01-01,ö\n".encode("latin-1"), "UTF-8"),
    "a page": (b"<!doctype html><p>", "page"),
    "JSON": (b'{"a": 1}', "JSON"),
    "more fields than names": (b"a,b\n1,2,3\n", "a table in CSV"),
    "one name twice": (b"a,a\n1,2\n", "each column once"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_table_is_refused_with_what_to_do(case: str, tmp_path: Path) -> None:
    content, said = REFUSED[case]
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(SourceError, match=said):
        profile_table(read_table("t.csv", tmp_path))


CHOSEN_WRONG = {
    "no such target": ({"target": "Y"}, "there is 'y'"),
    "no such key": ({"keys": ("idd",)}, "a column 'idd'"),
    "no such clock": ({"clock": "att"}, "there is 'at'"),
    "a clock of numbers": ({"clock": "x"}, "instants in the clock 'x'"),
    "a target without values": ({"target": "none"}, "values in the target"),
    "one class": ({"target": "same"}, "two values at least"),
    "a target of instants": ({"target": "at"}, "instants"),
    "a target of many words": ({"target": "many"}, "300 different texts"),
    "a target of few labels": ({"target": "few"}, "40 rows at least with a value in the target 'few'.*39 of 700"),
    "the target as a key": ({"keys": ("at", "y")}, "known before the target"),
    "a key with gaps": ({"keys": ("none",)}, "a value in every key"),
}


@pytest.mark.parametrize("case", CHOSEN_WRONG)
def test_what_cannot_be_chosen_is_said(case: str, tmp_path: Path) -> None:
    asked, said = CHOSEN_WRONG[case]
    few = [n % 2 if n < 39 else None for n in range(700)]
    many = [f"w{n % 300}" for n in range(700)]
    profile = table(tmp_path, none=[None] * 700, same=["a"] * 700, many=many, few=few)
    with pytest.raises(SourceError, match=said):
        chosen(profile, **{"target": "y", **asked})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("target", "task"),
    [
        (["a", "b", "c", "c"], "multiclass_classification"),
        ([0, 1, 2, 2], "multiclass_classification"),
        (["yes", "no"], "binary_classification"),
        ([1, 2], "binary_classification"),
        ([0.0, 1.0], "binary_classification"),
        ([1.0, 2.0, None], "binary_classification"),
    ],
)
def test_classes_are_learnt_as_they_are_written(target: list[object], task: str, tmp_path: Path) -> None:
    profile = table(tmp_path, kind=[target[n % len(target)] for n in range(700)])
    _, found = found_use_case(tmp_path / "made", profile, "kind", clock=None, keys=())
    assert found.target.task == task
    assert judged(tmp_path / "made") in ("passed", "refused")  # what follows nothing is not learnt, and yet judged


@pytest.mark.parametrize("target", ["x", "kind"])
def test_as_few_labels_as_are_taken_are_learnt_from_and_judged_on(target: str, tmp_path: Path) -> None:
    profile = table(tmp_path, rows=40, kind=["a", "b"] * 20)
    found_use_case(tmp_path / "made", profile, target, clock=None, keys=())
    assert judged(tmp_path / "made") in ("passed", "refused")


def test_what_tells_one_of_several_classes_is_said_by_the_metric_it_was_found_by(tmp_path: Path) -> None:
    kinds = [("a", "b", "c")[n % 3] for n in range(700)]
    found = chosen(table(tmp_path, kind=kinds, code=[10 * (n % 3) for n in range(700)]), "kind")
    assert found.forbidden == ("code",)
    (said,) = [each.said for each in found.suspicions if each.what == "leaks the label?"]
    assert said.startswith("alone, balanced accuracy 1.000")
    assert found.trial is not None
    assert found.trial.metric == "balanced_accuracy"


def test_a_first_look_is_scored_as_the_platform_scores() -> None:
    truth, called = np.array([0.0, 0.0, 1.0, 1.0]), np.array([0, 2, 1, 1])
    assert score(np.eye(3)[called], truth, "multiclass_classification") == 0.75  # no row is of the third class
    assert score(np.array([0.1, 0.9, 0.8, 0.9]), truth, "binary_classification") == 0.625
    assert score(truth + 0.25, truth, "regression") == 0.75


def test_classes_too_rare_to_be_learnt_count_as_one(tmp_path: Path) -> None:
    kinds = [*"abc" * 220, *["x"] * 9, *["y"] * 9, *["a"] * 22]
    _, found = found_use_case(tmp_path / "made", table(tmp_path, kind=kinds), "kind", clock=None, keys=())
    assert found.target.joined == {"x": "other", "y": "other"}
    assert load_use_case(str(tmp_path / "made")).spec.label.words == {"x": "other", "y": "other"}


def test_without_a_clock_it_says_why_and_learns_all_the_same(tmp_path: Path) -> None:
    dates = [f"{1 + n % 12:02d}/{1 + n % 9:02d}/2024" for n in range(700)]
    timed = table(tmp_path).sample
    profile = profiled(tmp_path, timed.drop("at").with_columns(d=pl.Series(dates)).write_csv())
    _, found = found_use_case(tmp_path / "made", profile, "y", clock=None, keys=())
    assert found.clock.column is None
    assert "d: dates whose day and month cannot be told apart" in found.clock.said
    assert found.row_key == "row_key"
    spec = load_use_case(str(tmp_path / "made")).spec
    assert spec.clock is None
    assert judged(tmp_path / "made") == "passed"


def test_a_file_that_changes_meanwhile_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks.collection.sources.file import FileSource

    file = tmp_path / "t.csv"
    file.write_text("a,b\n1,2\n")
    fetch = FileSource.fetch

    def slow(self: FileSource, name: str, address: str) -> bytes:
        content = fetch(self, name, address)
        file.write_text("a,b\n1,2\n3,4\n")
        return content

    monkeypatch.setattr(FileSource, "fetch", slow)
    with pytest.raises(SourceError, match="changed meanwhile"):
        read_table("t.csv", tmp_path)


def test_half_a_folder_is_never_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profile = table(tmp_path)

    def fails(*_: object) -> str:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("flows.founding.load_use_case", fails)
    with pytest.raises(DriftwheelError, match="no space left"):
        found_use_case(tmp_path / "made", profile, "y", clock=None, keys=())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t.csv"]


def test_names_of_persons_are_words_not_letters() -> None:
    texts = pl.Series([f"t{n}" for n in range(50)])
    for name, personal in {
        "email": True,
        "last_name": True,
        "birthWeight": False,
        "product_name": False,
        "Name": True,
    }.items():
        assert bool(is_personal(ColumnProfile(name, "text", 50, 0, 50), texts)) is personal, name


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setenv("DRIFTWHEEL_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    table(tmp_path)
    return lambda *arguments: CliRunner().invoke(main, ["new", *arguments], prog_name="driftwheel")


def test_the_command_says_what_it_chose_and_never_writes_over_a_folder(call: object, tmp_path: Path) -> None:
    done = call("made", "--from", "t.csv", "--target", "y")  # type: ignore[operator]
    assert done.exit_code == 0, done.output
    assert "at: the only column with an instant in every row" in done.output
    assert done.output.rstrip().endswith("driftwheel check made")
    assert {path.name for path in (tmp_path / "made").iterdir()} == {"usecase.yaml", "suite.yaml", "profile.html"}
    again = call("made", "--from", "t.csv", "--target", "y")  # type: ignore[operator]
    assert again.exit_code == 1
    assert "nothing is overwritten" in again.output
    found = json.loads(call("other", "--from", "t.csv", "--target", "y", "--json").stdout)  # type: ignore[operator]
    assert found["target"] == {"column": "y", "task": "regression", "positive": None}
    assert found["keys"] == ["at"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--target", "Y"), "there is 'y'"),
        (("--target", "y", "--clock", "att"), "there is 'at'"),
        (("--target", "y", "--key", "idd"), "a column 'idd'"),
    ],
)
def test_names_are_looked_at_before_the_table_is(
    arguments: tuple[str, ...], said: str, call: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.profiling.profile.profile_table", lambda _: pytest.fail("the table was looked at"))
    done = call("made", "--from", "t.csv", *arguments)  # type: ignore[operator]
    assert done.exit_code == 1
    assert said in done.output


@pytest.mark.parametrize(
    ("arguments", "said", "status"),
    [
        (("Made", "--from", "t.csv", "--target", "y"), "small letters", 1),
        (("a-replay", "--from", "t.csv", "--target", "y"), "does not end in -replay", 1),
        (("flights", "--from", "t.csv", "--target", "y"), "a name that no use case has", 1),
        (("made", "--from", "u.csv", "--target", "y"), "nothing at", 1),
        (("made", "--from", ".", "--target", "y"), "folder", 1),
        (("made", "--from", "t.csv"), "one of at, x, y", 2),
    ],
)
def test_the_command_refuses(arguments: tuple[str, ...], said: str, status: int, call: object, tmp_path: Path) -> None:
    done = call(*arguments)  # type: ignore[operator]
    assert done.exit_code == status, done.output
    assert said in done.output
    assert not (tmp_path / "made").exists()
