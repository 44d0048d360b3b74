"""What the service did, minute by minute, and what of that is worth a person's attention."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.service_watch import ServiceWatch, is_burst, unready
from infra.settings import Settings
from tasks.stores.service_history import Counted, Probe, Replica, ServiceHistory, grown, total
from tests.fronts import serving
from tests.pages import Home

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def replica(requests: int, *, instance: str = "a", started: datetime = NOON, **errors: int) -> Replica:
    return Replica(instance, started.timestamp(), {"rentals": Counted(requests, requests, errors, [requests])})


def test_a_minute_is_what_replicas_did_since_the_last_look() -> None:
    last = {"a": replica(100, bad_request=3)}
    now = [replica(160, bad_request=5), replica(7, instance="b", started=NOON + 9 * MINUTE)]
    assert grown(now, last, NOON + 10 * MINUTE) == {"rentals": Counted(67, 67, {"bad_request": 2}, [67])}


def test_of_a_replica_that_ran_before_anybody_looked_the_first_look_says_where_it_stands() -> None:
    assert grown([replica(5000)], {}, NOON + 10 * MINUTE) == {}
    assert grown([replica(5000)], {"a": replica(5000)}, NOON + 11 * MINUTE) == {}


counts = st.builds(
    Counted,
    st.integers(0, 99),
    st.integers(0, 99),
    st.dictionaries(st.sampled_from(["x", "y"]), st.integers(1, 9)),
    st.lists(st.integers(0, 9), min_size=3, max_size=3),
)


@given(st.lists(counts, min_size=1, max_size=6))
def test_minutes_add_up_to_what_was_counted(steps: list[Counted]) -> None:
    last: dict[str, Replica] = {}
    seen, kept = Counted(), Counted()
    for number, step in enumerate(steps):
        seen += step
        now = Replica("a", NOON.timestamp(), {"rentals": seen})
        kept += grown([now], last, NOON + number * MINUTE).get("rentals", Counted())
        last = {"a": now}
    assert (kept.requests, kept.errors) == (total(steps).requests, total(steps).errors)


def test_a_look_counts_once_however_many_processes_look(tmp_path: Path, home: Home) -> None:
    history = ServiceHistory(home.database.url)
    assert history.note(Probe(NOON, "", 0.01), [replica(10, internal=1)])
    assert not history.note(Probe(NOON, "it does not answer"), [replica(11)])
    assert history.note(Probe(NOON + MINUTE, "it answers 503", 0.2), [replica(14, internal=1)])
    assert [(each.minute, each.why) for each in history.probes(NOON)] == [
        (NOON, ""),
        (NOON + MINUTE, "it answers 503"),
    ]
    assert [(at, each.requests, each.errors) for at, each in history.minutes("rentals", NOON)] == [
        (NOON, 10, {"internal": 1}),
        (NOON + MINUTE, 4, {}),
    ]
    assert history.note(Probe(NOON + timedelta(days=15)), [])  # at a full hour what is old goes
    assert [each.minute for each in history.probes(NOON)] == [NOON + timedelta(days=15)]
    assert history.minutes("rentals", NOON) == []


@pytest.mark.parametrize(
    ("newest", "before", "burst"),
    [
        (Counted(100, errors={"internal": 30}), Counted(), True),
        (Counted(0, errors={"bad_request": 12}), Counted(), True),
        (Counted(100, errors={"internal": 9}), Counted(10_000), False),  # few
        (Counted(1000, errors={"internal": 40}), Counted(100_000), False),  # one in twenty-five
        (Counted(100, errors={"bad_request": 30}), Counted(10_000, errors={"bad_request": 3000}), False),  # as ever
        (Counted(100, errors={"bad_feedback": 90}), Counted(10_000), False),  # of no prediction
    ],
)
def test_what_a_burst_is(newest: Counted, before: Counted, burst: bool) -> None:
    assert is_burst(newest, before) is burst


def test_a_burst_lasts_until_fewer_than_one_in_twenty_fail() -> None:
    usual = Counted(1000, errors={"internal": 400})
    assert not is_burst(Counted(100, errors={"internal": 6}), usual)
    assert is_burst(Counted(100, errors={"internal": 6}), usual, stands=True)
    assert not is_burst(Counted(100, errors={"internal": 4}), usual, stands=True)
    assert not is_burst(Counted(), usual, stands=True)


def test_a_restart_is_no_outage() -> None:
    well, ill = Probe(NOON), Probe(NOON + MINUTE, "it does not answer")
    assert unready([]) is None
    assert unready([ill, ill]) is None
    assert unready([ill, well, ill]) is None
    assert unready([well, ill, ill, ill]) == (
        "the service has not passed its health check since 12:01 UTC: it does not answer"
    )


@dataclass
class Answering:
    """A service: whether it is ready, and what it says that it counted."""

    ready: int = 200
    requests: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def body(self, path: str) -> dict[str, Any]:
        """Return what it answers."""
        if path == "/readyz":
            return {"ready": self.ready == 200}
        counted = {"requests": self.requests, "rows": self.requests, "errors": self.errors, "seconds": [self.requests]}
        return {"instance": "a", "started": NOON.timestamp(), "counted": {"rentals": counted}, "usecases": {}}


@contextmanager
def answering(state: Answering) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append(self.path)
            self.send_response(state.ready if self.path == "/readyz" else 200)
            self.end_headers()
            self.wfile.write(json.dumps(state.body(self.path)).encode())

        def log_message(self, *_: object) -> None:
            pass

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as server:
        yield f"http://127.0.0.1:{server.server_port}"


def test_a_burst_and_an_outage_are_findings_of_what_is_served_and_end_by_themselves(
    home: Home, make_use_case: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = home.add(make_use_case())
    assert name == "rentals"
    state = Answering()

    def standing() -> list[tuple[str, str]]:
        return [(each.key, each.severity) for each in home.database.open_findings("rentals")]

    with answering(state) as url:
        monkeypatch.setenv("DRIFTWHEEL_SERVICE", url)
        watch = ServiceWatch(Settings())

        def look(minute: int) -> None:
            watch.look(["rentals"], NOON + minute * MINUTE)

        state.ready = 503
        for minute in range(4):
            look(minute)
        assert standing() == []  # nobody is served yet
        home.promote("rentals")
        look(4)
        assert standing() == [("unready", "failure")]
        asked = len(state.asked)
        look(4)
        assert len(state.asked) == asked  # somebody looked in this minute
        state.ready, state.requests, state.errors = 200, 50, {"bad_request": 40}
        look(5)
        assert standing() == [("errors", "warning")]
        (found,) = home.database.open_findings("rentals")
        assert (
            "40 of 50 requests in the five minutes to 12:06 UTC were refused or failed (bad_request 40)" in found.body
        )
        look(6)
        (found,) = home.database.open_findings("rentals")
        assert found.times_seen == 2
        state.requests, state.errors = 9000, {"bad_request": 40}
        look(12)
        assert standing() == []
        state.errors = {"bad_request": 40, "internal": 900}
        look(20)
        assert standing() == [("errors", "failure")]
    look(21)
    look(22)
    look(23)
    assert ("unready", "failure") in standing()


def test_where_no_service_is_nothing_is_kept(home: Home) -> None:
    ServiceWatch(home.settings).look([], NOON)
    assert ServiceHistory(home.database.url).probes(NOON) == []
