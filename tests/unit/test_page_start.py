"""What a page that was just started answers first is no slower than the rest."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from flows.page import app
from flows.page.app import application
from infra.settings import Settings
from tests.pages import Home, window

FIRST = """
import asyncio, sys
import httpx
from flows.page.app import application
from infra.settings import Settings

async def ask(served):
    async with httpx.AsyncClient(transport=httpx.ASGITransport(served), base_url="http://127.0.0.1") as client:
        assert (await client.get("/livez")).status_code == 200
        before = set(sys.modules)
        for path in sys.argv[1:]:
            assert (await client.get(path)).status_code == 200
        new = set(sys.modules) - before
        print(sorted(each for each in new if not each.startswith("encodings.")))  # as the client decodes the answers

async def main():
    served = application(Settings())
    async with served.router.lifespan_context(served):
        await ask(served)

asyncio.run(main())
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("DRIFTWHEEL_HOME", str(tmp_path / "home"))
    for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    return Home(Settings())


async def first(path: str) -> httpx.Response:
    """Return what a page answers that was just started."""
    served = application(Settings())
    async with (
        served.router.lifespan_context(served),
        httpx.AsyncClient(transport=httpx.ASGITransport(served), base_url="http://127.0.0.1") as client,
    ):
        return await client.get(path)


@pytest.mark.slow
def test_the_first_answers_import_nothing(home: Home, make_use_case: Callable[..., Path]) -> None:
    name = home.add(make_use_case())
    home.promote(name)
    home.measure(name, *(window(day) for day in range(3)))
    paths = ("/", f"/usecases/{name}", f"/usecases/{name}/drift?column=temp", f"/usecases/{name}/live")
    done = subprocess.run([sys.executable, "-c", FIRST, *paths], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.usefixtures("home")
def test_it_starts_where_nothing_is_there_yet() -> None:
    assert "No use case yet" in asyncio.run(first("/")).text


def test_it_starts_where_nothing_can_be_read(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    (home.settings.folder / "platform.db").write_bytes(b"no database at all, but long enough to be looked at" * 100)
    with caplog.at_level(logging.WARNING):
        shown = asyncio.run(first("/"))
    assert shown.status_code == 503
    assert "platform.db" in shown.text
    assert "platform.db" in caplog.text


def test_a_fault_of_one_use_case_keeps_no_page_from_starting(
    home: Home, make_use_case: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    home.add(make_use_case())

    def read(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(app, "read_kept", read)
    assert asyncio.run(first("/")).status_code == 200
