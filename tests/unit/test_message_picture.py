"""The picture of a message: a PNG of the metric, for those messages that the metric says something about."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from matplotlib.image import imread

from flows import message_picture
from flows.commands.alert import alert
from flows.message_picture import MessagePicture, draw_course
from flows.messenger import send_messages
from tasks.stores import alerts
from tasks.stores.alerts import Channel
from tasks.stores.finding_kinds import describe
from tasks.stores.measurements import read_glimpse
from tasks.stores.messages import Message
from tasks.stores.plain import to_json
from tests.pages import START, Home, window


@pytest.mark.slow
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
    home: Home, make_use_case: Callable[..., Path]
) -> None:
    folder = make_use_case("rentals", {"monitoring.performance": [{"metric": "rmse", "drop": 10}]})
    usecase = home.settings.use_case(str(folder))
    home.add(folder)

    def message(kind: str) -> Message:
        with home.database.transaction() as connection:
            home.database.record(connection, describe(usecase.name, kind, "warning", "found"), START)
        return Message((next(each for each in home.database.open_findings(usecase.name) if each.kind == kind),))

    def picture_of(message: Message) -> bytes | None:
        return MessagePicture(home.settings, usecase).of(message)

    assert picture_of(message("loss")) is None  # nothing was measured
    home.measure(usecase.name, *(window(day) for day in range(4)))
    assert picture_of(message("loss")) is not None
    assert picture_of(message("errors")) is None
    digest = Message(message("errors").standing, digest="daily", reaches=START + timedelta(days=9))
    assert picture_of(digest) is not None


def loss(home: Home, name: str) -> None:
    with home.database.transaction() as connection:
        home.database.record(connection, describe(name, "loss", "failure", "found"), START)


@pytest.mark.parametrize("fault", [ValueError, OverflowError, OSError])
def test_messages_go_though_their_picture_cannot_be_drawn(
    fault: type[Exception],
    home: Home,
    make_use_case: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    addresses = ["ntfy://127.0.0.1/a", "json://127.0.0.1/b", "ntfy://127.0.0.1/c"]
    changes: dict[str, object] = {
        "monitoring.performance": [{"metric": "rmse", "drop": 10}],
        "alerts": addresses,
    }
    folder = make_use_case("rentals", changes)
    home.add(folder)
    home.measure("rentals", *(window(day) for day in range(4)))
    loss(home, "rentals")
    sent: list[tuple[str, bytes | None]] = []
    drawn: list[int] = []

    def take(channel: Channel, _title: str, _body: str, _severity: str, picture: bytes | None) -> Iterator[str]:
        sent.append((channel.address, picture))
        yield ""

    def draw(*_: object) -> bytes:
        drawn.append(len(sent))
        raise fault("an odd measurement")

    monkeypatch.setattr(alerts, "_send", take)
    monkeypatch.setattr(message_picture, "draw_course", draw)
    assert [each.why for each in send_messages(home.settings, home.settings.use_case(str(folder)))] == ["", "", ""]
    assert sorted(sent) == [(each, None) for each in sorted(addresses)]
    assert drawn == [0]  # once for all, and not while a target waits
    assert f"messages of rentals carry no picture: {fault.__name__}" in caplog.text
    assert "odd" not in caplog.text


def test_no_picture_is_drawn_for_those_who_take_none(
    home: Home, make_use_case: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_use_case("rentals", {"alerts": ["json://127.0.0.1/b", "gotify://127.0.0.1/token"]})
    home.add(folder)
    home.measure("rentals", *(window(day) for day in range(4)))
    loss(home, "rentals")
    monkeypatch.setattr(alerts, "_send", lambda *_: iter([""]))
    monkeypatch.setattr(MessagePicture, "png", property(lambda _: pytest.fail("a picture was drawn")))
    usecase = home.settings.use_case(str(folder))
    assert [each.why for each in send_messages(home.settings, usecase)] == ["", ""]
    cli = CliRunner().invoke(alert, ["test", str(folder)])
    assert cli.exit_code == 0, cli.output
