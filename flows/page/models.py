"""What MLflow says, as far as the page shows it."""

from __future__ import annotations

import asyncio
from collections import defaultdict

import httpx

from expectations.masking import split_login
from flows.page.asker import Asker
from infra.settings import Settings

LIST_SECONDS = 5.0
"""How long the form that a version is chosen in waits for the list of them."""


class Models(Asker):
    """What MLflow says of experiments and versions."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._experiments: dict[str, str] = {}

    async def experiment(self, usecase: str) -> str | None:
        """Return the id of a use case's experiment, which MLflow's links to runs need; None where that is not known."""
        if usecase not in self._experiments:
            what = f"which experiment {usecase} has"
            await self._ask_soon(what, lambda: self._ask_experiment(usecase), self._patience(what))
        return self._experiments.get(usecase)

    async def _ask_experiment(self, usecase: str) -> None:
        address, login = split_login(self._settings.places().tracking)
        if not address.startswith("http"):
            return
        path, asked = f"{address}/api/2.0/mlflow/experiments/get-by-name", {"experiment_name": usecase}
        try:
            answer = await self._client.get(path, params=asked, auth=login)
            self._experiments[usecase] = str(answer.raise_for_status().json()["experiment"]["experiment_id"])
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError):
            return

    async def versions(self, usecase: str) -> list[tuple[str, tuple[str, ...]]] | None:
        """Return the registered versions, newest first, with their aliases; None where MLflow does not say in time."""
        try:
            return await asyncio.wait_for(self._ask_versions(usecase), LIST_SECONDS)
        except TimeoutError:
            return None

    async def _ask_versions(self, usecase: str) -> list[tuple[str, tuple[str, ...]]] | None:
        address, login = split_login(self._settings.places().tracking)
        if not address.startswith("http"):
            return None
        try:
            asked = {"name": usecase}
            model = await self._client.get(f"{address}/api/2.0/mlflow/registered-models/get", params=asked, auth=login)
            if model.status_code == httpx.codes.NOT_FOUND:
                return []
            aliases = defaultdict[str, list[str]](list)
            for each in model.raise_for_status().json()["registered_model"].get("aliases", ()):
                aliases[str(each["version"])].append(str(each["alias"]))
            quoted = usecase.replace("'", "")
            found = await self._client.get(
                f"{address}/api/2.0/mlflow/model-versions/search",
                params={"filter": f"name='{quoted}'", "max_results": "50", "order_by": "version_number DESC"},
                auth=login,
            )
            versions = [str(each["version"]) for each in found.raise_for_status().json().get("model_versions", ())]
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError):
            return None
        return [(each, tuple(aliases[each])) for each in versions]
