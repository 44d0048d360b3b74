"""No page from elsewhere gets through the front, the page itself does, and only a home's own servers are its own."""

from __future__ import annotations

import asyncio
import http.server
import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expectations.errors import StackError
from infra.front import Front, foreign
from infra.identity import PROOF, prove, proves
from infra.ports import any_port
from infra.reaching import await_servers, refuse_strangers
from infra.settings import Addresses, Settings, write_addresses
from infra.stack import PortTakenError, Stack
from tests.fronts import serving

HOST = (b"host", b"127.0.0.1:4200")
OWN = (b"origin", b"http://127.0.0.1:4200")


@pytest.mark.parametrize("host", ["127.0.0.1:4200", "LOCALHOST", "localhost:9", "[::1]:4200", "127.9.9.9"])
def test_this_machine_by_any_of_its_names_is_answered(host: str) -> None:
    assert not foreign([(b"host", host.encode())], reads=True)
    assert not foreign([(b"host", host.encode()), (b"origin", f"http://{host}".encode())], reads=False)


ELSEWHERE = ["evil.example", "localhost.evil.example", "10.0.0.1", "127.0.0.1@evil.example", "[", "", "0.0.0.0"]
NO_HOST = [
    "127.0.0.1:4200.evil.example",
    "evil.example@127.0.0.1",
    "127.0.0.1/evil.example",
    "127.0.0.1#",
    "localhost:x",
]


@pytest.mark.parametrize("host", ELSEWHERE + NO_HOST)
def test_a_name_that_was_made_to_lead_here_is_not(host: str) -> None:
    assert "Host" in foreign([(b"host", host.encode())], reads=True)


def test_without_a_host_or_with_two_nothing_is_answered() -> None:
    assert foreign([], reads=True)
    assert foreign([HOST, (b"host", b"evil.example")], reads=True)


@given(st.one_of(st.text(max_size=30), st.sampled_from(["null", "http://localhost:4200", "https://127.0.0.1:4200"])))
def test_only_the_very_same_origin_may_ask(origin: str) -> None:
    headers = [HOST, (b"origin", origin.encode())]
    same = origin.strip().lower() == "http://127.0.0.1:4200"
    assert bool(foreign(headers, reads=False)) != same
    assert bool(foreign(headers, reads=True)) != same


@given(
    st.sampled_from(["cross-site", "same-site", "same-origin", "none", "odd"]),
    st.sampled_from(["navigate", "cors", "no-cors", "websocket"]),
    st.sampled_from(["document", "iframe", "image", "script", "empty"]),
    st.booleans(),
)
def test_from_another_page_only_a_link_that_is_followed_gets_through(
    site: str, mode: str, destination: str, reads: bool
) -> None:
    headers = [
        HOST,
        (b"sec-fetch-site", site.encode()),
        (b"sec-fetch-mode", mode.encode()),
        (b"sec-fetch-dest", destination.encode()),
    ]
    followed = reads and mode == "navigate" and destination == "document"
    assert bool(foreign(headers, reads=reads)) == (site not in ("same-origin", "none") and not followed)


def ask(kind: str = "http", *headers: tuple[bytes, bytes], path: str = "/", query: bytes = b"") -> list[dict]:
    async def page(scope, receive, send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"X-Frame-Options", b"ALLOWALL")]})
        await send({"type": "http.response.body", "body": b"the page"})

    sent: list[dict] = []

    async def send(message) -> None:
        sent.append(message)

    scope = {"type": kind, "method": "GET", "path": path, "query_string": query, "headers": list(headers)}
    asyncio.run(Front(page, "prefect", "secret")(scope, None, send))
    return sent


def test_a_page_is_handed_on_and_can_not_be_framed() -> None:
    start, body = ask("http", HOST, OWN)
    assert start["headers"] == [(b"x-frame-options", b"SAMEORIGIN")]
    assert body["body"] == b"the page"


def test_what_is_refused_says_so_and_has_no_cors_header() -> None:
    start, body = ask("http", HOST, (b"origin", b"https://evil.example"))
    assert start["status"] == 403
    assert not [name for name, _ in start["headers"] if name.startswith(b"access-control")]
    assert b"Origin" in body["body"]
    assert ask("websocket", HOST, (b"origin", b"https://evil.example"))[0]["type"] == "websocket.close"


def test_it_proves_whose_it_is() -> None:
    _, body = ask("http", HOST, path=PROOF, query=b"nonce=abc")
    assert json.loads(body["body"]) == {"proof": prove("secret", "prefect", "abc")}
    assert prove("secret", "prefect", "abc") != prove("secret", "mlflow", "abc") != prove("other", "mlflow", "abc")


@contextmanager
def stranger(port: int = 0) -> Iterator[int]:
    """A server that says 200 and {} to everything."""

    class Yes(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            pass

    with serving(http.server.ThreadingHTTPServer(("127.0.0.1", port), Yes)) as server:
        yield server.server_port


def settings_of(folder: Path, monkeypatch: pytest.MonkeyPatch, port: int) -> Settings:
    monkeypatch.setenv("DRIFTWHEEL_HOME", str(folder))
    monkeypatch.setenv("DRIFTWHEEL_SERVICE_PORT", str(port))
    settings = Settings()
    assert settings.folder == folder
    return settings


def test_who_only_answers_is_not_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with stranger() as port:
        assert not proves(f"http://127.0.0.1:{port}", "service", "secret")
        settings = settings_of(tmp_path / "home", monkeypatch, port)
        with pytest.raises(PortTakenError, match=f"{port} \\(for service"):
            Stack(settings).start(("service",))
        # taken in the moment after the look
        monkeypatch.setattr("infra.stack.port_free", lambda _: True)
        with pytest.raises(PortTakenError, match=f"port {port} for service"):
            Stack(settings).start(("service",))
    assert not Stack(settings).running()


@pytest.mark.parametrize("program", ["prefect", "mlflow", "service"])
def test_servers_of_the_stack_must_prove_themselves_and_those_named_by_settings_need_not(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRIFTWHEEL_HOME", str(tmp_path / "home"))
    with stranger() as port, stranger() as elsewhere:
        stack = Addresses(**dict.fromkeys(("prefect", "mlflow", "evidently", "service"), f"http://127.0.0.1:{port}"))
        write_addresses(Settings(), stack)
        named = {"prefect": "PREFECT_API_URL", "mlflow": "DRIFTWHEEL_MLFLOW", "service": "DRIFTWHEEL_SERVICE"}
        for name, variable in named.items():
            monkeypatch.delenv(variable, raising=False)  # of a stack that other tests have up
            if name != program:
                monkeypatch.setenv(variable, f"http://127.0.0.1:{elsewhere}")
        settings = Settings()
        for refuse in (partial(await_servers, settings, stack), partial(refuse_strangers, settings)):
            with pytest.raises(StackError, match=f"{program} of this home at .*:{port}; found another server"):
                refuse()
        monkeypatch.setenv(named[program], f"http://127.0.0.1:{elsewhere}")
        await_servers(Settings(), stack)
        refuse_strangers(Settings())


@pytest.mark.slow
def test_two_homes_that_want_one_port_do_not_mix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port = any_port()
    homes = [settings_of(tmp_path / name, monkeypatch, port) for name in ("one home", "ünother")]

    def start(settings: Settings) -> bool:
        try:
            Stack(settings).start(("service",))
        except PortTakenError:
            return False
        return True

    try:
        with ThreadPoolExecutor(2) as pool:
            up = list(pool.map(start, homes))
        assert sum(up) == 1
        address = f"http://127.0.0.1:{port}"
        assert [proves(address, "service", each.token) for each in homes] == up
        assert not proves(address, "mlflow", homes[up.index(True)].token)
    finally:
        for each in homes:
            Stack(each).stop()


def test_one_home_is_started_once_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(tmp_path / "home", monkeypatch, 0)

    def start(_: int) -> str:
        try:
            Stack(settings).start(("service",))
        except Exception as error:  # noqa: BLE001 - looked at
            return str(error)
        return ""

    try:
        with ThreadPoolExecutor(2) as pool:
            said = sorted(pool.map(start, range(2)))
        assert said[0] == ""
        assert "another start of it under way" in said[1] or "one that is up" in said[1]
    finally:
        Stack(settings).stop()


def test_a_page_whose_port_is_taken_says_so_before_it_loads_anything(tmp_path: Path) -> None:
    with stranger() as port:
        done = subprocess.run(
            [sys.executable, "-m", "infra.pages", "prefect", "--port", str(port)], capture_output=True, text=True
        )
    assert done.returncode == 3
    assert done.stderr == f"cannot listen on 127.0.0.1:{port}: Address already in use\n"
