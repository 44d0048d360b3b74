"""A picture of a message never decides whether the message was taken."""

from __future__ import annotations

import itertools
import json
import logging
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from expectations.alerts import AlertTarget
from tasks.stores import alerts
from tasks.stores.alert_pictures import CAPTION
from tasks.stores.alerts import Channel, send_all

PICTURE = b"\x89PNG\r\n\x1a\n a picture"
SLACK = "slack://xoxb-1234567890-1234567890-4ddslieiedjgfofdkjfodisfi/#general"
DISCORD = "discord://123456789012345678/" + "abcdefghij" * 7
TELEGRAM = "tgram://123456789:AAFabcdefghijklmnopqrstuvwxyz1234567/12345"


class Chats:
    """Servers of chats: what they were posted, and the requests they answer by an error."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.got: list[str] = []

    def post(self, url: str, **asked: Any) -> requests.Response:
        """Answer a request."""
        path = url.rpartition("/")[2]
        of_picture = path.startswith(("files.", "sendPhoto", "sendDocument")) or bool(asked.get("files"))
        self.got.append("picture" if of_picture else "caption" if CAPTION in str(asked) else "words")
        answer = requests.Response()
        answer.status_code = self.status if of_picture else 200
        body = {"ok": not of_picture, "error": "missing_scope", "channel": "C1", "ts": "1", "result": {"message_id": 1}}
        answer._content = json.dumps(body).encode()
        answer.headers["Content-Type"] = "application/json"
        return answer


def told(address: str) -> str:
    channel = Channel(AlertTarget(to=address), 0, address)
    (sent,) = send_all([(channel, "rentals: a loss", "b" * 1500, "warning", PICTURE)])
    return sent.why


@pytest.mark.parametrize(("address", "status"), [(SLACK, 200), (TELEGRAM, 502), (DISCORD, 503), (DISCORD, 403)])
def test_words_that_were_taken_are_taken_though_their_picture_was_not(
    address: str, status: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    chats = Chats(status)
    for method in ("post", "get"):
        monkeypatch.setattr(requests, method, chats.post)
    monkeypatch.setattr(requests, "request", lambda _method, url, **asked: chats.post(url, **asked))
    with caplog.at_level(logging.WARNING, "tasks.stores.alerts"):
        assert told(address) == ""
    assert chats.got.count("words") == 1
    assert chats.got[-1] == "picture"
    assert "showed no picture" in caplog.text
    assert address not in caplog.text


def test_words_are_answered_for_before_their_picture_has_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    chats, held, let_go = Chats(), threading.Event(), threading.Event()

    def slow(url: str, **asked: Any) -> requests.Response:
        if chats.got:  # what comes after the words
            held.set()
            let_go.wait()
        return chats.post(url, **asked)

    def now() -> Iterator[float]:
        yield 0.0  # as the senders start
        assert held.wait(60)
        yield from itertools.repeat(alerts.MAX_SECONDS)  # they are waited for no longer

    monkeypatch.setattr(requests, "post", slow)
    monkeypatch.setattr(alerts, "_silent", lambda: nullcontext({}))  # it would stay silent: one is still under way
    monkeypatch.setattr(alerts, "time", SimpleNamespace(monotonic=partial(next, now())))
    try:
        assert told(DISCORD) == ""
        assert chats.got == ["words"]  # the picture's sender is not let go yet
    finally:
        let_go.set()
        senders = [each for each in threading.enumerate() if each.name.endswith("(send)")]
        for each in senders:  # before the servers are the real ones again
            each.join(60)
    assert [each.is_alive() for each in senders] == [False]
    assert chats.got[-1] == "picture"
