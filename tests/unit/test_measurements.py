"""What was measured comes back from the database as itself, whatever version wrote it."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from expectations.errors import DatabaseError
from expectations.windows import Window
from tasks.evaluation.causes.model import Cause, Causes
from tasks.evaluation.drifted import Drifted, undetermined
from tasks.evaluation.estimates.estimate import Estimate, Expected
from tasks.evaluation.realised import Realised, status_of
from tasks.stores.database import Database
from tasks.stores.measured_parts import (
    Covered,
    FairnessMeasured,
    FeedbackUse,
    FigureMeasured,
    GroupMeasured,
    HeldAgainst,
    MeasureFound,
    SliceMeasured,
)
from tasks.stores.measurements import (
    FORMAT,
    Glimpse,
    Measurement,
    measurement_in,
    measurement_of,
    read_glimpse,
    read_measurement,
)
from tasks.stores.plain import to_json
from tests.conftest import instant

RECORD = Path(__file__).parents[1] / "records" / "measurement-14f46ca.json"
WINDOW = Window(instant("2026-03-01"), instant("2026-03-08"), (1, 100))
FIGURE = FigureMeasured(0.5, 0.4, None)
PART = Cause("broken", "temp out of range", 0.5, 0.4, 0.6, named=True)
WHOLE = measurement_of(
    WINDOW,
    champion="b1",
    version="3",
    rows=100,
    champion_rows=90,
    labelled=80,
    coverage=0.9,
    ripe=True,
    status="violated",
    realised=(Realised("rmse", 4.0, 3.0, 0.5, "violated", low=3.5, high=4.5, baselines={"last": 8.0}),),
    drift=(Drifted("temp", "drifted", 0.01, 9.0, "place", 1.5, 0.4, 0.1, 0.0), undetermined("hum", "too short")),
    served={"rmse": 4.1},
    feedback=FeedbackUse(used=3, senders={"app": 3}),
    estimated=(Estimate("rmse", 3.9, 3.0, 5.0, 7, False, "few labels", 3.8, Expected(3.7, 2.9, 5.1)),),
    causes=Causes("rmse", "named", "", 9.0, 16.0, 1.0, 9.0, (replace(PART, within=(PART,)),), ("a note",), "judged"),
    slices=(SliceMeasured("wet = 1", 40, "wet", {"rmse": FIGURE}, {"rmse": FigureMeasured(0.3)}, ("rmse",)),),
    fairness=(
        FairnessMeasured(
            "sex",
            (GroupMeasured("f", 50, FIGURE, FIGURE, FIGURE),),
            {"equalised_odds": FIGURE},
            ("x",),
            {"equalised_odds": 0.1},
            ("equalised_odds",),
        ),
    ),
    covered=Covered(0.9, 0.8, 0.95, 0.9, 80),
    unseen=2,
    mix={"a": {"called": 0.5, "mean": 0.4}},
    unwatched={"causes": "not of several classes"},
)


def test_a_measurement_comes_back_as_itself(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/platform.db")
    least = measurement_of(Window(WINDOW.end, WINDOW.end + timedelta(days=7)))
    for each in (least, WHOLE):
        database.put_measurement("x", each)
    assert database.measurements("x") == [WHOLE, least]
    database.put_measurement("x", replace(WHOLE, rows=101))
    assert [each.rows for each in database.measurements("x")] == [101, 0]
    assert [each.rows for each in database.measurements("x", champion="b1", known=True)] == [101]
    assert measurement_in(json.loads(to_json({"window": WHOLE}))) == WHOLE
    assert read_glimpse(to_json(WHOLE)).realised == WHOLE.realised


def test_json_says_what_follows_from_it_and_leaves_out_what_there_is_nothing_of() -> None:
    content = WHOLE.to_dict()
    assert (content["start"], content["counted"]) == ("2026-03-01T00:00:00+00:00", [1, 100])
    assert [each["drifted"] for each in content["drift"]] == [True, False]
    assert (content["causes"]["total"], content["causes"]["remedy"]) == (7.0, "hold and alert")
    least = measurement_of(Window(WINDOW.start, WINDOW.end)).to_dict()
    assert not {"counted", "slices", "fairness", "covered", "unseen", "mix", "unwatched"} & set(least)
    assert measurement_of(WINDOW, slices=()).to_dict()["slices"] == []
    assert replace(WHOLE, served={"rmse": float("inf")}).to_dict()["served"] == {"rmse": None}


def test_records_of_before_are_read() -> None:
    first = {
        "start": "2026-03-01T00:00:00+00:00",
        "end": "2026-03-08T00:00:00+00:00",
        "champion": "b1",
        "version": "1",
        "rows": 100,
        "champion_rows": 100,
        "labelled": 100,
        "coverage": 1.0,
        "ripe": True,
        "status": "violated",
        "realised": [{"metric": "rmse", "value": 0.6, "reference": 0.7, "drop": 0.03, "status": "violated"}],
        "drift": [
            {"column": name, "score": score, "threshold": 0.1, "missing_share": 0, "missing_reference": 0}
            | {"drifted": score > 0.1}
            for name, score in (("temp", 0.2), ("hum", 0.0))
        ],
        "served": {},
    }
    found = read_measurement(json.dumps(first))
    assert (found.format, found.window) == (1, Window(WINDOW.start, WINDOW.end))
    assert [each.status for each in found.drift] == ["drifted", "same"]
    assert [each.column for each in found.drifted] == ["temp"]
    assert (found.estimated, found.causes, found.slices) == ((), None, None)


def test_a_whole_record_of_before_is_read_with_nothing_lost() -> None:
    """As commit 14f46ca wrote it, which numbered no format."""
    written = RECORD.read_text(encoding="utf-8")
    found, kept = read_measurement(written), json.loads(written)
    assert found.format == 1
    assert found.causes is not None
    said = json.loads(to_json(found))
    kept["drift"][1]["status"] = "undetermined"  # as what could not be told is called since format 3
    kept["causes"]["against"] = "windows"  # as all were
    assert kept == {name: value for name, value in said.items() if name in kept}
    assert (found.causes.now, found.causes.named[0].within[0].what) == (16, "r")
    assert read_glimpse(written) == Glimpse(**{name: getattr(found, name) for name in Glimpse.__struct_fields__})


@pytest.mark.parametrize("read", [read_measurement, read_glimpse])
@pytest.mark.parametrize("content", [{"format": FORMAT + 1}, {"rows": "many"}, {"status": None}])
def test_what_a_later_version_wrote_is_refused_in_words(
    content: dict[str, object], read: Callable[[str], object]
) -> None:
    written = json.dumps(WHOLE.to_dict() | content)
    with pytest.raises(DatabaseError, match=f"a measurement of format {FORMAT} or earlier"):
        read(written)


@pytest.mark.parametrize("read", [read_measurement, read_glimpse])
@pytest.mark.parametrize(
    "written", ["", "{", "[]", "null", '{"start": "2026-03-01T00:00:00Z", "end": "2026-03-08T00:00:00Z"}']
)
def test_what_is_no_measurement_is_refused_in_words(written: str, read: Callable[[str], object]) -> None:
    with pytest.raises(DatabaseError, match=f"a measurement of format {FORMAT} or earlier"):
        read(written)


@pytest.mark.parametrize("drift", [None, ["temp"], {"temp": 1}])
def test_columns_that_are_none_are_refused_in_words(drift: object) -> None:
    with pytest.raises(DatabaseError, match=f"a measurement of format {FORMAT} or earlier"):
        Measurement.from_dict(WHOLE.to_dict() | {"drift": drift})


def test_a_number_that_is_none_is_read_as_unknown() -> None:
    written = json.dumps(WHOLE.to_dict() | {"served": {"rmse": float("nan")}})
    assert read_measurement(written) == replace(WHOLE, served={"rmse": None})
    assert read_glimpse(written).realised == WHOLE.realised


def test_a_decision_about_no_window_has_no_measurement() -> None:
    assert measurement_in({"window": None}) is None
    assert measurement_in({}) is None


@given(st.lists(st.sampled_from(["good", "violated", "unknown"])))
def test_what_several_metrics_come_to_is_the_worst_that_is_known(found: list[str]) -> None:
    status = status_of(Realised("rmse", status=each) for each in found)  # type: ignore[arg-type]
    assert (status == "violated") == ("violated" in found)
    assert (status == "good") == (set(found) == {"good"})


def test_what_could_not_be_told_is_undetermined_whoever_wrote_it() -> None:
    new = to_json(replace(WHOLE, drift=(undetermined("hum", 'it "status": "cannot be told"'),)))
    old = new.replace('"status": "undetermined"', '"status": "cannot be told"').replace('"format": 3', '"format": 2')
    assert old != new
    for found in (read_measurement(old), Measurement.from_dict(json.loads(old))):
        assert [(each.status, each.reason) for each in found.drift] == [
            ("undetermined", 'it "status": "cannot be told"')
        ]
        assert found.format == 2


def test_what_a_measure_could_not_tell_is_undetermined_also_where_its_words_lie_apart() -> None:
    """Any text is read as the status of a measure, so that nothing but the search finds the old word."""
    apart = {"m": {"status": "cannot be told", "reason": "short", "values": {"area": 0.5}}}
    written = json.dumps(WHOLE.to_dict() | {"format": 2, "measures": apart})
    assert read_measurement(written).measures == {"m": MeasureFound("", "undetermined", "short", {"area": 0.5})}


def test_what_windows_were_held_against_and_measures_found_come_back_as_themselves() -> None:
    found = MeasureFound("apart", "drifted", "", {"area": 0.7, "columns": {"temp": 1.0}})
    held = HeldAgainst("recent", ((instant("2026-02-01"), instant("2026-03-01")),), 600)
    whole = replace(WHOLE, reference=held, measures={"domain_classifier": found})
    assert read_measurement(to_json(whole)) == whole
    kept = whole.to_dict()
    assert kept["reference"] == {
        "of": "recent",
        "spans": [["2026-02-01T00:00:00+00:00", "2026-03-01T00:00:00+00:00"]],
        "rows": 600,
    }
    assert kept["measures"]["domain_classifier"]["values"]["area"] == 0.7


def test_what_measures_found_up_to_format_2_is_taken_apart() -> None:
    """As commit 3bf570c wrote it: numbers, words and status in one."""
    flat = {"status": "cannot be told", "area": 0.5, "columns": {}, "reason": "short", "words": "all columns together"}
    spans = [["2026-02-01T00:00:00+09:00", "2026-03-01T00:00:00+09:00"]]
    written = {"measures": {"domain_classifier": flat}, "reference": {"of": "period", "spans": spans, "rows": 9}}
    found = Measurement.from_dict(WHOLE.to_dict() | {"format": 2} | written)
    assert found.measures["domain_classifier"] == MeasureFound(
        "all columns together", "undetermined", "short", {"area": 0.5, "columns": {}}
    )
    assert found.reference is not None
    assert f"{found.reference.spans[0][0]:%Y-%m-%d}" == "2026-02-01"
    assert found.drift == WHOLE.drift


@pytest.mark.parametrize(
    ("flat", "apart"),
    [
        ({"value": 0.3, "reason": None}, MeasureFound(values={"value": 0.3})),
        ({"words": "x", "reason": None}, MeasureFound("x")),
        ({"status": 3, "v": None}, MeasureFound(values={"status": 3, "v": None})),
        ({"status": True}, MeasureFound(values={"status": True})),
        ({"words": 3, "p": 1}, MeasureFound(values={"words": 3, "p": 1})),
        ({"words": "w", "values": [1, 2]}, MeasureFound("w", values={"values": [1, 2]})),
    ],
)
def test_what_no_text_was_asked_of_up_to_format_2_is_read_and_written_again(
    flat: dict[str, object], apart: MeasureFound
) -> None:
    found = Measurement.from_dict(WHOLE.to_dict() | {"format": 2, "measures": {"acme.m": flat}})
    assert found.measures == {"acme.m": apart}
    assert Measurement.from_dict(found.to_dict()) == found
    with pytest.raises(DatabaseError):
        Measurement.from_dict(WHOLE.to_dict() | {"measures": {"acme.m": flat}})


def test_a_measure_may_say_none_where_it_says_nothing() -> None:
    assert MeasureFound.of({"words": None, "reason": None, "p": None}) == MeasureFound(values={"p": None})


@pytest.mark.parametrize("found", [{"words": 3}, {"value": object()}])
def test_what_a_measure_cannot_have_found_is_refused(found: dict[str, object]) -> None:
    with pytest.raises(TypeError):
        MeasureFound.of(found)
