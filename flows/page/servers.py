"""What Prefect, MLflow and the service say, asked beside the pages: a page waits for none of them for long."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Coroutine, Mapping
from datetime import UTC, datetime
from typing import Any

import httpx

from expectations.masking import split_login
from flows.page.answers import (
    Answers,
    Counts,
    Seen,
    read_counts,
    why_away,
)
from flows.page.asker import FIRST_SECONDS, PATIENCE_SECONDS
from flows.page.models import Models
from flows.page.runs import FRESH_SECONDS, Runs
from infra.settings import Settings

OLD_SECONDS = 30.0
"""What is older is not shown any more."""
_KEPT = 240
"""Looks at the service's counts that are kept: an hour of one each quarter of a minute."""
_COUNT_SECONDS = 15.0


class Servers(Runs, Models):
    """Asks the servers again and again while somebody looks.

    Parameters
    ----------
    settings : Settings
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.history: deque[tuple[float, Mapping[str, Counts]]] = deque(maxlen=_KEPT)
        self.errors: dict[tuple[str, str], Seen] = {}

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
        self._note(counts)
        self._answers = Answers(time.monotonic(), runs, deployed, counts, away)

    async def _ask_service(self, address: str, key: str) -> dict[str, Counts]:
        address, login = split_login(address)
        if not address:
            raise httpx.ConnectError("it is not up")
        headers = {"authorization": f"Bearer {key}"} if key else {}
        answer = await self._client.get(f"{address}/metrics", headers=headers, auth=None if key else login)
        return await asyncio.to_thread(read_counts, answer.raise_for_status().text)

    def _note(self, counts: Mapping[str, Counts]) -> None:
        """Keep counts as they go, and when errors of each kind were first and last seen."""
        now, instant = time.monotonic(), datetime.now(UTC)
        before = self._answers.counts
        for usecase, each in counts.items():
            for kind, count in each.errors.items():
                known = self.errors.get((usecase, kind))
                if known is None:
                    self.errors[usecase, kind] = Seen(count, instant, instant)
                elif count != before.get(usecase, Counts()).errors.get(kind, count) or count != known.count:
                    self.errors[usecase, kind] = Seen(count, known.first, instant)
        if counts and (not self.history or now - self.history[-1][0] >= _COUNT_SECONDS):
            self.history.append((now, counts))
