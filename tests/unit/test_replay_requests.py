"""What a replay asks the service arrives whole, or is said to have failed."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable

import httpx
import polars as pl
import pytest

from flows.replay_requests import send_rows
from flows.replay_story import SentRequests

ROWS = pl.DataFrame({"id": range(7), "text": ["x" * 100] * 7})
Answer = Callable[[httpx.Request], httpx.Response]


def sent(answer: Answer, rows: pl.DataFrame = ROWS) -> SentRequests:
    traffic = SentRequests()
    with httpx.Client(transport=httpx.MockTransport(answer), base_url="http://service") as client:
        send_rows(client, "mails", rows, traffic)
    return traffic


def test_rows_that_are_too_large_together_are_sent_in_halves_each_once() -> None:
    taken: list[int] = []

    def takes_300_bytes(request: httpx.Request) -> httpx.Response:
        if len(request.content) > 300:
            return httpx.Response(413)
        taken.extend(row[0] for row in json.loads(request.content)["dataframe_split"]["data"])
        return httpx.Response(200)

    assert sent(takes_300_bytes) == SentRequests(requests=4, failed=0, rows=7)
    assert taken == [*range(7)]


def test_a_row_that_is_too_large_alone_fails_alone_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    def takes_all_but_5(request: httpx.Request) -> httpx.Response:
        return httpx.Response(413 if b"[5," in request.content else 200)

    assert sent(takes_all_but_5) == SentRequests(requests=4, failed=1, rows=7)
    assert [record.getMessage() for record in caplog.records if "failed" in record.getMessage()] == [
        "a request of 1 rows failed: status 413; --batch sends fewer rows in each"
    ]


def test_a_request_without_an_answer_is_not_sent_again(caplog: pytest.LogCaptureFixture) -> None:
    """Its rows may have been answered, and would be asked for twice."""
    caplog.set_level(logging.INFO)
    asked: list[int] = []

    def silent(request: httpx.Request) -> httpx.Response:
        asked.append(1)
        raise httpx.ReadTimeout("", request=request)

    assert sent(silent) == SentRequests(requests=1, failed=1, rows=7)
    assert len(asked) == 1
    assert "a request of 7 rows failed: no answer in time; --batch sends fewer rows in each" in caplog.messages
