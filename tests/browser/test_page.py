"""Our own page in a real browser: three widths, light and dark, by keyboard, without scripts, and while things go on.

Where DRIFTWHEEL_PICTURES names a folder, pictures of all of it are kept there, to be looked at.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from expectations.loading import SHIPPED
from infra.settings import Settings
from infra.stack import Stack
from tasks.stores.collection_history import Brought
from tasks.stores.database import HELD, RELEASE_LOOK
from tasks.stores.desired_state import CandidateState, Served
from tasks.stores.plain import to_json
from tasks.stores.presences import Process
from tasks.stores.service_history import Counted, Probe, Replica, ServiceHistory
from tests.browser.devtools import Tab, tab
from tests.pages import HOSTILE, START, Home, find, window

pytestmark = pytest.mark.system
WIDTHS = (360, 820, 1280)
PATHS = {
    "overview": "/",
    "usecase": "/usecases/flights-replay",
    "empty": "/usecases/bikes",
    "finding": "/usecases/bikes/findings/silent",
    "confirm": "/usecases/bikes/do/acknowledge?subject=silent",
    "missing": "/usecases/nobody",
}
MISSING = "Failed to load resource: the server responded with a status of 404 (Not Found)"
"""What the browser says of the page itself, where that is not there; of a file it would say it again."""
PARTS = ".card, main > section, .ring li, .multiples li, .numbers p, .actions li"
OVERLAPS = """
[...document.querySelectorAll(PARTS)].flatMap(one => {
  const a = one.getBoundingClientRect();
  return [...one.parentElement.children].filter(two => two !== one).filter(two => {
    const b = two.getBoundingClientRect();
    const beside = a.left >= b.right - 1 || b.left >= a.right - 1 || a.top >= b.bottom - 1 || b.top >= a.bottom - 1;
    return a.width && b.width && !beside
  }).map(two => one.className + ' / ' + two.className + ': ' + one.textContent.trim().slice(0, 40))
})
""".replace("PARTS", repr(PARTS))
WIDE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
LATE_CAUSES = {
    "metric": "log_loss", "status": "named", "reason": "", "before": 0.42, "now": 0.51, "total": 0.09, "lower": 0.05,
    "upper": 0.13, "parts": [
        {"kind": "broken", "what": "temp is missing in 31 % of the rows", "value": 0.061, "lower": 0.05, "upper": 0.09,
         "named": True, "remedy": "hold and alert", "within": []},
        {"kind": "concept", "what": "concept, most where hour is 7 to 9", "value": 0.02, "lower": 0.01, "upper": 0.03,
         "named": True, "remedy": "retrain", "within": []},
    ], "remedy": "hold and alert", "notes": [], "words": "",
}  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DRIFTWHEEL_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("DRIFTWHEEL_PAGE_PORT", "0")
        made = Home(Settings())
        made.add(SHIPPED / "bikes")
        find(made, "bikes")
        made.promote("flights-replay", title=HOSTILE)
        drift = [
            {**window(0)["drift"][0], "column": name, "drifted": name == "temp"} for name in ("temp", HOSTILE, "wind")
        ]
        made.measure(
            "flights-replay",
            *(window(day, drift=drift) for day in range(60)),
            window(60, causes=LATE_CAUSES, drift=drift),
        )
        for day, action in ((10, "retrain"), (30, "hold"), (44, "warn"), (50, "rollback")):
            made.write("flights-replay", "decision", action, HOSTILE, day, window={})
        for day in range(12):
            brought = Brought(
                100 * day, 3, {"flights": 28_000, HOSTILE: 5}, 100, {HOSTILE: 7}, [HOSTILE] if day == 3 else []
            )
            made.database.note_collection("flights-replay", START + timedelta(days=day), brought)
        serve(made, "flights-replay")
        release(made, "flights-replay")
        replace_in_june(made, "bikes-replay")
        made.database.mark("flights-replay", HELD, json.dumps([HOSTILE]))
        yield made


def replace_in_june(home: Home, name: str) -> None:
    """Leave a replay in which a decision of 2 June began the release of a second version."""
    home.promote(name, "1", day=60)
    home.measure(name, *(window(day) for day in range(60, 140, 8)))
    home.retrain(name, "2", "a fresh model saves 21 % of the loss", 153)
    home.measure(name, *(window(day, champion="2" * 64, version="2") for day in range(154, 180, 8)))
    home.tried(name, "2" * 64, 160, back=-0.2, back_variance=0.0025, rows=500, back_rows=900)


def serve(home: Home, name: str) -> None:
    """Note what the service did over a day: requests, errors, and a quarter of an hour without health."""
    history, now = ServiceHistory(home.database.url), datetime.now(UTC).replace(second=0, microsecond=0)
    requests, errors, seconds = 0, 0, [0] * 16
    for minute in range(0, 24 * 60, 5):
        at = now - timedelta(hours=24) + timedelta(minutes=minute + 5)
        requests, errors = requests + 40 + minute % 60, errors + 7 * (500 < minute < 560)
        seconds[5 + minute % 4] += 40 + minute % 60
        counted = Counted(requests, requests, {"bad_request": errors, HOSTILE: minute}, list(seconds))
        replica = Replica("a", (now - timedelta(hours=24)).timestamp(), {name: counted})
        history.note(Probe(at, HOSTILE if 700 < minute < 716 else "", 0.01), [replica])


def release(home: Home, name: str) -> None:
    """Leave a release in the middle of a step, with what was found at the last look."""
    champion, candidate = Served(bundle="1" * 64, version="1"), "2" * 64
    state = CandidateState(bundle=candidate, version="2", mode="canary", share=0.1)
    home.releases.set_desired(name, champion=champion, candidate=state)
    now = datetime.now(UTC)
    findings = [
        {"guardrail": "share of failures", "value": 0.0, "limit": 0.01, "status": "good"},
        {"guardrail": HOSTILE, "value": None, "limit": 2.0, "status": "unknown"},
    ]
    look = {"bundle": candidate, "where": "step 1 of 3, with 10% of the entities", "at": now, "until": now}
    home.database.mark(name, RELEASE_LOOK, to_json({**look, "status": "good", "rows": 412, "findings": findings}))


@pytest.fixture(scope="module")
def address(home: Home) -> Iterator[str]:
    stack = Stack(home.settings)
    yield stack.start(("page",)).page
    stack.stop()


@pytest.fixture(scope="module")
def page(chromium: list[str]) -> Iterator[Tab]:
    with tab(chromium) as opened:
        yield opened


@pytest.fixture(scope="session")
def axe() -> str:
    wheels = sorted(Path("build/axe").glob("axe_playwright_python-*.whl"))
    assert wheels, "axe-core is needed in build/axe: `make test-browser` fetches it"
    with zipfile.ZipFile(wheels[-1]) as wheel:
        return wheel.read("axe_playwright_python/axe.min.js").decode("utf-8")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PATHS)
def test_it_fits_and_anybody_can_use_it(page: Tab, address: str, axe: str, name: str, width: int, dark: bool) -> None:
    page.complaints.clear()
    page.open(address + PATHS[name], width=width, dark=dark)
    if folder := os.environ.get("DRIFTWHEEL_PICTURES"):
        (Path(folder) / f"{name}-{width}-{'dark' if dark else 'light'}.png").write_bytes(page.image())
    assert page.run(WIDE) <= 0
    assert page.run(OVERLAPS) == []
    page.run("document.querySelectorAll('details').forEach(each => each.open = true)")
    page.run(axe + ";0")
    found = page.run(
        "axe.run().then(found => found.violations.map(each => [each.id, each.nodes.map(one => one.html)]))"
    )
    assert found == []
    assert page.complaints == ([MISSING] if name == "missing" else [])


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_why_there_was_a_new_model_in_june_and_if_it_was_worth_it_is_known_in_three_clicks(
    page: Tab, address: str, width: int, dark: bool
) -> None:
    page.open(address, width=width, dark=dark)
    page.click("#card-bikes-replay")
    assert page.run("location.pathname") == "/usecases/bikes-replay"
    page.click(".sections a[href='#versions']")
    row = "document.querySelector('[aria-label=\"Versions that answered\"] tbody tr')"
    seen = f"(() => {{ const at = {row}.getBoundingClientRect(); return at.top >= 0 && at.bottom <= innerHeight }})()"
    page.await_true(seen)
    for said in ("2024-06-02 to the end", "retrain: a fresh model saves 21 % of the loss", "yes: the version before"):
        assert said in page.run(f"{row}.textContent")
    page.click("[aria-label='Versions that answered'] td:nth-child(3) a")  # the decision, with all it was made by
    assert page.run("document.querySelector('h1').textContent") == "decision: retrain"
    shown = page.run("document.querySelector('main').innerText")
    assert "A fresh model saves 21 % of the loss" in shown
    assert "Was it worth it? Yes: the version before would have lost 22.1 % more" in " ".join(shown.split())
    assert page.run(WIDE) <= 0
    if folder := os.environ.get("DRIFTWHEEL_PICTURES"):
        (Path(folder) / f"decision-{width}-{'dark' if dark else 'light'}.png").write_bytes(page.image())


def test_by_keyboard_the_content_is_one_step_away(page: Tab, address: str) -> None:
    page.open(address + "/")
    page.press("Tab")
    assert page.run("document.activeElement.textContent") == "To the content"
    page.press("Enter")
    page.press("Tab")
    assert page.run("document.activeElement.closest('main') !== null")
    assert page.run("getComputedStyle(document.activeElement, '::after').outlineStyle") == "solid"


def test_it_follows_what_goes_on(page: Tab, address: str, home: Home) -> None:
    home.database.enter("run", "bikes", Process("host", 1, 1.0))
    page.open(address + "/")
    page.await_true("document.querySelector('#card-bikes').closest('.card').textContent.includes('at work')")
    page.run("document.querySelector('#card-bikes').focus()")
    home.database.leave("run")
    page.await_true("document.querySelector('#card-bikes').closest('.card').textContent.includes('warning')")
    assert page.run("document.activeElement.id") == "card-bikes"


def test_without_scripts_it_reads_and_does_the_same(page: Tab, address: str, home: Home) -> None:
    page.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        page.open(address + PATHS["finding"])
        text = page.call("Runtime.evaluate", expression="document.body.innerText", returnByValue=True)["result"][
            "value"
        ]
        assert "No prediction was asked for." in text
        page.open(address + PATHS["confirm"])
        document = page.call("DOM.getDocument")["root"]["nodeId"]
        button = page.call("DOM.querySelector", nodeId=document, selector="button")["nodeId"]
        page.call("DOM.focus", nodeId=button)
        page.press("Enter")
        page.await_true("location.pathname === '/usecases/bikes'")
    finally:
        page.call("Emulation.setScriptExecutionDisabled", value=False)
    (found,) = home.database.open_findings("bikes")
    assert found.acknowledged_by
