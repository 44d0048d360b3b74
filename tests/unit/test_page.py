"""The page: what it reads from a real database, what it shows of it, and that it degrades instead of failing."""

from __future__ import annotations

import asyncio
import getpass
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from flows.asking import acknowledge
from flows.page import charts, words
from flows.page.answers import Deployed, Run, model_link, read_counts, report_link, run_link, tracking_link
from flows.page.app import HEADERS, application
from flows.page.asker import FIRST_SECONDS, PATIENCE_SECONDS
from flows.page.cards import CARD_WINDOWS, Card, read_cards
from flows.page.distributions import bars_of
from flows.page.doing import ACTIONS, Doing
from flows.page.known import UseCases
from flows.page.people import person
from flows.page.records import read_ledger
from flows.page.servers import OLD_SECONDS, Servers
from flows.page.states import State
from flows.page.views import read_view
from infra.front import Front
from infra.settings import Settings
from tasks.evaluation.sketches import sketch
from tasks.stores.database import HELD, HELD_BATCH, VOUCHED
from tasks.stores.desired_state import CandidateState, Served
from tasks.stores.findings import Found
from tasks.stores.ledger import FORGET, RETENTION
from tasks.stores.measurements import read_measurement
from tasks.stores.messages import Message, TargetState
from tasks.stores.model_words import MODEL_PAGES
from tasks.stores.presences import Process
from tests.fronts import always, front, serving, times
from tests.pages import HOSTILE, START, Home, find, statements, window


class Client:
    """Asks an application as a browser on this machine would."""

    def __init__(self, application: Any) -> None:
        self._application = application

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.ask("GET", path, **more)

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        async def asked() -> httpx.Response:
            transport = httpx.ASGITransport(self._application)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
                return await client.request(method, path, **more)

        return asyncio.run(asked())


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("DRIFTWHEEL_HOME", str(tmp_path / "hö me"))
    for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    return Settings()


@pytest.fixture
def page(settings: Settings) -> Client:
    return Client(application(settings))


@pytest.fixture
def home(settings: Settings) -> Home:
    return Home(settings)


def cards(settings: Settings) -> dict[str, Card]:
    found = read_cards(UseCases(settings), settings.platform(), START + timedelta(days=90))
    return {card.name: card for card in found}


# --- nothing is there -------------------------------------------------------------------------------------------------


def test_an_empty_home_says_what_to_do_first(page: Client) -> None:
    shown = page.get("/")
    assert shown.status_code == 200
    assert "No use case yet" in shown.text
    assert "driftwheel add flights" in shown.text


def test_a_use_case_without_a_model_says_what_comes_next(
    page: Client, home: Home, make_use_case: Callable[..., Path]
) -> None:
    name = home.add(make_use_case())
    assert cards(home.settings)[name].state.word == "no model yet"
    assert f"driftwheel run loop {name}" in page.get("/").text
    whole = page.get(f"/usecases/{name}").text
    for said in (
        "Nothing was measured yet",
        "Nothing was collected yet",
        "No version answers yet",
        "Nothing was decided",
    ):
        assert said in whole
    assert "The service is away" in whole
    assert "Prefect is away" in whole


@pytest.mark.parametrize("path", ["/usecases/nobody", "/usecases/nobody/live", "/nowhere", "/usecases/x/entries/7"])
def test_what_is_not_there_is_404_and_leads_back(page: Client, path: str) -> None:
    shown = page.get(path)
    assert shown.status_code == 404
    assert 'href="/"' in shown.text


def test_a_database_that_is_damaged_is_said_in_words(page: Client, settings: Settings) -> None:
    (settings.folder / "platform.db").write_bytes(b"no database at all, but long enough to be looked at" * 100)
    shown = page.get("/")
    assert shown.status_code == 503
    assert "platform.db" in shown.text


# --- what a card says -------------------------------------------------------------------------------------------------


def test_a_card_tells_the_metric_beside_its_interval_its_bar_and_what_needs_no_model(
    page: Client, home: Home, make_use_case: Callable[..., Path]
) -> None:
    name = home.add(make_use_case())
    home.promote(name)
    home.measure(name, *(window(day) for day in range(30)))
    card = cards(home.settings)[name]
    assert card.metric is not None
    assert (card.metric.value, card.metric.low, card.metric.high) == (69.0, 38.0, 60.5)
    assert card.metric.bar == 55.0
    assert card.metric.baseline == ("the same hour of the week", 75.25)
    assert len(card.spark) == CARD_WINDOWS
    assert card.champion is not None
    assert card.champion.age == timedelta(days=90)
    shown = page.get("/").text
    assert "75.25 without a model" in shown
    assert "within its bar in 2024-01-30" not in shown  # the card says it in a word
    assert ">good<" in shown


def test_machines_are_told_what_the_cards_say(page: Client, home: Home, make_use_case: Callable[..., Path]) -> None:
    name = home.add(make_use_case())
    home.promote(name)
    home.measure(name, *(window(day) for day in range(3)))
    shown = page.get("/usecases.json")
    assert shown.status_code == 200
    (card,) = shown.json()
    assert (card["name"], card["state"]["word"], card["metric"]["value"]) == (name, "good", 42.0)
    assert card["champion"]["age"] > 0  # seconds


def test_states_in_their_order(home: Home, make_use_case: Callable[..., Path]) -> None:
    name = home.add(make_use_case())
    home.promote(name)

    def word() -> str:
        return cards(home.settings)[name].state.word

    assert word() == "not measured"
    unknown = window(0, status="unknown", realised=[{**window(0)["realised"][0], "value": None}])
    home.measure(name, unknown)
    assert word() == "unknown"
    card = cards(home.settings)[name]
    assert card.metric is not None
    assert card.metric.estimated
    assert card.metric.value == 43.0
    home.measure(name, window(1, status="violated"))
    assert word() == "worse"
    home.measure(name, window(2))
    assert word() == "good"
    candidate = CandidateState(bundle="2" * 64, version="2", mode="canary", share=0.25)
    home.releases.set_desired(name, champion=Served(bundle="1" * 64, version="1"), candidate=candidate)
    assert word() == "releasing"
    with home.database.transaction() as connection:
        turn = home.database.request_turn(connection, name, "decay", START)
    assert word() == "collecting"
    home.database.mark(name, HELD, json.dumps(["row_count: 3"]))
    assert word() == "held"
    (home.settings.platform().use_cases()[name] / "usecase.yaml").write_text("name: [")
    assert word() == "left out"
    assert turn is not None


def stand(home: Home, name: str, key: str, severity: str) -> None:
    with home.database.transaction() as connection:
        home.database.record(connection, Found(name, key, key, severity, f"{key} is wrong", "It is.", {}), START)


@pytest.mark.slow
def test_no_state_is_better_than_what_stands(home: Home, page: Client, make_use_case: Callable[..., Path]) -> None:
    good, ill = home.add(make_use_case("aaa")), home.add(make_use_case("zzz"))
    for name in (good, ill):
        home.promote(name)
        home.measure(name, window(0))

    def state() -> State:
        return cards(home.settings)[ill].state

    stand(home, ill, "a", "info")
    assert state().word == "good"
    for key in ("b", "c"):
        stand(home, ill, key, "warning")
    advice = "Read its findings: they say what to do"
    assert state() == State("warning", "worse", "b is wrong, and 1 more", advice)
    home.measure(ill, window(1, status="violated"))
    assert state().word == "worse"  # which says more
    home.database.enter("run", ill, Process("host", 1, 1.0))
    assert state().word == "at work"
    stand(home, ill, "d", "failure")
    assert state() == State("failure", "bad", "d is wrong", advice)
    assert list(cards(home.settings)) == [ill, good]
    for path in ("/", f"/usecases/{ill}", f"/usecases/{ill}/live"):
        assert '<span class="state bad">' in page.get(path).text
    acknowledge(home.database, ill, "d", "ann", "on the page")
    assert state().word == "failure"
    home.database.end(ill, ["d"], "well", START)
    assert state().word == "at work"


def test_a_state_is_told_by_the_newest_window_that_is_known_however_many_are_not(
    home: Home, page: Client, make_use_case: Callable[..., Path]
) -> None:
    name = home.add(make_use_case())
    home.promote(name)
    unknown = [{**window(0)["realised"][0], "value": None}]
    home.measure(name, window(0), *(window(day, status="unknown", realised=unknown) for day in range(1, 40)))
    assert cards(home.settings)[name].state.why == "within its bar in 2024-01-01"
    assert len(cards(home.settings)[name].spark) == 0  # of the newest none is known
    for path in (f"/usecases/{name}", f"/usecases/{name}/live"):
        assert "Within its bar in 2024-01-01" in page.get(path).text


def test_a_turn_that_failed_needs_somebody_and_comes_first(home: Home, make_use_case: Callable[..., Path]) -> None:
    good, bad = home.add(make_use_case("aaa")), home.add(make_use_case("zzz"))
    for name in (good, bad):
        home.promote(name)
        home.measure(name, window(0))
    with home.database.transaction() as connection:
        turn = home.database.request_turn(connection, bad, "decay", START)
        assert turn is not None
        home.database.put_state(connection, turn, "failed")
    found = cards(home.settings)
    assert list(found) == [bad, good]
    assert found[bad].state.word == "failed"


def test_a_flow_that_runs_is_looked_at_more_often(page: Client, home: Home, make_use_case: Callable[..., Path]) -> None:
    name = home.add(make_use_case())
    assert 'hx-trigger="every 15s"' in page.get("/cards").text
    home.database.enter("run", name, Process("host", 1, 1.0))
    assert 'hx-trigger="every 3s"' in page.get("/cards").text
    assert 'hx-trigger="every 3s"' in page.get(f"/usecases/{name}/live").text


def test_a_replay_has_a_card_of_its_own_and_its_own_time(home: Home, page: Client) -> None:
    home.promote("flights-replay")
    home.measure("flights-replay", window(0), window(59))
    card = cards(home.settings)["flights-replay"]
    assert card.replay
    assert card.champion is not None
    assert card.champion.age == timedelta(days=60)
    assert "Replays" in page.get("/").text


# --- a use case -------------------------------------------------------------------------------------------------------


def test_a_use_case_shows_course_decisions_drift_and_ledger(
    page: Client, home: Home, make_use_case: Callable[..., Path]
) -> None:
    name = home.add(make_use_case())
    home.promote(name)
    home.measure(name, *(window(day) for day in range(40)))
    home.write(name, "decision", "retrain", "it is worth it", 20, window={})
    home.write(name, "decision", "keep", "nothing to do", 30, window={})
    shown = page.get(f"/usecases/{name}").text
    assert shown.count('class="hover"') == 40
    assert "2024-01-21 retrain: it is worth it" in shown
    assert "2024-01-31 keep" not in shown  # no mark: nothing was done
    assert "<td>nothing to do</td>" in shown  # but a line of the ledger
    assert "temp: distance from the training rows over 40 windows, beyond chance in 40" in shown
    only = page.get(f"/usecases/{name}?kind=deploy").text
    assert "version 1 is the champion" in only
    assert "<td>nothing to do</td>" not in only


def test_what_is_asked_for_again_is_the_same_part_and_reads_no_evidence(
    page: Client, home: Home, make_use_case: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    monkeypatch.setattr(words, "now", lambda: tomorrow)  # however long lies between the two
    name = home.add(make_use_case())
    home.promote(name)
    home.measure(name, *(window(day) for day in range(40)))
    home.write(name, "decision", "retrain", "it is worth it", 20, window={})
    whole = page.get(f"/usecases/{name}").text
    with statements() as asked:
        part = page.get(f"/usecases/{name}/live").text
    assert part.strip() in whole
    assert not any("ledger.evidence" in statement for statement, _ in asked)
    (read,) = [parameters for statement, parameters in asked if "measurements.content" in statement]
    assert CARD_WINDOWS in read
    assert sum(statement.startswith("SELECT") for statement, _ in asked) == 13


def test_no_more_windows_are_read_than_are_shown(home: Home, make_use_case: Callable[..., Path]) -> None:
    name = home.add(make_use_case())
    home.measure(name, *(window(day) for day in range(12)))
    view = read_view(UseCases(home.settings), home.database, name, START, most=5)
    assert view is not None
    assert [each.name for each in view.windows] == [f"2024-01-{day:02}" for day in range(8, 13)]
    assert view.more


def test_the_ledger_goes_on_page_by_page_and_an_entry_shows_its_evidence(page: Client, home: Home) -> None:
    home.promote("flights-replay")
    for day in range(1, 60):
        home.write("flights-replay", "decision", "keep", f"day {day} was quiet", day, odd={"x": HOSTILE})
    shown = page.get("/usecases/flights-replay").text
    assert "day 59 was quiet" in shown
    assert "day 19 was quiet" not in shown
    older = re.search(r'href="([^"]*before=\d+)#ledger"', shown)
    assert older is not None
    assert "day 19 was quiet" in page.get(older[1]).text
    number = re.search(r"/entries/(\d+)", shown.split('id="ledger"')[1])
    assert number is not None
    entry = page.get(f"/usecases/flights-replay/entries/{number[1]}").text
    assert "<script>" not in entry.replace('<script src="/static/', "")
    assert "&lt;script&gt;alert(1)" in entry
    assert page.get(f"/usecases/other/entries/{number[1]}").status_code == 404


def test_the_causes_add_up_to_the_difference(page: Client, home: Home) -> None:
    causes = {
        "metric": "log_loss", "status": "named", "reason": "", "before": 0.4, "now": 0.5, "total": 0.1, "lower": 0.05,
        "upper": 0.15, "parts": [
            {"kind": "broken", "what": "temp is missing", "value": 0.07, "lower": 0.05, "upper": 0.09, "named": True,
             "remedy": "hold and alert", "within": []},
            {"kind": "rest", "what": "the rest", "value": 0.03, "lower": -0.1, "upper": 0.1, "named": False,
             "remedy": "do nothing", "within": []},
        ], "remedy": "hold and alert", "notes": ["one note"], "words": "of +0.1 log_loss: …",
    }  # fmt: skip
    home.promote("flights-replay")
    home.measure("flights-replay", window(0), window(1, causes=causes), window(2))
    told = read_measurement(json.dumps(window(1, causes=causes)))
    assert told.causes is not None
    rows = charts.parts(told.causes)
    assert [row[0] for row in rows] == ["temp is missing", "not told apart"]
    assert sum(row[2] for row in rows) == pytest.approx(0.1)
    shown = page.get("/usecases/flights-replay").text
    assert "Why it lost more in 2024-01-02" in shown
    assert "hold and alert" in shown


def test_hostile_words_stay_words(page: Client, home: Home) -> None:
    home.promote("flights-replay", title=HOSTILE)
    home.measure("flights-replay", window(0, drift=[{**window(0)["drift"][0], "column": HOSTILE}]))
    home.write("flights-replay", "decision", "retrain", HOSTILE, 1, window={})
    home.write(
        "flights-replay",
        "train",
        "done",
        HOSTILE,
        1,
        gates=[{"name": HOSTILE, "outcome": "pass", "rationale": HOSTILE}],
    )
    for path in ("/", "/usecases/flights-replay", "/usecases/flights-replay/live"):
        shown = page.get(path).text
        assert "<script>alert" not in shown
        assert "&lt;script&gt;alert" in shown
        assert "价" in shown


@pytest.mark.parametrize(
    "query", ["windows=-1", "windows=9e9", "windows=" + "9" * 400, "before=x", "kind=<b>", "kind=%00"]
)
def test_odd_queries_are_as_none(page: Client, home: Home, query: str) -> None:
    home.promote("flights-replay")
    assert page.get(f"/usecases/flights-replay?{query}").status_code == 200


# --- what may be loaded, and by whom ----------------------------------------------------------------------------------


def test_nothing_is_loaded_from_elsewhere_and_no_script_or_style_stands_in_the_page(page: Client, home: Home) -> None:
    home.promote("flights-replay")
    home.measure("flights-replay", window(0), window(1))
    for path in ("/", "/usecases/flights-replay"):
        shown = page.get(path)
        assert {name: shown.headers[name] for name in HEADERS} == HEADERS
        assert not re.search(r"\sstyle=|\son\w+=|<style|javascript:", shown.text)
        assert re.findall(r"<script[^>]*>", shown.text) == re.findall(
            r'<script src="/static/htmx.min.js[^>]*>', shown.text
        )
        for address in re.findall(r'(?:src|href)="([^"]+)"', shown.text):
            assert address.startswith(("/", "#", "?"))
            if address.startswith("/static/"):
                assert page.get(address).status_code == 200


def test_a_page_from_elsewhere_gets_nothing(settings: Settings) -> None:
    fronted = Client(Front(application(settings), "page", settings.token))
    assert fronted.get("/").status_code == 200
    assert fronted.get("/", headers={"host": "evil.example"}).status_code == 403
    assert fronted.get("/", headers={"origin": "https://evil.example"}).status_code == 403


# --- servers that are slow --------------------------------------------------------------------------------------------


class Prefect(ThreadingHTTPServer):
    """Says how long tasks of runs took, once it may."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Tasks)
        self.asked: list[list[str]] = []
        self.seconds, self.may = 1.5, threading.Event()


class _Tasks(BaseHTTPRequestHandler):
    server: Prefect

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        runs = body["flow_runs"]["id"]["any_"]
        self.server.asked.append(runs)
        self.server.may.wait(20)
        told = {"name": "collect sources-1f", "total_run_time": 0.0, "estimated_run_time": self.server.seconds}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps([{**told, "flow_run_id": run} for run in runs]).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def prefect(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Prefect]:
    with serving(Prefect()) as server:
        monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{server.server_port}/api")
        yield server
        server.may.set()


def run_of(number: int, state: str) -> Run:
    return Run(f"run-{number}", "collect", "x", "name", state, state.lower(), START, 9.0)


def test_a_run_that_goes_on_is_timed_anew_and_one_that_ended_once(prefect: Prefect) -> None:
    prefect.may.set()
    servers, going, ended = Servers(Settings()), run_of(1, "RUNNING"), run_of(1, "COMPLETED")

    async def look() -> None:
        assert await servers.stage_seconds("x", [going]) == {"collect sources": 1.5, "collect": 9.0}
        for run in (going, ended, ended):
            prefect.seconds += 1
            found = await servers.stage_seconds("x", [run])
            await asyncio.wait(servers._asking.values())
        assert found == {"collect sources": 3.5, "collect": 9.0}
        assert prefect.asked == [["run-1"]] * 3
        many = [run_of(number, "COMPLETED") for number in range(2, 600)]
        await servers.stage_seconds("x", many)
        await asyncio.wait(servers._asking.values())
        assert list(servers._took) == [f"run-{number}" for number in range(200, 600)]
        await servers.close()

    asyncio.run(look())


def test_a_silent_prefect_is_waited_for_shortly_and_its_answer_is_shown_the_next_time(prefect: Prefect) -> None:
    servers, ended = Servers(Settings()), [run_of(1, "COMPLETED")]

    async def look() -> list[float]:
        waited = []
        for _ in range(3):
            began = time.monotonic()
            assert await servers.stage_seconds("x", ended) == {"collect": 9.0}
            waited.append(time.monotonic() - began)
        prefect.may.set()
        await asyncio.wait(servers._asking.values())
        assert await servers.stage_seconds("x", ended) == {"collect sources": 1.5, "collect": 9.0}
        await servers.close()
        return waited

    first, *later = asyncio.run(look())
    assert FIRST_SECONDS <= first < OLD_SECONDS
    assert all(PATIENCE_SECONDS <= each < FIRST_SECONDS for each in later)
    assert prefect.asked == [["run-1"]]  # once, however often somebody looks


def test_what_is_wrong_is_there_for_prometheus_too(
    page: Client, home: Home, make_use_case: Callable[..., Path]
) -> None:
    name = home.add(make_use_case())
    find(home, name)
    now = datetime.now(UTC)
    home.database.know_targets(name, {"t": "alerts.0 (json)"}, [], now)
    state = TargetState(now, attempts=4, failing_since=now - timedelta(hours=2), last_error="500")
    home.database.note_attempt(name, "t", state, Message(), taken=False)
    shown = page.get("/metrics")
    assert shown.headers["content-type"].startswith("text/plain")
    values = {
        (sample.name, *(sample.labels[label] for label in sorted(sample.labels, reverse=True))): sample.value
        for family in text_string_to_metric_families(shown.text)
        for sample in family.samples
    }
    assert values["driftwheel_findings", name, "warning"] == 1
    assert values["driftwheel_findings", name, "failure"] == 0
    assert values["driftwheel_target_failed_attempts", name, "alerts.0 (json)"] == 4
    assert values["driftwheel_target_failing_seconds", name, "alerts.0 (json)"] == pytest.approx(7200, abs=60)


# --- numbers ----------------------------------------------------------------------------------------------------------


def test_the_service_is_told_of_by_its_own_metrics() -> None:
    text = """# TYPE driftwheel_requests counter
driftwheel_requests_total{usecase="a"} 200.0
# TYPE driftwheel_errors counter
driftwheel_errors_total{usecase="a",kind="column"} 3.0
driftwheel_errors_total{usecase="a",kind="bytes"} 0.0
# TYPE driftwheel_latency_seconds histogram
driftwheel_latency_seconds_bucket{usecase="a",le="0.001"} 120.0
driftwheel_latency_seconds_bucket{usecase="a",le="0.01"} 199.0
driftwheel_latency_seconds_bucket{usecase="a",le="+Inf"} 200.0
"""
    counts = read_counts(text)["a"]
    assert (counts.requests, counts.errors) == (200, {"column": 3})
    assert (counts.quantile(0.5), counts.quantile(0.99)) == (0.001, 0.01)


def test_a_line_of_values_with_gaps_and_without_any() -> None:
    assert charts.spark([None, 1.0], "x") == ""
    assert charts.spark([1.0, None, 1.0], "x").count("<circle") == 3
    assert 'points="4.0,30.0 128.0,4.0"' in charts.spark([0.0, 1.0], "x")


# --- findings ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_finding_says_what_why_and_what_to_do_and_how_it_ended(page: Client, home: Home) -> None:
    home.promote("flights-replay")
    find(home, "flights-replay")
    assert cards(home.settings)["flights-replay"].findings == 1
    assert "1 open" in page.get("/").text
    assert 'href="/usecases/flights-replay/findings/silent"' in page.get("/usecases/flights-replay").text
    shown = page.get("/usecases/flights-replay/findings/silent").text
    for said in (
        "No prediction was asked for.",
        "<dt>Likely cause</dt><dd>A key.</dd>",
        "Ask the client.",
        "It stands",
    ):
        assert said in shown
    with home.database.transaction() as connection:
        home.database.resolve(connection, "flights-replay", "silent", "somebody asked", START + timedelta(days=1))
    assert "2024-01-02 00:00 UTC: somebody asked" in page.get("/usecases/flights-replay/findings/silent").text
    assert "1 resolved" in page.get("/usecases/flights-replay").text
    assert cards(home.settings)["flights-replay"].findings == 0
    find(home, "flights-replay")
    assert "It stands" in page.get("/usecases/flights-replay/findings/silent").text
    first = page.get("/usecases/flights-replay/findings/silent?id=1").text
    assert "2024-01-02 00:00 UTC: somebody asked" in first
    assert page.get("/usecases/flights-replay/findings/silent?id=3").status_code == 404
    assert page.get("/usecases/flights-replay/findings/other?id=1").status_code == 404
    assert page.get("/usecases/flights-replay/findings/other/x").status_code == 404


# --- doing ------------------------------------------------------------------------------------------------------------


def fields(shown: str) -> dict[str, str]:
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', shown))


def test_what_is_asked_for_is_asked_once_more_and_stands_in_the_ledger_with_who(
    page: Client, home: Home, make_use_case: Callable[..., Path]
) -> None:
    name = home.add(make_use_case())
    find(home, name)
    path = f"/usecases/{name}/do/acknowledge"
    asked = page.get(f"{path}?subject=silent")
    assert "Acknowledge (silent)?" in asked.text
    assert home.database.entries(name) == []
    assert home.database.open_findings(name)[0].acknowledged_by is None
    done = page.ask("POST", path, data=fields(asked.text))
    assert (done.status_code, done.headers["location"]) == (303, f"/usecases/{name}")
    (entry,) = home.database.entries(name)
    (found,) = home.database.open_findings(name)
    assert (entry.kind, entry.action, entry.cause) == ("person", "asked", "acknowledge")
    assert entry.evidence["who"] == found.acknowledged_by == getpass.getuser()
    assert entry.summary == f"acknowledge silent: asked for on the page by {getpass.getuser()}"
    assert "<b>acknowledge silent</b> done" in page.get(f"/usecases/{name}").text


def test_a_held_batch_can_be_let_go_and_the_ledger_says_who(
    page: Client, home: Home, make_use_case: Callable[..., Path]
) -> None:
    name = home.add(make_use_case())
    home.database.mark(name, HELD, json.dumps(["few rows pass"]))
    path = f"/usecases/{name}/do/release"
    assert f'href="{path}"' in page.get(f"/usecases/{name}").text
    form = fields(page.get(path).text)
    assert page.ask("POST", path, data=form).status_code == 303
    assert "no batch is held any more" in page.get(f"/usecases/{name}/live").text
    assert home.database.marked(name, VOUCHED) is None
    home.database.mark(name, HELD_BATCH, "7")
    assert page.ask("POST", path, data=form).status_code == 303
    assert home.database.marked(name, VOUCHED) == "7"
    assert "batch 7 goes on with the next collection" in page.get(f"/usecases/{name}/live").text
    (entry,) = home.database.entries(name, kind="person")
    assert (entry.cause, entry.evidence["batch"], entry.evidence["who"]) == ("release", 7, getpass.getuser())


def test_a_batch_is_released_though_no_collection_can_be_started(
    home: Home, make_use_case: Callable[..., Path]
) -> None:
    name = home.add(make_use_case())
    home.database.mark(name, HELD, json.dumps(["few rows pass"]))
    home.database.mark(name, HELD_BATCH, "7")

    class Away:
        async def start(self, *_: object) -> str:
            raise httpx.ConnectError("refused")

    doing = Doing(home.settings, Away())  # type: ignore[arg-type]
    deployed = {"collect": Deployed("1", "collect", name, paused=False)}
    errand = asyncio.run(doing.do(ACTIONS["release"], name, "", "Ada", deployed))
    assert errand.state == "done"
    assert errand.said.startswith("batch 7 goes on with the next collection; none could be started: Prefect does not")
    assert doing.errands(name) == [errand]
    assert home.database.marked(name, VOUCHED) == "7"


@pytest.mark.parametrize("token", ["", "0" * 64, "é"])
def test_a_form_that_is_not_ours_does_nothing(
    page: Client, home: Home, make_use_case: Callable[..., Path], token: str
) -> None:
    name = home.add(make_use_case())
    find(home, name)
    path = f"/usecases/{name}/do/acknowledge"
    done = page.ask("POST", path, data={"subject": "silent", "token": token})
    assert done.status_code == 409
    other = fields(page.get(f"/usecases/{name}/do/collect").text)["token"]
    assert page.ask("POST", path, data={"subject": "silent", "token": other}).status_code == 409
    assert home.database.entries(name) == []
    assert page.ask("POST", path, content=b"x" * 20_000).status_code == 413


@pytest.mark.parametrize("action", ["collect", "loop", "train", "pause", "promote"])
def test_without_servers_nothing_is_begun_and_it_says_what_to_do(
    page: Client, home: Home, make_use_case: Callable[..., Path], action: str
) -> None:
    name = home.add(make_use_case())
    path = f"/usecases/{name}/do/{action}"
    asked = page.get(f"{path}?subject=collect")
    done = page.ask("POST", path, data={"subject": "x", **fields(asked.text)})
    assert done.status_code == 409
    assert 'role="alert"' in done.text
    assert home.database.entries(name) == []
    assert home.database.open_turn(name) is None


def test_what_a_busy_prefect_does_not_take_is_asked_again_and_what_it_refuses_is_not(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Behind(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            given = json.loads(self.rfile.read(int(self.headers["content-length"])))
            keys.append(given.get("idempotency_key"))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"name": "calm-cat"}')

        def do_PATCH(self) -> None:
            self.do_POST()

        def log_message(self, *_: object) -> None:
            pass

    keys: list[str | None] = []
    deployed = Deployed("1", "collect", "x", paused=False, schedule="2")

    async def ask(fault: Callable[[str, str], int]) -> list[int]:
        with front(behind, fault) as busy:
            monkeypatch.setenv("PREFECT_API_URL", f"{busy.url}/api")
            servers = Servers(Settings())
            try:
                assert await servers.start(deployed, {}) == "calm-cat"
                await servers.set_schedule(deployed, active=True)
            finally:
                await servers.close()
            return [status for _, _, status in busy.asked]

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Behind)) as server:
        behind = f"http://127.0.0.1:{server.server_port}"
        assert asyncio.run(ask(times(503, 2))) == [503, 503, 0, 0]
        assert len([each for each in keys if each]) == 1
        with pytest.raises(httpx.HTTPStatusError):
            asyncio.run(ask(times(409, 1)))


@pytest.mark.parametrize(("status", "words"), [(404, "MLflow names no version"), (500, "MLflow does not say which")])
def test_that_mlflow_does_not_answer_is_not_said_to_be_no_version(
    home: Home, make_use_case: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, status: int, words: str
) -> None:
    name = home.add(make_use_case())
    with front(fault=always(status)) as mlflow:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow.url)
        asked = Client(application(Settings())).get(f"/usecases/{name}/do/promote")
    assert asked.status_code == 200
    assert words in asked.text
    assert asked.text.count("MLflow") == 1  # that one sentence


@pytest.mark.parametrize(
    "path", ["/usecases/flights-replay/do/collect", "/usecases/nobody/do/collect", "/usecases/x/do/rm"]
)
def test_nothing_can_be_done_with_a_replay_or_what_is_not_there(page: Client, home: Home, path: str) -> None:
    home.promote("flights-replay")
    assert page.get(path).status_code == 404
    assert page.ask("POST", path).status_code == 404
    assert "/do/" not in page.get("/usecases/flights-replay").text


def test_behind_a_login_it_is_who_logged_in() -> None:
    assert person({"x-user": "ann"}, ["ann"]).name == "ann"
    assert person({"x-user": "ann"}, None).name == getpass.getuser()
    assert person({}, None).may_do
    assert not person({}, ["", "a user"]).may_do  # a proxy that names nobody lets nobody do anything


@pytest.mark.slow
@pytest.mark.parametrize("login", ["jörg", "Żaneta", "林"])
def test_a_login_may_have_any_letters(
    stacked: Client, home: Home, make_use_case: Callable[..., Path], login: str
) -> None:
    """It was another one's name, and so a reader's, where it was not ASCII."""
    path = f"/usecases/{home.add(make_use_case())}"
    assert f"logged in as {login}, a reader" in stacked.get(path, headers={b"x-user": login.encode()}).text
    sent = login.encode().decode("latin-1")  # as a server hands headers on
    assert (person({"x-user": sent}, [login]).name, person({"x-user": sent}, [login]).may_do) == (login, True)
    assert not person({"x-user": "j\xf6rg"}, ["jörg"]).may_do  # no UTF-8: nobody that is known


ANN, BOB = {"x-user": "ann"}, {"x-user": "bob"}


@pytest.fixture
def stacked(home: Home, monkeypatch: pytest.MonkeyPatch) -> Client:
    """The page as the stack of containers serves it, where ann is an operator and bob is none."""
    monkeypatch.setenv("DRIFTWHEEL_PAGE_OPERATORS", "ann, eve")
    return Client(application(Settings(), behind_login=True))


def test_an_operator_does_what_a_reader_only_sees(
    stacked: Client, home: Home, make_use_case: Callable[..., Path]
) -> None:
    name = home.add(make_use_case())
    home.promote(name)
    find(home, name)
    home.database.mark(name, HELD, json.dumps(["few rows pass"]))
    paths = (f"/usecases/{name}", f"/usecases/{name}/findings/silent")
    for path in paths:
        assert "/do/" in stacked.get(path, headers=ANN).text
        for other in (BOB, {}):
            shown = stacked.get(path, headers=other)
            assert shown.status_code == 200
            assert "/do/" not in shown.text
    seen, read = (stacked.get(paths[0], headers=each).text for each in (ANN, BOB))
    assert "Held: few rows pass" in read
    assert "You are logged in as bob, a reader" in read
    assert "a reader" not in seen


@pytest.mark.parametrize("action", [*ACTIONS])
def test_a_reader_is_refused_whatever_is_asked_for_also_with_an_operators_form(
    stacked: Client, home: Home, make_use_case: Callable[..., Path], action: str
) -> None:
    name = home.add(make_use_case())
    find(home, name)
    path = f"/usecases/{name}/do/{action}"
    form = {**fields(stacked.get(f"{path}?subject=silent", headers=ANN).text), "subject": "silent"}
    for refused in (
        stacked.get(path, headers=BOB),
        stacked.ask("POST", path, headers=BOB, data=form),
        stacked.ask("POST", path, data=form),
    ):
        assert refused.status_code == 403
        assert "may look at everything here" in refused.text
        assert "DRIFTWHEEL_PAGE_OPERATORS" in refused.text
        assert "<form" not in refused.text
    assert home.database.entries(name) == []
    assert home.database.open_findings(name)[0].acknowledged_by is None


def test_the_ledger_says_which_operator_asked(stacked: Client, home: Home, make_use_case: Callable[..., Path]) -> None:
    name = home.add(make_use_case())
    find(home, name)
    path = f"/usecases/{name}/do/acknowledge"
    form = fields(stacked.get(f"{path}?subject=silent", headers=ANN).text)
    assert stacked.ask("POST", path, headers={"x-user": "eve"}, data=form).status_code == 303
    (entry,) = home.database.entries(name)
    assert entry.evidence["who"] == home.database.open_findings(name)[0].acknowledged_by == "eve"


# --- two distributions ------------------------------------------------------------------------------------------------


@given(
    st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6)), min_size=2, max_size=60),
    st.lists(st.one_of(st.none(), st.floats(-2e6, 2e6)), min_size=1, max_size=60),
)
@example([0.0, 2.2250738585e-313], [None])
@example([0.0, 1e-313, 1.0, 1.0], [0.5])
def test_bars_are_the_whole_of_either_distribution(training: list[float | None], rows: list[float | None]) -> None:
    reference = sketch(pl.DataFrame({"x": pl.Series(training, dtype=pl.Float64)}))
    counted = reference.count(pl.DataFrame({"x": pl.Series(rows, dtype=pl.Float64)})).tallies["x"]
    own = reference.sample.tallies["x"]
    shares = own.counts.sum(axis=0) / len(training), counted.counts.sum(axis=0) / len(rows)
    bars = bars_of(reference.columns["x"], *shares)
    assert sum(bar.before for bar in bars) == pytest.approx(shares[0].sum())
    assert sum(bar.now for bar in bars) == pytest.approx(shares[1].sum())
    assert min(min(bar.before, bar.now) for bar in bars) >= -1e-12


def test_a_column_is_shown_or_it_is_said_why_not(page: Client, home: Home) -> None:
    home.promote("flights-replay")
    home.measure("flights-replay", window(0), window(1))
    shown = page.get("/usecases/flights-replay/drift?column=temp")
    assert shown.status_code == 200
    assert "Window 2024-01-02: drifted, place by 1.000" in shown.text
    assert "Both distributions cannot be shown" in shown.text
    assert page.get("/usecases/flights-replay/drift?column=no").status_code == 404
    assert page.get("/usecases/nobody/drift?column=temp").status_code == 404
    with statements() as asked:
        page.get("/usecases/flights-replay/drift?column=temp")
    assert not any("FROM ledger" in statement for statement, _ in asked)  # the newest windows alone are read
    assert sum(statement.startswith("SELECT") for statement, _ in asked) == 2


@pytest.mark.parametrize("name", ["..%2fflights-replay", "flights-replay", "%2e%2e"])
def test_a_backtest_is_shown_where_one_was_walked(page: Client, home: Home, name: str) -> None:
    (home.settings.folder / "flights-replay.png").write_bytes(b"another picture")
    home.promote("flights-replay")
    assert page.get(f"/usecases/{name}/backtest.png").status_code == 404
    (home.settings.folder / "backtests").mkdir()
    (home.settings.folder / "backtests" / "flights-replay.png").write_bytes(b"a picture")
    assert page.get(f"/usecases/{name}/backtest.png").status_code == (200 if name == "flights-replay" else 404)
    assert '<img class="picture"' in page.get("/usecases/flights-replay").text


def test_a_trial_says_what_a_fresh_model_saves_and_what_the_one_before_would_lose(page: Client, home: Home) -> None:
    home.promote("flights-replay")
    evidence = {"metric": "rmse", "champion": 40.0, "challenger": 38.0, "rows": 900, "variance": 0.0009}
    home.write("flights-replay", "trial", "better", "x", 3, gap=0.241, back=-0.18897, **evidence)
    shown = page.get("/usecases/flights-replay").text
    assert "+21.4% ± 3.0%" in shown
    assert "loses +20.8%" in shown


@pytest.mark.parametrize("kind", [FORGET, RETENTION])
def test_what_was_erased_can_be_asked_for_by_its_kind(page: Client, home: Home, kind: str) -> None:
    home.promote("flights-replay")
    home.write("flights-replay", kind, "erased", "what was erased")
    home.write("flights-replay", "decision", "none", "what was decided")
    shown = page.get(f"/usecases/flights-replay?kind={kind}").text
    ledger = shown[shown.index('id="ledger"') :]
    assert f'kind={kind}#ledger" aria-current="page"' in ledger
    assert "what was erased" in ledger
    assert "what was decided" not in ledger


def test_each_version_that_answered_leads_to_what_it_reached(page: Client, home: Home) -> None:
    home.promote("flights-replay", "1")
    home.promote("flights-replay", "2", day=3)
    shown = page.get("/usecases/flights-replay").text
    for version in ("1", "2"):
        assert f'<th scope="row"><a href="/usecases/flights-replay/versions/{version * 64}">{version}</a></th>' in shown


def test_a_decision_says_what_came_of_it_and_whether_that_was_worth_it(page: Client, home: Home) -> None:
    name = "flights-replay"
    home.promote(name, "1")
    home.retrain(name, "2", "it rots", 3)
    home.tried(name, "2" * 64, 5, back=-0.2, back_variance=0.0025, rows=500, back_rows=900)
    home.write(name, "decision", "keep", "all is well", 6)
    lines = {f"{each.kind} {each.action}": each for each in reversed(read_ledger(home.database, name)[0])}
    whole = page.get(f"/usecases/{name}").text
    for action in ("decision retrain", "deploy promoted"):
        path = f"/usecases/{name}/entries/{lines[action].number}"
        assert f'href="{path}"' in whole
        shown = page.get(path).text
        assert "Was it worth it?" in shown
        assert "Yes: the version before would have lost 22.1 % more (± 6.1) on 900 rows" in shown
        assert f"/usecases/{name}/versions/{'2' * 64}" in shown
    assert "it rots" in shown  # of the release, why it came
    with statements() as asked:
        shown = page.get(f"/usecases/{name}/entries/{lines['decision keep'].number}").text
    assert "worth it" not in shown
    assert sum("FROM ledger" in statement for statement, _ in asked) == 1  # no version can have come of it
    assert 'href="#versions"' in whole


def test_what_came_of_a_decision_is_known_however_many_releases_followed(page: Client, home: Home) -> None:
    name = "flights-replay"
    home.promote(name, "1")
    home.retrain(name, "2", "it rots", 3)
    home.tried(name, "2" * 64, 5, back=-0.2, back_variance=0.0025, rows=500, back_rows=900)
    for day in range(6, 26):
        home.write(name, "deploy", "promoted", "another answers", day, version=str(day), bundle=f"{day:064}")
    oldest, *_ = lines = [
        each for each in reversed(read_ledger(home.database, name)[0]) if each.action in ("retrain", "promoted")
    ]
    assert "nothing answered before" in page.get(f"/usecases/{name}/entries/{oldest.number}").text.lower()
    for line in lines[1:3]:
        shown = page.get(f"/usecases/{name}/entries/{line.number}").text
        assert f"/usecases/{name}/versions/{'2' * 64}" in shown
        assert "Yes: the version before would have lost 22.1 % more (± 6.1) on 900 rows" in shown
        until = START + timedelta(days=6)
        assert f"to {words.exact(until)};" in shown
    assert "it rots" in shown


def test_mlflow_is_opened_at_its_pages_of_models_from_everywhere() -> None:
    there = {"MLflow": "http://m"}
    assert tracking_link(there, "7", "r1") == f"http://m/#/experiments/7/runs/r1?{MODEL_PAGES}"
    assert model_link(there, "u", "2") == f"http://m/#/models/u/versions/2?{MODEL_PAGES}"
    assert tracking_link(there, None, "r1") == tracking_link({}, "7", "r1") == model_link({}, "u", "2") == ""


def test_a_run_and_a_report_are_where_their_servers_answer_now(page: Client, home: Home) -> None:
    run = Run("r7", "monitor", "u", "calm-cat", "COMPLETED", "done", None, None)
    assert run_link({"Prefect": "http://p"}, run) == "http://p/runs/flow-run/r7"
    assert run_link({}, run) == ""
    kept = "http://127.0.0.1:8011/projects/p/reports/r"
    assert (
        report_link({"Evidently": "https://reports.example.org"}, kept)
        == "https://reports.example.org/projects/p/reports/r"
    )
    assert report_link({}, kept) == kept
    for odd in ("", "/home/ann/report.html", "javascript:alert(1)", "http"):
        assert report_link({"Evidently": "http://e"}, odd) == ""
    home.promote("flights-replay")
    home.measure("flights-replay", window(0))
    home.write(
        "flights-replay", "report", "drawn", "drift", 1, report=kept, start=window(0)["start"], end=window(0)["end"]
    )
    assert f'<a href="{kept}">Evidently\'s report of 2024-01-01</a>' in page.get("/usecases/flights-replay").text
    (line,) = read_ledger(home.database, "flights-replay", "report")[0]
    assert f'<a href="{kept}">' in page.get(f"/usecases/flights-replay/entries/{line.number}").text


def test_groups_that_are_treated_apart_are_shown_with_what_is_declared(page: Client, home: Home) -> None:
    share = {"value": 0.4, "low": 0.3, "high": 0.5}
    rates = dict.fromkeys(("selected", "true_positive", "false_positive"), share)
    told = {
        "column": HOSTILE,
        "groups": [{"name": HOSTILE, "rows": 1200, **rates}],
        "measures": {"equal_opportunity": share, "equalised_odds": {"value": None, "low": None, "high": None}},
        "bounds": {"equal_opportunity": 0.1, "equalised_odds": None},
        "broken": ["equal_opportunity"],
        "too_small": [],
    }
    home.promote("flights-replay")
    home.measure("flights-replay", {**window(0), "fairness": [told], "slices": []})
    shown = page.get("/usecases/flights-replay")
    assert shown.status_code == 200
    assert "equal opportunity: a difference of 0.4" in shown.text
    assert "at most 0.100 is declared" in shown.text
    assert "1,200" in shown.text
    assert HOSTILE not in shown.text
