"""A real Chromium, and a page of another origin for it to open."""

from __future__ import annotations

import http.server
import json
import queue
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fronts import serving

NAMES = ("chromium", "chromium-browser", "google-chrome")
REBOUND = "rebound.example"
"""A name of somebody else's that leads to this machine."""


def browser(profile: Path) -> list[str]:
    """Return the command that starts a browser with a profile of its own."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    assert found, "Chromium is needed: apt-get install chromium (`make test-browser` does it, as root)"
    return [
        found,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        f"--user-data-dir={profile}",
        f"--host-resolver-rules=MAP {REBOUND} 127.0.0.1",
    ]


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return browser(tmp_path_factory.mktemp("chromium"))


@pytest.fixture
def dump(chromium: list[str]) -> Callable[[str], str]:
    """Open a page and return what it shows once its scripts ran."""

    def open_page(address: str) -> str:
        command = [*chromium, "--virtual-time-budget=20000", "--dump-dom", address]
        return subprocess.run(command, capture_output=True, text=True, timeout=120).stdout

    return open_page


@pytest.fixture
def visit(chromium: list[str], tmp_path: Path) -> Iterator[Callable[[str], Any]]:
    """Open a page that runs a script of ours on an origin of its own; return what the script sent back."""
    script, sent = "", queue.Queue[Any]()

    class Evil(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = f"<!doctype html><body><script type=module>{script}</script>".encode()
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.send_header("content-length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def do_POST(self) -> None:
            sent.put(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with serving(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Evil)) as server:

        def open_page(code: str, host: str = "127.0.0.1") -> Any:
            nonlocal script
            script = code + "\nawait fetch('/', {method: 'POST', body: JSON.stringify(found)})"
            browser = subprocess.Popen(
                [*chromium, f"http://{host}:{server.server_port}/"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            try:
                return sent.get(timeout=90)
            finally:
                browser.terminate()
                browser.wait(20)

        yield open_page
