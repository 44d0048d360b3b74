"""What Prefect says, as far as the page shows it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import uuid4

import httpx

from flows.page.answers import (
    Deployed,
    Run,
    Took,
    read_deployed,
    read_instant,
    read_seconds,
)
from flows.page.asker import Asker
from flows.prefect_runs import DEPLOYED_TAG, PAGE, read_pages_async
from infra.settings import Settings
from tasks.stores.flow_server import flow_server
from tasks.stores.retries import repeated_while_busy

FRESH_SECONDS = 2.0
"""What is younger is not asked for again."""
_RUNS = 200
_TIMED = 400
"""Runs whose tasks' durations are kept."""
_DRIFTWHEEL = {"tags": {"all_": [DEPLOYED_TAG]}}
_QUIET = ("SCHEDULED",)


class Runs(Asker):
    """What Prefect says of runs and deployments, and what it is asked to do."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._flows: dict[str, str] = {}
        self._took: dict[str, Took] = {}

    async def _ask_prefect(self, api: str, login: str) -> tuple[tuple[Run, ...], tuple[Deployed, ...]]:
        if not api:
            raise httpx.ConnectError("it is not up")
        flows, runs, deployed, coming = await asyncio.gather(
            self._post(api, login, "/flows/filter", {"limit": PAGE}),
            self._post(
                api,
                login,
                "/flow_runs/filter",
                {
                    "flow_runs": {"state": {"type": {"not_any_": list(_QUIET)}}},
                    "sort": "START_TIME_DESC",
                    "limit": _RUNS,
                },
            ),
            self._deployments(api, login),
            self._post(
                api,
                login,
                "/flow_runs/filter",
                {
                    "flow_runs": {**_DRIFTWHEEL, "state": {"type": {"any_": ["SCHEDULED"]}}},
                    "sort": "NEXT_SCHEDULED_START_TIME_ASC",
                    "limit": PAGE,
                },
            ),
        )
        self._flows = {each["id"]: each["name"] for each in flows}
        nearest: dict[str, datetime] = {}
        for each in coming:
            instant = read_instant(each.get("next_scheduled_start_time") or each.get("expected_start_time"))
            if instant is not None and each.get("deployment_id"):
                nearest.setdefault(each["deployment_id"], instant)
        return (
            tuple(self._run(each) for each in runs),
            tuple(read_deployed(each, nearest.get(each["id"])) for each in deployed),
        )

    async def _post(self, api: str, login: str, path: str, body: Mapping[str, Any]) -> Any:  # noqa: ANN401 - JSON
        address, auth = flow_server(api, login)
        answer = await self._client.post(f"{address}{path}", json=body, auth=auth)
        return answer.raise_for_status().json()

    async def _deployments(self, api: str, login: str) -> list[Any]:
        wanted = {"deployments": _DRIFTWHEEL}

        async def ask(limit: int, offset: int) -> list[Any]:
            page: list[Any] = await self._post(
                api, login, "/deployments/filter", {**wanted, "limit": limit, "offset": offset}
            )
            return page

        return await read_pages_async(ask)

    def _run(self, entry: Mapping[str, Any]) -> Run:
        given = entry.get("parameters") or {}
        state = entry.get("state") or {}
        return Run(
            entry["id"],
            self._flows.get(entry.get("flow_id", ""), "flow"),
            str(given.get("namespace") or given.get("usecase") or ""),
            str(entry.get("name", "")),
            str(state.get("type", "")),
            str(state.get("name", "")).lower(),
            read_instant(entry.get("start_time")),
            read_seconds(entry),
        )

    async def stage_seconds(self, usecase: str, runs: Iterable[Run]) -> dict[str, float]:
        """Return how long each task of some runs took, and each flow: by the name of the task, or of the flow.

        Parameters
        ----------
        runs : iterable of Run
            Of that use case. Those that have ended are asked for once.
        """
        wanted = list(runs)
        missing = [each for each in wanted if each.id not in self._took or not self._took[each.id].ended]
        if missing:
            what = f"how long stages of {usecase} took"
            await self._ask_soon(what, lambda: self._ask_stages(missing), self._patience(what))
        seconds: dict[str, float] = {}
        for each in wanted:
            if each.id in self._took:
                seconds |= self._took[each.id].seconds
            if each.seconds is not None:
                seconds[each.flow] = each.seconds
        return seconds

    async def _ask_stages(self, runs: Sequence[Run]) -> None:
        places = self._settings.places()
        body = {"flow_runs": {"id": {"any_": [each.id for each in runs]}}, "limit": PAGE}
        found: dict[str, dict[str, float]] = {each.id: {} for each in runs}
        try:
            for task in await self._post(places.flow_api, places.flow_login, "/task_runs/filter", body):
                name = str(task["name"]).rpartition("-")[0] or str(task["name"])
                found[task["flow_run_id"]][name] = read_seconds(task) or 0.0
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError):
            return
        for each in runs:
            self._took.pop(each.id, None)  # the newest stand last
            self._took[each.id] = Took(found[each.id], ended=not each.going)
        for oldest in list(self._took)[:-_TIMED]:
            del self._took[oldest]

    async def start(self, deployed: Deployed, parameters: Mapping[str, Any]) -> str:
        """Start a run of a deployment; returns its name.

        Raises
        ------
        httpx.HTTPError
            If Prefect does not take it.
        """
        places = self._settings.places()
        path = f"/deployments/{deployed.id}/create_flow_run"
        body = {"parameters": dict(parameters), "idempotency_key": str(uuid4())}  # asked again it is one run
        made = await repeated_while_busy(lambda: self._post(places.flow_api, places.flow_login, path, body))
        self._answers = replace(
            self._answers, at=-math.inf if not self._answers.runs else self._answers.at - FRESH_SECONDS
        )
        return str(made.get("name", ""))

    async def set_schedule(self, deployed: Deployed, *, active: bool) -> None:
        """Let a schedule make runs, or make none; until the YAML's own value changes.

        Raises
        ------
        httpx.HTTPError
            If Prefect does not take it.
        """
        places = self._settings.places()
        address, auth = flow_server(places.flow_api, places.flow_login)
        url = f"{address}/deployments/{deployed.id}/schedules/{deployed.schedule}"

        async def ask() -> None:
            (await self._client.patch(url, json={"active": active}, auth=auth)).raise_for_status()

        await repeated_while_busy(ask)
        self._answers = replace(self._answers, at=self._answers.at - FRESH_SECONDS)
