"""The page beside a real Prefect and a real service: what it shows of them, and what it starts there."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from flows.page.app import application
from infra.settings import Addresses, Settings

pytestmark = pytest.mark.flow


def fields(shown: str) -> dict[str, str]:
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', shown))


def test_schedules_and_runs_are_shown_and_started(stack: Addresses, make_use_case: Callable[..., Path]) -> None:
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from flows.deployments import install

    settings = Settings()
    folder = make_use_case("paged", {"schedule": {"collect": "0 3 * * *", "monitor": "0 * * * *", "active": False}})
    loaded = settings.use_case(str(folder))
    settings.platform().add_use_case(loaded.name, folder, loaded.digest)
    with temporary_settings({PREFECT_API_URL: f"{stack.prefect}/api"}), get_client(sync_client=True) as client:
        install(client, settings, lambda deployment: deployment.apply())
    base = "/usecases/paged"

    async def look() -> None:
        app = application(settings)
        async with (
            app.router.lifespan_context(app),  # closes its connections to the servers
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1", timeout=60) as page,
        ):

            async def shown(words: str) -> str:
                for _ in range(60):
                    text = (await page.get(base)).text
                    if words in text:
                        return text
                    await asyncio.sleep(0.5)
                raise AssertionError(f"{words!r} never was shown")

            async def do(action: str, subject: str = "") -> None:
                asked = await page.get(f"{base}/do/{action}", params={"subject": subject})
                done = await page.post(f"{base}/do/{action}", data=fields(asked.text))
                assert done.status_code == 303, done.text

            text = await shown("<code>0 3 * * *</code>")
            assert text.count(">resume</a>") == 2
            assert "got no request for paged" in text
            await do("resume", "monitor")
            text = await shown(">pause</a>")
            assert text.count(">resume</a>") == 1
            await do("pause", "monitor")
            await do("collect")
            assert "<b>collect</b> started" in await shown("asked for")

    asyncio.run(look())
    runs = httpx.post(f"{stack.prefect}/api/flow_runs/filter", json={}).json()
    (run,) = [each for each in runs if each["parameters"].get("usecase") == "paged" and not each["auto_scheduled"]]
    assert run["state"]["type"] == "SCHEDULED"
    asked = [(each.cause, each.summary) for each in settings.platform().entries("paged", kind="person")]
    assert [cause for cause, _ in asked] == ["resume", "pause", "collect"]
