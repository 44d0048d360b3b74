"""What a replay tells."""

from dataclasses import replace

from expectations.windows import Window
from flows.replay_story import Story
from flows.story import _rows, _sentence, _ticks, draw


def story(*starts: str) -> Story:
    told = {"rows": 10, "static": 0.5, "loop": 0.6, "drifted_columns": [], "decision": "keep", "cause": "none"}
    windows = [
        {"start": f"{start}+00:00", "end": f"{start}+00:00", "promoted": None, "summary": "", **told}
        for start in starts
    ]
    return Story("pumps", "roc_auc", windows, mean={"static": 0.5, "loop": 0.6})


def test_windows_have_their_year() -> None:
    assert [row[0] for row in _rows(story("2013-12-01T00:00:00", "2014-01-01T00:00:00"))] == [
        "2013-12-01",
        "2014-01-01",
    ]


def test_windows_shorter_than_a_day_are_told_apart() -> None:
    shown = [row[0] for row in _rows(story("2013-12-01T00:00:00", "2013-12-01T06:00:00"))]
    assert shown == ["2013-12-01", "2013-12-01 06:00"]


def test_the_picture_names_each_year_once() -> None:
    starts = ["2013-11-01T00:00:00", "2013-12-01T00:00:00", "2014-01-01T00:00:00", "2014-02-01T00:00:00"]
    ticks = ["Nov 01\n2013", "Dec 01", "Jan 01\n2014", "Feb 01"]
    assert _ticks([Window.of(told) for told in story(*starts).windows]) == ticks
    assert [label.get_text() for label in draw(story(*starts)).axes[1].get_xticklabels()] == ticks
    short = story("2013-12-01T00:00:00", "2013-12-01T06:00:00").windows
    assert _ticks([Window.of(told) for told in short]) == ["Dec 01\n00:00\n2013", "Dec 01\n06:00"]


def test_windows_by_count_are_called_by_their_rows() -> None:
    told = story("2013-12-01T00:00:00", "2013-12-02T00:00:00")
    for place, window in enumerate(told.windows):
        window["counted"] = [500 * place + 1, 500 * (place + 1)]
    assert [row[0] for row in _rows(told)] == ["rows 1-500", "rows 501-1000"]
    assert [label.get_text() for label in draw(told).axes[1].get_xticklabels()] == ["to 500", "to 1,000"]


def test_recalibrations_are_counted_beside_retrainings_where_there_were_some() -> None:
    said = _sentence(replace(story(), trials=3, retrains=1, promotions=2, refused=0))
    assert "3 trials, 1 retrainings, 2 promoted, 0 refused" in said
    said = _sentence(replace(story(), trials=3, retrains=1, recalibrations=1, promotions=2))
    assert "3 trials, 1 retrainings, 1 recalibrations, 2 promoted" in said
