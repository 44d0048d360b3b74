"""What was written to a segment is read from it, whatever stands around it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from tasks.stores.harvest import harvest
from tasks.stores.journal import (
    Feedback,
    JournalSegment,
    Origin,
    Predictions,
    Record,
    Shadows,
    main,
    pack,
    read_records,
    unreadable,
)
from tasks.stores.lake import Lake
from tasks.stores.lake_tables import Table
from tests.conftest import examples

quickly = examples(60, suppress_health_check=[HealthCheck.function_scoped_fixture])
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
values = st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), texts)

AT = "2026-01-02T00:00:00.000000Z"
ORIGIN = Origin("3", "b", ("x", "when"), 1)


@st.composite
def predictions(draw: st.DrawFn) -> Predictions:
    columns = tuple(draw(st.lists(texts, min_size=1, max_size=4, unique=True)))
    number = draw(st.integers(0, 3))
    rows = [draw(st.lists(values, min_size=len(columns), max_size=len(columns))) for _ in range(number)]
    clock = draw(st.one_of(st.none(), st.integers(0, len(columns) - 1)))
    predicted = draw(st.lists(st.floats(allow_nan=False), min_size=number, max_size=number))
    ids = draw(st.lists(texts, min_size=number, max_size=number))
    return Predictions("2026-01-01T00:00:00Z", ids, predicted, Origin("1", "b", columns, clock), rows)


def segment(folder: Path, content: bytes, kind: str = "predictions") -> JournalSegment:
    path = folder / f"{kind}-00000001.msgpack"
    path.write_bytes(content)
    return JournalSegment(path)


@quickly
@given(st.lists(predictions(), max_size=4), st.data())
def test_a_segment_cut_anywhere_gives_what_is_whole(tmp_path: Path, records: list[Predictions], data: Any) -> None:
    packed = [pack(record) for record in records]
    content = b"".join(packed)
    end = data.draw(st.integers(0, len(content)))
    found, odd = read_records(segment(tmp_path, content[:end]))
    assert not odd
    whole = sum(len(b"".join(packed[: at + 1])) <= end for at in range(len(packed)))
    assert found == records[:whole]


def test_feedback_from_before_senders_were_kept_is_read(tmp_path: Path) -> None:
    before = pack(msgspec.convert(("2026-01-01T00:00:00Z", ["a"], [1.0]), type=_SenderlessFeedback))
    now = Feedback("2026-01-02T00:00:00Z", ["b"], [0.0], "app")
    found, odd = read_records(segment(tmp_path, before + pack(now), "feedback"))
    assert (found, odd) == ([Feedback("2026-01-01T00:00:00Z", ["a"], [1.0], ""), now], [])


class _SenderlessFeedback(msgspec.Struct, array_like=True):
    at: str
    ids: list[str]
    values: list[float]


def test_zeros_a_file_system_left_at_the_end_are_no_damage(tmp_path: Path) -> None:
    record = Feedback("2026-01-01T00:00:00Z", ["a"], [1.0])
    assert read_records(segment(tmp_path, pack(record) + b"\0" * 5000, "feedback")) == ([record], [])


@quickly
@given(st.lists(predictions(), min_size=1, max_size=4), st.data())
def test_what_stands_around_damage_is_read_and_nothing_damaged_is(
    tmp_path: Path, records: list[Predictions], data: Any
) -> None:
    packed = [pack(record) for record in records]
    damaged = data.draw(st.integers(0, len(packed) - 1))
    broken = bytearray(packed[damaged])
    at = data.draw(st.integers(0, len(broken) - 1))
    broken[at] ^= data.draw(st.integers(1, 255))
    parts = [*packed[:damaged], bytes(broken), *packed[damaged + 1 :]]
    found, odd = read_records(segment(tmp_path, b"".join(parts)))
    assert found == records[:damaged] + records[damaged + 1 :]
    # a length that says too much cannot be told from a record that was not written to its end
    assert odd == [bytes(broken)] or (damaged == len(records) - 1 and 1 <= at <= 4 and not odd)


def test_a_record_of_another_version_is_set_aside(tmp_path: Path) -> None:
    good = Feedback("2026-01-01T00:00:00Z", ["a"], [1.0])
    other = pack(Shadows("2026-01-01T00:00:00Z", ["a"], [], "1", "b"))
    strange = pack(msgspec.convert(("2026-01-01T00:00:00Z", "a", 1.0), type=_Strange))
    found, odd = read_records(segment(tmp_path, pack(good) + strange + pack(good), "feedback"))
    assert (found, odd) == ([good, good], [strange])
    assert read_records(segment(tmp_path, other, "predictions")) == ([], [other])


class _Strange(msgspec.Struct, array_like=True):
    at: str
    id: str
    value: float


def test_lines_from_before_there_were_records_are_harvested(tmp_path: Path) -> None:
    common = {"served_at": "2026-01-02T00:00:00.000000Z", "version": "3", "bundle": "b"}
    lines = {
        "predictions": [
            {"id": "p1", "event_time": "2026-01-01T00:00:00.000000Z", **common, "prediction": 0.25,
             "row": {"x": 1.5, "when": "2026-01-01T00:00:00.000000Z"}},
            {"id": "p2", "event_time": None, **common, "prediction": 0.5, "row": {"x": None, "when": None}},
        ],
        "feedback": [{"id": "p1", "label": 1.0, "received_at": "2026-01-03T00:00:00.000000Z"}],
        "shadows": [{"id": "p1", **common, "prediction": 0.75}],
    }  # fmt: skip
    folder = tmp_path / "journal" / "rentals" / "instance"
    folder.mkdir(parents=True)
    for kind, some in lines.items():
        content = b"".join(json.dumps(line).encode() + b"\n" for line in some)
        ending = "msgpack" if kind == "shadows" else "jsonl"  # left open by one that is dead, closed by its successor
        (folder / f"{kind}-00000001.{ending}").write_bytes(content + b'no line\n{"id":5}\n{"id": "torn')
    lake = Lake(str(tmp_path / "lake"), "rentals")
    found = harvest(tmp_path / "journal", "rentals", lake)
    assert (found.predictions, found.labels, found.segments) == (2, 1, 3)
    rows = lake.scan("predictions").collect().sort("id")
    assert rows.select("row:number:x", "row:text:when").rows() == [(1.5, "2026-01-01T00:00:00.000000Z"), (None, None)]
    assert [instant.day for instant in rows["event_time"]] == [1, 2]  # without a clock, when it was served
    assert lake.scan("shadows").select(pl.col("prediction")).collect().item() == 0.75
    assert [path.read_bytes() for path in unreadable(tmp_path / "journal", "rentals")] == [b'no line\n{"id":5}\n'] * 3
    assert not list(folder.iterdir())


@pytest.mark.parametrize(
    "odd",
    [
        Predictions(AT, ["o"], [0.5], ORIGIN, []),
        Predictions(AT, ["o", "p"], [0.5], ORIGIN, [[1.0, AT]]),
        Predictions(AT, ["o"], [0.5], ORIGIN, [[1.0]]),
        Predictions(AT, ["o"], [0.5], ORIGIN, [[2**63, AT]]),
        Predictions(AT, ["o"], [0.5], ORIGIN, [[[1.0], AT]]),
        Predictions(AT, ["o"], [0.5], ORIGIN, [[{"x": 1.0}, AT]]),
        Predictions(AT, ["o"], [0.5], ORIGIN, [[1.0, 7]]),
        Predictions(AT, ["o"], [0.5], Origin("3", "b", ("x", "when"), 2), [[1.0, AT]]),
        Predictions(AT, ["o", "p"], [0.5, [0.5, 0.5]], ORIGIN, [[1.0, AT], [1.0, AT]]),
        Shadows(AT, ["o"], [], "4", "c"),
        Feedback(AT, ["o", "p"], [1.0, "a"]),
    ],
)
def test_a_record_that_no_table_can_hold_keeps_no_other_out(tmp_path: Path, odd: Record) -> None:
    """One stopped each harvest, and with it all that came later."""
    folder = tmp_path / "journal" / "rentals" / "instance"
    folder.mkdir(parents=True)
    good: dict[str, Record] = {
        "predictions": Predictions(AT, ["p1"], [0.25], ORIGIN, [[1.5, AT]]),
        "feedback": Feedback(AT, ["p1"], [1.0]),
        "shadows": Shadows(AT, ["p1"], [0.75], "4", "c"),
    }
    (kind,) = (name for name, each in good.items() if type(each) is type(odd))
    nothing: dict[str, Record] = {
        "predictions": Predictions(AT, [], [], ORIGIN, []),
        "feedback": Feedback(AT, [], []),
        "shadows": Shadows(AT, [], [], "4", "c"),
    }
    for number, content in enumerate(([odd, good[kind]], [odd], [nothing[kind]], [good[kind]])):
        (folder / f"{kind}-0000000{number}.msgpack").write_bytes(b"".join(map(pack, content)))
    lake = Lake(str(tmp_path / "lake"), "rentals")
    assert harvest(tmp_path / "journal", "rentals", lake).segments == 4
    table: Table = "labels" if kind == "feedback" else kind  # type: ignore[assignment] # one of them
    assert lake.scan(table).collect()["id"].to_list() == ["p1"] * 2
    assert [path.read_bytes() for path in unreadable(tmp_path / "journal", "rentals")] == [pack(odd)] * 2
    assert not list(folder.iterdir())


def answers(kind: str, number: int) -> tuple[Record, Record]:
    """Return a record of one kind as it was before the task changed, and one of after."""
    early, late = f"2026-01-0{number}T00:00:00.000000Z", f"2026-01-0{number + 4}T00:00:00.000000Z"
    if kind == "feedback":
        return Feedback(early, [f"n{number}"], [1.0]), Feedback(late, [f"t{number}"], ["x"])
    if kind == "shadows":
        return Shadows(early, [f"n{number}"], [1.0], "4", "c"), Shadows(late, [f"t{number}"], [[0.5, 0.5]], "4", "c")
    rows = [[1.0, AT]]
    return Predictions(early, [f"n{number}"], [1.0], ORIGIN, rows), Predictions(
        late, [f"t{number}"], [[0.5, 0.5]], ORIGIN, rows
    )


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("kind", ["feedback", "predictions", "shadows"])
def test_records_of_another_type_than_the_table_keep_none_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, turned: bool, begun: bool
) -> None:
    """Two types in one batch stopped each harvest: a task was changed under its name, or a journal restored."""
    folder = tmp_path / "journal" / "rentals" / "instance"
    folder.mkdir(parents=True)
    lake = Lake(str(tmp_path / "lake"), "rentals")
    table: Table = "labels" if kind == "feedback" else kind  # type: ignore[assignment] # one of them

    def write(number: int, *records: Record) -> None:
        (folder / f"{kind}-0000000{number}.msgpack").write_bytes(b"".join(map(pack, records)))

    numbers, texts = zip(*(answers(kind, number) for number in (1, 2, 3)), strict=True)
    if begun:  # with numbers, as the table is
        write(0, answers(kind, 4)[0])
        harvest(tmp_path / "journal", "rentals", lake)
    both = (texts[0], numbers[0]) if turned else (numbers[0], texts[0])
    written = {1: both, 2: (texts[1],), 3: (numbers[2],)}
    for number, records in written.items():
        write(number, *records)
    whole = {path: path.read_bytes() for path in folder.iterdir()}
    # a new table is of the newest record's type
    expected, other = (["n1", "n3", "n4"], texts[:2]) if begun else (["t1", "t2"], (numbers[0], numbers[2]))
    with monkeypatch.context() as killed:  # between the commit and the removal
        killed.setattr("tasks.stores.harvest.clear", lambda _: None)
        harvest(tmp_path / "journal", "rentals", lake)
    assert {path: path.read_bytes() for path in folder.iterdir()} == whole
    for _ in range(2):
        found = harvest(tmp_path / "journal", "rentals", lake)
        assert found.predictions == found.labels == 0
        assert sorted(lake.scan(table).collect()["id"]) == expected
        kept = [path.read_bytes() for path in unreadable(tmp_path / "journal", "rentals")]
        assert kept == [pack(record) for record in other]
        assert not list(folder.iterdir())


def test_every_kind_is_harvested(tmp_path: Path) -> None:
    folder = tmp_path / "journal" / "rentals" / "instance"
    folder.mkdir(parents=True)
    origin, at = Origin("3", "b", ("x", "when"), 1), "2026-01-02T00:00:00.000000Z"
    written: dict[str, list[Record]] = {
        "predictions": [Predictions(at, ["p1", "p2"], [0.25, 0.5], origin, [[1.5, at], [None, None]])],
        "feedback": [Feedback(at, ["p1"], [1.0]), Feedback(at, ["p2"], [0.0])],
        "shadows": [Shadows(at, ["p1", "p2"], [0.75, 0.5], "4", "c")],
    }
    for kind, records in written.items():
        segment(folder, b"".join(map(pack, records)), kind)
    lake = Lake(str(tmp_path / "lake"), "rentals")
    found = harvest(tmp_path / "journal", "rentals", lake)
    assert (found.predictions, found.labels, found.segments) == (2, 2, 3)
    rows = lake.scan("predictions").collect().sort("id")
    assert rows.select("row:number:x", "row:text:when").rows() == [(1.5, at), (None, None)]
    assert "row" not in rows.columns
    assert lake.scan("labels").collect()["label"].to_list() == [1.0, 0.0]
    assert lake.scan("shadows").collect()["version"].to_list() == ["4", "4"]


def test_a_segment_can_be_read_by_a_person(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    path = segment(tmp_path, pack(Feedback("2026-01-01T00:00:00Z", ["a"], [1.0])) + b"\xc1", "feedback").path
    monkeypatch.setattr("sys.argv", ["journal", str(path)])
    main()
    written = capsysbinary.readouterr()
    assert json.loads(written.out) == {"at": "2026-01-01T00:00:00Z", "ids": ["a"], "values": [1.0], "sender": ""}
    assert b"1 bytes are no records" in written.err
    monkeypatch.setattr("sys.argv", ["journal", str(tmp_path / "nothing")])
    with pytest.raises(SystemExit):
        main()
    assert b"KIND one of predictions" in capsysbinary.readouterr().err


def test_a_reader_of_a_segment_that_goes_is_told_nothing(tmp_path: Path) -> None:
    records = pack(Feedback("2026-01-01T00:00:00Z", ["a"] * 10_000, [1.0] * 10_000)) * 100
    path = segment(tmp_path, records, "feedback").path
    command = f'"{sys.executable}" -m tasks.stores.journal "{path}" | head -c 1'
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("{", "")
