"""The picture of a message: a PNG of the metric, for those messages that the metric says something about."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from matplotlib.image import imread

from flows.message_picture import draw_course, picture_of
from infra.settings import Settings
from tasks.stores.finding_kinds import describe
from tasks.stores.measurements import read_glimpse
from tasks.stores.messages import Message
from tasks.stores.plain import to_json
from tests.pages import START, Home, window


def test_two_windows_make_a_picture_and_one_none() -> None:
    windows = [read_glimpse(to_json(window(day))) for day in range(3)]
    picture = draw_course("rentals", "rmse", windows)
    assert picture is not None
    pixels = imread(io.BytesIO(picture))
    assert pixels.shape[:2] == (240, 640)
    assert len({tuple(each) for each in pixels.reshape(-1, pixels.shape[2]).tolist()}) > 10  # something is drawn
    assert len(picture) < 60_000
    assert draw_course("rentals", "rmse", windows[:1]) is None
    assert draw_course("rentals", "mae", windows) is None


def test_a_message_has_one_where_the_metric_says_something_about_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_use_case: Callable[..., Path]
) -> None:
    monkeypatch.setenv("DRIFTWHEEL_HOME", str(tmp_path / "home"))
    home = Home(Settings())
    folder = make_use_case("rentals", {"monitoring.performance": [{"metric": "rmse", "drop": 10}]})
    usecase = home.settings.use_case(str(folder))
    home.add(folder)

    def message(kind: str) -> Message:
        with home.database.transaction() as connection:
            home.database.record(connection, describe(usecase.name, kind, "warning", "found"), START)
        return Message((next(each for each in home.database.open_findings(usecase.name) if each.kind == kind),))

    assert picture_of(home.settings, usecase, message("loss")) is None  # nothing was measured
    home.measure(usecase.name, *(window(day) for day in range(4)))
    assert picture_of(home.settings, usecase, message("loss")) is not None
    assert picture_of(home.settings, usecase, message("errors")) is None
    digest = Message(message("errors").standing, digest="daily", reaches=START + timedelta(days=9))
    assert picture_of(home.settings, usecase, digest) is not None
