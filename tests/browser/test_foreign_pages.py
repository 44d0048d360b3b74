"""A page of another origin, open in a real browser here, reads nothing of the local stack and changes nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from urllib.parse import urlencode

import httpx
import pytest

from expectations.loading import SHIPPED
from infra.settings import Addresses, Settings
from infra.stack import Stack
from tests.browser.conftest import REBOUND
from tests.pages import Home, find

pytestmark = pytest.mark.system
PAGES = ("prefect", "mlflow", "evidently", "service", "page")
#: what would run a script of the page's on Prefect's runner, and what leaves a trace in the others
WRITES = {
    "prefect": ("/api/flows/", {"name": "evil"}),
    "mlflow": ("/api/2.0/mlflow/experiments/create", {"name": "evil"}),
    "evidently": ("/api/projects", {"name": "evil"}),
    "service": ("/feedback", {"id": "evil", "label": 1}),
}
ACKNOWLEDGE = "/usecases/bikes/do/acknowledge"
ATTACK = """
const found = {};
const attempt = async (name, work) => {
  try { found[name] = await work() } catch (error) { found[name] = 'blocked' }
};
const url = ADDRESS + PATH, body = BODY;
const read = async answer => answer.type === 'opaque' ? 'unread' : answer.status + ' ' + await answer.text();
await attempt('read', async () => read(await fetch(ADDRESS + '/')));
const post = async (type, more) =>
  read(await fetch(url, {method: 'POST', body, headers: {'content-type': type}, ...more}));
await attempt('json', () => post('application/json'));
for (const type of ['text/plain', 'application/x-www-form-urlencoded'])
  await attempt(type, () => post(type, {mode: 'no-cors'}));
await attempt('untyped', async () => read(await fetch(url, {method: 'POST', mode: 'no-cors', body: new Blob([body])})));
await attempt('beacon', async () => { navigator.sendBeacon(url, body); return 'unread' });
await attempt('form', () => new Promise(done => {
  const frame = document.createElement('iframe'); frame.name = 'frame'; document.body.append(frame);
  const form = document.createElement('form');
  Object.assign(form, {action: url, method: 'post', enctype: 'text/plain', target: 'frame'});
  const field = document.createElement('input'); [field.name, field.value] = FIELD;
  form.append(field); document.body.append(form); form.submit(); setTimeout(() => done('unread'), 1500);
}));
await attempt('socket', () => new Promise((done, fail) => {
  const socket = new WebSocket(ADDRESS.replace('http', 'ws') + '/api/events/in');
  socket.onopen = () => done('open'); socket.onerror = fail; setTimeout(fail, 5000);
}));
"""


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Addresses]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DRIFTWHEEL_HOME", str(tmp_path_factory.mktemp("home")))
        for page in PAGES:
            patch.setenv(f"DRIFTWHEEL_{page.upper()}_PORT", "0")
        made = Home(Settings())
        made.add(SHIPPED / "bikes")
        for key in ("evil", "ours-page"):
            find(made, "bikes", key)
        stack = Stack(Settings())
        yield stack.start(PAGES)
        stack.stop()


def traces(addresses: Addresses) -> str:
    """Return everything an attack could have left."""
    journal, database = Settings().folder / "journal", Settings().platform()
    return "".join(
        [
            httpx.post(f"{addresses.prefect}/api/flows/filter", json={}).text,
            httpx.get(f"{addresses.mlflow}/api/2.0/mlflow/experiments/search?max_results=100").text,
            httpx.get(f"{addresses.evidently}/api/projects").text,
            *(str(path) for path in journal.rglob("*.msgpack")),
            *(entry.summary for entry in database.entries("bikes")),
            *(each.key for each in database.open_findings("bikes") if each.acknowledged_by),
        ]
    )


def form(addresses: Addresses, key: str) -> dict[str, str]:
    """Return the form of our page that acknowledges a finding, with its token: what no other page can read."""
    shown = httpx.get(f"{addresses.page}{ACKNOWLEDGE}", params={"subject": key}).text
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', shown))


def write(addresses: Addresses, page: str) -> tuple[str, str, tuple[str, str]]:
    """Return the path of a page that changes something, the body to post there, and the field of a form with it."""
    if page == "page":
        body = urlencode(form(addresses, "evil"))
        return ACKNOWLEDGE, body, (f"{body}&x", "")
    path, given = WRITES[page]
    body = json.dumps(given)
    return path, body, (f'{body[:-1]},"x":"', '"}')


def test_the_traces_of_an_attack_would_be_seen(addresses: Addresses) -> None:
    pages = ("prefect", "mlflow", "evidently")
    for page in pages:
        path, body = WRITES[page]
        done = httpx.post(getattr(addresses, page) + path, json={**body, "name": f"ours-{page}"})
        assert done.is_success, (page, done.text)
    ours = form(addresses, "ours-page")
    assert httpx.post(f"{addresses.page}{ACKNOWLEDGE}", data=ours).status_code == 303
    assert all(f"ours-{page}" in traces(addresses) for page in (*pages, "page"))


@pytest.mark.parametrize("name", ["origin", "host"])
def test_not_even_a_form_of_ours_is_taken_from_elsewhere(addresses: Addresses, name: str) -> None:
    elsewhere = {"origin": "http://evil.example", "host": "evil.example"}
    before = Settings().platform().entries("bikes")
    done = httpx.post(f"{addresses.page}{ACKNOWLEDGE}", data=form(addresses, "evil"), headers={name: elsewhere[name]})
    assert done.status_code == 403
    assert Settings().platform().entries("bikes") == before
    assert "evil" not in traces(addresses)


@pytest.mark.parametrize("host", ["127.0.0.1", REBOUND])
@pytest.mark.parametrize("page", PAGES)
def test_a_page_from_elsewhere_reads_and_changes_nothing(visit, addresses: Addresses, page: str, host: str) -> None:
    path, body, field = write(addresses, page)
    names = {"ADDRESS": getattr(addresses, page), "PATH": path, "BODY": body, "FIELD": field}
    found = visit("".join(f"const {name} = {json.dumps(value)};\n" for name, value in names.items()) + ATTACK, host)
    assert found.pop("read") == found.pop("json") == found.pop("socket") == "blocked"
    assert set(found.values()) <= {"unread", "blocked"}
    assert "evil" not in traces(addresses)


@pytest.mark.parametrize("page", PAGES)
def test_a_name_that_was_made_to_lead_here_shows_nothing(dump, addresses: Addresses, page: str) -> None:
    shown = dump(getattr(addresses, page).replace("127.0.0.1", REBOUND) + "/")
    assert "403" in shown or "PERMISSION_DENIED" in shown, shown


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_the_pages_themselves_work_without_fuss(dump, addresses: Addresses, host: str) -> None:
    shown = {page: dump(getattr(addresses, page).replace("127.0.0.1", host) + "/") for page in PAGES[:3]}
    assert "Run a task or flow to get started" in shown["prefect"]
    assert "Experiments" in shown["mlflow"]
    assert "ours-evidently" in shown["evidently"]
