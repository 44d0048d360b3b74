"""What Prefect, MLflow and the service say, asked beside the pages: a page waits for none of them for long."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

import httpx

from expectations.masking import split_login
from flows.page.answers import (
    Answers,
    Counts,
    read_counts,
    why_away,
)
from flows.page.asker import FIRST_SECONDS, PATIENCE_SECONDS
from flows.page.models import Models
from flows.page.runs import FRESH_SECONDS, Runs

OLD_SECONDS = 30.0
"""What is older is not shown any more."""


class Servers(Runs, Models):
    """Asks the servers again and again while a page is open."""

    async def answers(self) -> Answers:
        """Return what the servers said last; ask again where that is not fresh, and wait for it a moment."""
        age = time.monotonic() - self._answers.at
        if age > FRESH_SECONDS:
            patience = FIRST_SECONDS if age > OLD_SECONDS else PATIENCE_SECONDS
            await self._ask_soon("what goes on", self._ask, patience)
        if time.monotonic() - self._answers.at > OLD_SECONDS:
            return Answers(away={"Prefect": "no answer yet", "service": "no answer yet"})
        return self._answers

    async def _ask(self) -> None:
        places = self._settings.places()
        away: dict[str, str] = {}

        async def asked(name: str, ask: Coroutine[Any, Any, Any], otherwise: Any) -> Any:  # noqa: ANN401
            try:
                return await ask
            except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError) as error:
                away[name] = why_away(error)
                return otherwise

        (runs, deployed), counts = await asyncio.gather(
            asked("Prefect", self._ask_prefect(places.flow_api, places.flow_login), ((), ())),
            asked("service", self._ask_service(places.service, places.service_key), {}),
        )
        self._answers = Answers(time.monotonic(), runs, deployed, counts, away)

    async def _ask_service(self, address: str, key: str) -> dict[str, Counts]:
        address, login = split_login(address)
        if not address:
            raise httpx.ConnectError("it is not up")
        headers = {"authorization": f"Bearer {key}"} if key else {}
        answer = await self._client.get(f"{address}/metrics", headers=headers, auth=None if key else login)
        return await asyncio.to_thread(read_counts, answer.raise_for_status().text)
