"""Asking servers beside the pages: a page waits for none of them for long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import httpx

from flows.page.answers import Answers
from infra.settings import Settings

PATIENCE_SECONDS = 0.05
"""How long a page waits for newer answers than those it has; for its first ones it waits `FIRST_SECONDS`."""
FIRST_SECONDS = 0.5
_TIMEOUT = httpx.Timeout(5.0, connect=1.0)


class Asker:
    """Asks beside the pages: what takes long goes on, and is there the next time.

    Parameters
    ----------
    settings : Settings
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._answers = Answers()
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._client = httpx.AsyncClient(timeout=_TIMEOUT, trust_env=False)

    @property
    def addresses(self) -> dict[str, str]:
        """Where a browser finds the servers that are up."""
        found = self._settings.addresses()
        if found is not None:
            return {
                "Prefect": found.prefect,
                "MLflow": found.mlflow,
                "Evidently": found.evidently,
                "service": found.service,
            }
        reports = self._settings.reports_ui
        if not reports:
            return {}
        # behind one name each, as the stack of containers has them
        return {
            "Prefect": reports.replace("//reports.", "//prefect.", 1),
            "MLflow": reports.replace("//reports.", "//mlflow.", 1),
            "Evidently": reports,
            "service": reports.replace("//reports.", "//", 1),
        }

    async def close(self) -> None:
        """Let go of the connections, once nothing asks any more."""
        left = [task for task in self._asking.values() if not task.done()]
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)
        await self._client.aclose()

    async def _ask_soon(self, what: str, ask: Callable[[], Coroutine[Any, Any, None]], patience: float) -> None:
        """Ask for something where that is not under way, and wait a moment; it goes on where that is too short."""
        task = self._asking.get(what)
        if task is None or task.done():
            task = self._asking[what] = asyncio.create_task(ask())
        await asyncio.wait({task}, timeout=patience)

    def _patience(self, what: str) -> float:
        return PATIENCE_SECONDS if what in self._asking else FIRST_SECONDS
