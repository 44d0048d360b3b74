"""What the service did, minute by minute, and what of that is worth a person's attention."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import insert

from flows.service_watch import ServiceWatch, counted, is_burst, is_unready
from infra.serving.access import Access
from infra.serving.app import Service
from infra.serving.journal_writer import Journal
from infra.serving.mount import Mount
from infra.serving.mounts import Mounts
from infra.settings import Settings
from tasks.stores import tables
from tasks.stores.finding_kinds import describe
from tasks.stores.releases import Releases
from tasks.stores.service_history import KEPT, Counted, Outage, Probe, Replica, ServiceHistory, grown, outages, total
from tests.fronts import serving
from tests.pages import Home, find, statements

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def replica(requests: int, *, instance: str = "a", started: datetime = NOON, **errors: int) -> Replica:
    return Replica(instance, started.timestamp(), {"rentals": Counted(requests, requests, errors, [requests])})


def test_a_minute_is_what_replicas_did_since_the_last_look() -> None:
    last = {"a": replica(100, bad_request=3)}
    now = [replica(160, bad_request=5), replica(7, instance="b", started=NOON + 9 * MINUTE)]
    assert grown(now, last, NOON + 10 * MINUTE) == {"rentals": Counted(67, 67, {"bad_request": 2}, [67])}


def test_what_a_request_of_an_earlier_look_looked_back_at_is_kept() -> None:
    before, now = (Replica("a", NOON.timestamp(), {"rentals": Counted(5, 5, behind=count)}) for count in (0, 12))
    assert grown([now], {"a": before}, NOON + MINUTE) == {"rentals": Counted(behind=12)}


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


def test_a_burst_lasts_until_few_fail_or_no_more_than_ever() -> None:
    never = Counted(10_000)
    assert not is_burst(Counted(100, errors={"internal": 6}), never)
    assert is_burst(Counted(100, errors={"internal": 6}), never, stands=True)
    assert not is_burst(Counted(100, errors={"internal": 4}), never, stands=True)
    assert not is_burst(Counted(), never, stands=True)
    usual = Counted(1000, errors={"internal": 80})
    assert is_burst(Counted(100, errors={"internal": 30}), usual)
    assert not is_burst(Counted(100, errors={"internal": 20}), usual)
    assert is_burst(Counted(100, errors={"internal": 20}), usual, stands=True)
    assert not is_burst(Counted(100, errors={"internal": 8}), usual, stands=True)


def checked(*failed: int, of: int) -> list[Probe]:
    return [Probe(NOON + at * MINUTE, "it does not answer" if at in failed else "") for at in range(of)]


def test_a_restart_is_no_outage() -> None:
    assert not is_unready([], NOON)
    assert not is_unready(checked(0, 1, of=2), NOON + MINUTE)
    assert not is_unready(checked(0, 2, of=3), NOON + 2 * MINUTE)
    assert not is_unready(checked(0, 1, 2, of=3), NOON + 9 * MINUTE)  # nobody looked since
    assert is_unready(checked(0, 1, 2, of=3), NOON + 2 * MINUTE)


def test_checks_with_a_while_between_in_which_nobody_looked_are_of_two_outages() -> None:
    probes = [Probe(NOON + at * MINUTE, "x") for at in (0, 3, 600, 601)]
    assert [(each.first, each.minutes) for each in outages(probes)] == [(NOON, 4), (NOON + 600 * MINUTE, 2)]


def noted(home: Home, probes: list[Probe]) -> ServiceHistory:
    """Keep health checks as they are, at once."""
    history = ServiceHistory(home.database.url)
    with history.transaction() as connection:
        connection.execute(insert(tables.probes), [vars(each) for each in probes])
    return history


def test_an_outage_goes_on_since_its_first_check_that_was_not_passed(home: Home) -> None:
    history = noted(home, checked(0, *range(2, 90), of=91))
    at = NOON + 89 * MINUTE
    assert history.newest_outage(at) == Outage(NOON + 2 * MINUTE, at, "it does not answer")
    assert history.newest_outage(at + MINUTE) is None  # passed
    assert history.newest_outage(at + 2 * MINUTE) is None  # nobody looked


def test_an_outage_that_is_known_is_read_on_from_there_alone(home: Home) -> None:
    history = noted(home, [Probe(NOON + at * MINUTE, "x") for at in (0, 1, 2, 600, 601, 602)])
    began, at = NOON - 2 * KEPT, NOON + 2 * MINUTE  # longer ago than anything is kept
    assert history.newest_outage(at, Outage(began, NOON, "")) == Outage(began, at, "x")
    later = NOON + 602 * MINUTE  # nobody knows what was meanwhile
    assert history.newest_outage(later, Outage(began, at, "")) == Outage(NOON + 600 * MINUTE, later, "x")


@pytest.mark.parametrize("failed", [[0, 1, 2], [*range(1800)]])
def test_a_finding_says_since_when_the_service_is_down_however_long(
    home: Home, make_use_case: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, failed: list[int]
) -> None:
    name = home.add(make_use_case())
    home.promote(name)
    ago = [Probe(NOON - 600 * MINUTE, "it answers 503")]  # then nobody looked
    noted(home, [*ago, *(Probe(NOON + at * MINUTE, "it answers 503") for at in failed)])
    with answering(Answering(ready=503)) as url:
        monkeypatch.setenv("DRIFTWHEEL_SERVICE", url)
        for later in (1, 2):
            ServiceWatch(Settings()).look([name], NOON + (failed[-1] + later) * MINUTE)
            (found,) = home.database.open_findings(name)
            assert found.body.splitlines()[0] == (
                "The service has not passed its health check since 2026-03-01 12:00 UTC: it answers 503."
            )


def test_what_is_counted_over_a_gap_is_of_no_minute_after_it(home: Home) -> None:
    history = ServiceHistory(home.database.url)
    history.note(Probe(NOON), [replica(10)])
    history.note(Probe(NOON + 60 * MINUTE), [replica(500, internal=400)])
    assert [(at, each.requests) for at, each in history.minutes("rentals", NOON)] == [(NOON, 10), (NOON + MINUTE, 490)]


def test_a_replica_that_is_absent_for_a_while_loses_nothing(home: Home) -> None:
    history, other = ServiceHistory(home.database.url), "b"
    history.note(Probe(NOON), [replica(10), replica(5, instance=other)])
    history.note(Probe(NOON + MINUTE), [replica(20)])
    history.note(Probe(NOON + 2 * MINUTE), [replica(30), replica(9, instance=other)])
    assert [(at, each.requests) for at, each in history.minutes("rentals", NOON)] == [
        (NOON, 15),
        (NOON + MINUTE, 14),  # four of them in this minute or the next
        (NOON + 2 * MINUTE, 10),
    ]


def test_what_a_clock_that_was_ahead_wrote_is_gone_with_the_next_look(home: Home) -> None:
    history, ahead = ServiceHistory(home.database.url), NOON + timedelta(days=3)
    history.note(Probe(ahead, "it does not answer"), [replica(10)])
    history.note(Probe(NOON + 4 * MINUTE, "skew"), [replica(12)])
    history.note(Probe(NOON), [replica(15)])
    assert [each.minute for each in history.probes(NOON)] == [NOON, NOON + 4 * MINUTE]
    assert all(at <= NOON + 4 * MINUTE for at, _ in history.minutes("rentals", NOON - MINUTE))


@dataclass
class Answering:
    """A service: whether it is ready, and what it says that it counted."""

    ready: int = 200
    requests: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    behind: int = 0
    asked: list[str] = field(default_factory=list)

    def body(self, path: str) -> dict[str, Any]:
        """Return what it answers."""
        if path == "/readyz":
            return {"ready": self.ready == 200}
        counted = {"requests": self.requests, "rows": self.requests, "errors": self.errors, "seconds": [self.requests]}
        counted["behind"] = self.behind
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


@pytest.mark.slow
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
        look(19)
        state.requests, state.errors = 9100, {"bad_request": 40, "internal": 60}
        look(20)
        assert standing() == [("errors", "failure")]
        with home.database.transaction() as connection:
            home.database.acknowledge(connection, "rentals", "errors", "Ada")
        for minute, (refused, failed) in enumerate([(140, 60), (140, 160)], 21):  # now most are refused, now not
            state.requests, state.errors = state.requests + 100, {"bad_request": refused, "internal": failed}
            look(minute)
            assert [each.acknowledged_by for each in home.database.open_findings("rentals")] == ["Ada"]
    for minute in range(23, 40):
        look(minute)
    assert sorted(standing()) == [("errors", "failure"), ("unready", "failure")]  # nobody knows if requests fail
    look(100)
    assert sorted(standing()) == [("errors", "failure"), ("unready", "failure")]  # one check, and that is not passed


def test_what_the_service_says_that_it_counted_is_what_its_watch_reads(tmp_path: Path) -> None:
    mounts, journal = Mounts(Releases(tmp_path / "releases")), Journal(tmp_path / "journal")
    mount = mounts.by_name["rentals"] = Mount("rentals")
    counters = mount.counters
    counters.requests, counters.rows, counters.errors["busy"], counters.behind = 3, 12, 1, 5
    counters.model("b", "1").history.update(behind=7, unseen=2)
    service = Service(mounts, journal, Access(None, loopback=True))

    async def version() -> Any:
        transport = httpx.ASGITransport(service)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return (await client.get("/version")).json()

    try:
        said = asyncio.run(version())
    finally:
        service.close()
        journal.close()
    (replica,) = counted(SimpleNamespace(ask_once=lambda *_: [said]))  # type: ignore[arg-type] # as much as is asked
    found = replica.usecases["rentals"]
    assert (found.requests, found.rows, found.errors, found.behind) == (3, 12, {"busy": 1}, 5)


def test_rows_that_are_looked_back_at_too_early_are_a_finding_until_they_are_there(
    home: Home, make_use_case: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    name, state = home.add(make_use_case()), Answering()
    home.promote(name)
    with answering(state) as url:
        monkeypatch.setenv("DRIFTWHEEL_SERVICE", url)
        watch = ServiceWatch(Settings())

        def look(minute: int, rows: int, behind: int) -> list[str]:
            """Say what the service counted since it began, look, and return what stands."""
            state.requests, state.behind = rows, behind
            watch.look([name], NOON + minute * MINUTE)
            return [each.key for each in home.database.open_findings(name)]

        assert look(0, 0, 0) == []
        assert look(1, 100, 9) == []  # a few rows that came just before a collection
        assert look(2, 200, 60) == ["behind"]
        (found,) = home.database.open_findings(name)
        assert "60 values that 200 rows looked back at in the five minutes to 12:03 UTC may lack" in found.body
        assert look(7, 200, 60) == ["behind"]  # nobody asks: who knows
        assert look(8, 300, 61) == ["behind"]
        assert look(13, 400, 61) == []
        ended = home.database.finding(name, "behind")
        assert ended is not None
        assert "collected before they came" in ended.resolved_how
        assert look(14, 500, 65) == []


def test_where_no_service_is_nothing_is_kept(home: Home) -> None:
    ServiceWatch(home.settings).look([], NOON)
    assert ServiceHistory(home.database.url).probes(NOON) == []


def test_what_was_found_of_a_service_ends_where_nobody_knows_its_address_any_more(
    home: Home, make_use_case: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = home.add(make_use_case())
    home.promote(name)
    find(home, name)  # of another kind

    def look(minute: int) -> list[str]:
        ServiceWatch(Settings()).look([name], NOON + minute * MINUTE)
        return [each.key for each in home.database.open_findings(name)]

    with answering(Answering(ready=503)) as url:
        monkeypatch.setenv("DRIFTWHEEL_SERVICE", url)
        assert [look(minute) for minute in range(3)][-1] == ["unready", "silent"]
    monkeypatch.delenv("DRIFTWHEEL_SERVICE")
    assert look(5) == ["unready", "silent"]  # another process may look at it: it was checked within ten minutes
    assert look(13) == ["silent"]
    found = home.database.finding(name, "unready")
    assert found is not None
    assert "its address is not set" in found.resolved_how
    watch = ServiceWatch(Settings())
    watch.look([name], NOON + 30 * MINUTE)
    with statements() as asked:
        watch.look([name], NOON + 31 * MINUTE)
    assert asked == []


def test_minutes_are_those_before_an_end(home: Home) -> None:
    history = ServiceHistory(home.database.url)
    for number in range(4):
        history.note(Probe(NOON + number * MINUTE), [replica(10 * (number + 1))])
    found = history.minutes("rentals", NOON + MINUTE, NOON + 3 * MINUTE)
    assert [at for at, _ in found] == [NOON + MINUTE, NOON + 2 * MINUTE]


USUAL = Counted(1000, 1000, {"bad_request": 80})
"""Of a service of which eight in a hundred requests are ever refused."""


@pytest.mark.slow
@pytest.mark.parametrize(("refused", "ends"), [(9, True), (40, False)])
def test_a_burst_is_held_against_the_day_before_it_also_when_that_is_no_longer_kept(
    home: Home, make_use_case: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, refused: int, ends: bool
) -> None:
    name, state = home.add(make_use_case()), Answering(requests=1000, errors={"bad_request": 80})
    home.promote(name)
    with answering(state) as url:
        monkeypatch.setenv("DRIFTWHEEL_SERVICE", url)
        watch = ServiceWatch(Settings())

        def look(minute: int, requests: int, errors: int) -> None:
            state.requests, state.errors = (
                state.requests + requests,
                {"bad_request": state.errors["bad_request"] + errors},
            )
            watch.look([name], NOON + minute * MINUTE)

        look(0, 0, 0)
        look(60, 0, 0)
        look(61, 100, 60)
        (found,) = home.database.open_findings(name)
        assert "(bad_request 60); in the day before 80 of 1,000" in found.body
        much_later = 20 * 24 * 60
        state.ready = 503  # nobody knows if requests fail, and so it stands
        look(much_later, 0, 0)  # at a full hour what is old goes
        assert ServiceHistory(home.database.url).minutes(name, NOON) == []
        assert [each.key for each in home.database.open_findings(name)] == ["errors"]
        state.ready = 200
        look(much_later + 1, 100, refused)
        look(much_later + 5, 100, refused)
        assert (home.database.open_findings(name) == []) is ends


def test_a_burst_whose_finding_is_of_before_that_was_kept_is_held_against_the_oldest_day(home: Home) -> None:
    name, opened = "rentals", NOON - 2 * KEPT
    watch, history = ServiceWatch(home.settings), ServiceHistory(home.database.url)
    with home.database.transaction() as connection:
        home.database.record(
            connection, describe(name, "errors", "warning", "many", {"errors": {"bad_request": 9}}), opened
        )
        for at, each in ((NOON - KEPT, USUAL), (NOON, Counted(100, 100, {"bad_request": 9}))):
            content = msgspec.json.encode(each).decode()
            connection.execute(insert(tables.traffic).values(usecase=name, minute=at, content=content))
    (stands,) = home.database.open_findings(name)
    newest = total(each for _, each in history.minutes(name, NOON - 4 * MINUTE))
    assert newest == Counted(100, 100, {"bad_request": 9})
    assert watch.burst(history, name, newest, NOON, stands) is None
    assert is_burst(Counted(100, errors={"bad_request": 9}), Counted(), stands=True)  # as it was without that day


@pytest.mark.slow
def test_what_stands_of_a_use_case_that_is_not_served_any_more_ends(
    home: Home, make_use_case: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    name, path = home.add(make_use_case()), home.releases.root / "rentals" / "desired.json"
    home.promote(name)
    with answering(Answering(ready=503)) as url:
        monkeypatch.setenv("DRIFTWHEEL_SERVICE", url)

        def standing(minute: int) -> list[str]:
            ServiceWatch(Settings()).look([name], NOON + minute * MINUTE)
            return [each.key for each in home.database.open_findings(name)]

        assert [standing(minute) for minute in range(3)] == [[], [], ["unready"]]
        served = path.read_text()
        path.write_text("{")
        assert standing(3) == ["unready"]  # who knows
        path.write_text(served)
        away = home.releases.root.rename(home.releases.root.with_name("away"))
        assert standing(4) == ["unready"]  # its mount is gone
        away.rename(home.releases.root)
        home.releases.set_desired(name, champion=None)
        assert standing(5) == []
        found = home.database.finding(name, "unready")
        assert found is not None
        assert found.resolved_how == "it is not served any more"
