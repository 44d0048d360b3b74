"""What Prefect, MLflow and the service say, asked beside the pages: a page waits for none of them for long."""

from __future__ import annotations

import asyncio
import math
import time
from collections import defaultdict, deque
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import httpx

from expectations.masking import split_login
from infra.settings import Settings
from tasks.stores.flow_server import flow_server

FRESH_SECONDS = 2.0
"""What is younger is not asked for again."""
PATIENCE_SECONDS = 0.05
"""How long a page waits for newer answers than those it has; for its first ones it waits `FIRST_SECONDS`."""
FIRST_SECONDS = 0.5
LIST_SECONDS = 5.0
"""How long the form that a version is chosen in waits for the list of them."""
OLD_SECONDS = 30.0
"""What is older is not shown any more."""
_TIMEOUT = httpx.Timeout(5.0, connect=1.0)
_RUNS = 200
_TIMED = 400
"""Runs whose tasks' durations are kept."""
_DEPLOYMENTS = 1000
_PAGE = 200
_KEPT = 240
"""Looks at the service's counts that are kept: an hour of one each quarter of a minute."""
_COUNT_SECONDS = 15.0
_DRIFTWHEEL = {"tags": {"all_": ["driftwheel"]}}
_QUIET = ("SCHEDULED",)
_GOING = ("RUNNING", "PENDING", "PAUSED", "CANCELLING")


@dataclass(frozen=True)
class Run:
    """A flow run."""

    id: str
    flow: str
    usecase: str
    name: str
    state: str
    word: str
    start: datetime | None
    seconds: float | None

    @property
    def going(self) -> bool:
        """Whether it has not ended."""
        return self.state in _GOING


@dataclass(frozen=True)
class Deployed:
    """A deployment, with its schedules."""

    id: str
    flow: str
    usecase: str
    paused: bool
    cron: str = ""
    schedule: str = ""
    """Id of its schedule; empty where it has none."""
    active: bool = False
    next: datetime | None = None

    @property
    def scheduled(self) -> bool:
        """Whether its schedule makes runs."""
        return self.active and not self.paused


@dataclass(frozen=True)
class Counts:
    """What the service counted for a use case since it began."""

    requests: int = 0
    rows: int = 0
    errors: Mapping[str, int] = field(default_factory=dict)
    buckets: tuple[tuple[float, int], ...] = ()
    """Upper bound in seconds -> requests that took no longer."""

    def quantile(self, share: float) -> float | None:
        """Return by when so large a share of the requests was answered: a bound in seconds."""
        total = self.buckets[-1][1] if self.buckets else 0
        if not total:
            return None
        return next((bound for bound, count in self.buckets if count >= share * total), math.inf)


@dataclass(frozen=True)
class Took:
    """How long each task of a run took, by its name; of one that goes on, up to when it was asked for."""

    seconds: Mapping[str, float]
    ended: bool


@dataclass(frozen=True)
class Seen:
    """A kind of error, and when this page saw its first and last."""

    count: int
    first: datetime
    last: datetime


@dataclass(frozen=True)
class Answers:
    """What was answered last; empty of a server that is away, which `away` names with the reason."""

    at: float = -math.inf
    runs: tuple[Run, ...] = ()
    deployed: tuple[Deployed, ...] = ()
    counts: Mapping[str, Counts] = field(default_factory=dict)
    away: Mapping[str, str] = field(default_factory=dict)

    def runs_of(self, usecase: str) -> list[Run]:
        """Return the runs of a use case, newest first."""
        return [each for each in self.runs if each.usecase == usecase]

    def deployed_of(self, usecase: str) -> dict[str, Deployed]:
        """Return the deployments of a use case by their flow."""
        return {each.flow: each for each in self.deployed if each.usecase == usecase}

    def next_of(self, usecase: str) -> tuple[str, datetime] | None:
        """Return which flow of a use case is to run next, and when."""
        coming = [(each.next, each.flow) for each in self.deployed if each.usecase == usecase and each.next]
        return (min(coming)[1], min(coming)[0]) if coming else None


class Servers:
    """Asks the servers again and again while somebody looks.

    Parameters
    ----------
    settings : Settings
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._answers = Answers()
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._flows: dict[str, str] = {}
        self._experiments: dict[str, str] = {}
        self._took: dict[str, Took] = {}
        self.history: deque[tuple[float, Mapping[str, Counts]]] = deque(maxlen=_KEPT)
        self.errors: dict[tuple[str, str], Seen] = {}
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
                away[name] = _why(error)
                return otherwise

        (runs, deployed), counts = await asyncio.gather(
            asked("Prefect", self._ask_prefect(places.flow_api, places.flow_login), ((), ())),
            asked("service", self._ask_service(places.service, places.service_key), {}),
        )
        self._note(counts)
        self._answers = Answers(time.monotonic(), runs, deployed, counts, away)

    # --- Prefect --------------------------------------------------------------------------------------------------

    async def _ask_prefect(self, api: str, login: str) -> tuple[tuple[Run, ...], tuple[Deployed, ...]]:
        if not api:
            raise httpx.ConnectError("it is not up")
        flows, runs, deployed, coming = await asyncio.gather(
            self._post(api, login, "/flows/filter", {"limit": _PAGE}),
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
            self._pages(api, login, "/deployments/filter", {"deployments": _DRIFTWHEEL}),
            self._post(
                api,
                login,
                "/flow_runs/filter",
                {
                    "flow_runs": {**_DRIFTWHEEL, "state": {"type": {"any_": ["SCHEDULED"]}}},
                    "sort": "NEXT_SCHEDULED_START_TIME_ASC",
                    "limit": _PAGE,
                },
            ),
        )
        self._flows = {each["id"]: each["name"] for each in flows}
        nearest: dict[str, datetime] = {}
        for each in coming:
            instant = _instant(each.get("next_scheduled_start_time") or each.get("expected_start_time"))
            if instant is not None and each.get("deployment_id"):
                nearest.setdefault(each["deployment_id"], instant)
        return (
            tuple(self._run(each) for each in runs),
            tuple(_deployed(each, nearest.get(each["id"])) for each in deployed),
        )

    async def _post(self, api: str, login: str, path: str, body: Mapping[str, Any]) -> Any:  # noqa: ANN401 - JSON
        address, auth = flow_server(api, login)
        answer = await self._client.post(f"{address}{path}", json=body, auth=auth)
        return answer.raise_for_status().json()

    async def _pages(self, api: str, login: str, path: str, body: Mapping[str, Any]) -> list[Any]:
        found: list[Any] = []
        while len(found) < _DEPLOYMENTS:
            page = await self._post(api, login, path, {**body, "limit": _PAGE, "offset": len(found)})
            found += page
            if len(page) < _PAGE:
                break
        return found

    def _run(self, told: Mapping[str, Any]) -> Run:
        given = told.get("parameters") or {}
        state = told.get("state") or {}
        return Run(
            told["id"],
            self._flows.get(told.get("flow_id", ""), "flow"),
            str(given.get("namespace") or given.get("usecase") or ""),
            str(told.get("name", "")),
            str(state.get("type", "")),
            str(state.get("name", "")).lower(),
            _instant(told.get("start_time")),
            _took(told),
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
        body = {"flow_runs": {"id": {"any_": [each.id for each in runs]}}, "limit": _PAGE}
        found: dict[str, dict[str, float]] = {each.id: {} for each in runs}
        try:
            for task in await self._post(places.flow_api, places.flow_login, "/task_runs/filter", body):
                name = str(task["name"]).rpartition("-")[0] or str(task["name"])
                found[task["flow_run_id"]][name] = _took(task) or 0.0
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError):
            return
        for each in runs:
            self._took.pop(each.id, None)  # the newest stand last
            self._took[each.id] = Took(found[each.id], ended=not each.going)
        for oldest in list(self._took)[:-_TIMED]:
            del self._took[oldest]

    # --- what is done there ---------------------------------------------------------------------------------------

    async def start(self, deployed: Deployed, parameters: Mapping[str, Any]) -> str:
        """Start a run of a deployment; returns its name.

        Raises
        ------
        httpx.HTTPError
            If Prefect does not take it.
        """
        places = self._settings.places()
        path = f"/deployments/{deployed.id}/create_flow_run"
        made = await self._post(places.flow_api, places.flow_login, path, {"parameters": dict(parameters)})
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
        answer = await self._client.patch(url, json={"active": active}, auth=auth)
        answer.raise_for_status()
        self._answers = replace(self._answers, at=self._answers.at - FRESH_SECONDS)

    # --- MLflow ---------------------------------------------------------------------------------------------------

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

    # --- the service ----------------------------------------------------------------------------------------------

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


def read_counts(text: str) -> dict[str, Counts]:
    """Read the service's metrics."""
    from prometheus_client.parser import text_string_to_metric_families

    requests: dict[str, int] = {}
    rows: dict[str, int] = {}
    errors: dict[str, dict[str, int]] = defaultdict(dict)
    buckets: dict[str, list[tuple[float, int]]] = defaultdict(list)
    counters: dict[str, Callable[[str, Mapping[str, str], int], None]] = {
        "driftwheel_requests_total": lambda name, _, count: requests.__setitem__(name, count),
        "driftwheel_rows_total": lambda name, _, count: rows.__setitem__(name, count),
        "driftwheel_errors_total": lambda name, of, count: errors[name].__setitem__(of.get("kind", ""), count),
        "driftwheel_latency_seconds_bucket": lambda name, of, count: buckets[name].append((float(of["le"]), count)),
    }
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            keep, usecase = counters.get(sample.name), sample.labels.get("usecase")
            if keep is not None and usecase is not None:
                keep(usecase, sample.labels, int(sample.value))
    return {
        name: Counts(
            requests.get(name, 0),
            rows.get(name, 0),
            {kind: count for kind, count in errors[name].items() if count},
            tuple(sorted(buckets[name])),
        )
        for name in sorted({*requests, *errors, *buckets})
    }


def per_minute(history: Sequence[tuple[float, Mapping[str, Counts]]], usecase: str) -> list[tuple[float, float, float]]:
    """Return requests and errors a minute between looks, with seconds before the last one; a restart counts as none."""
    found = []
    for (before, old), (after, new) in zip(history, list(history)[1:], strict=False):
        one, two = old.get(usecase, Counts()), new.get(usecase, Counts())
        minutes = max(after - before, 1e-9) / 60
        failed = sum(two.errors.values()) - sum(one.errors.values())
        found.append((history[-1][0] - after, max(0, two.requests - one.requests) / minutes, max(0, failed) / minutes))
    return found


def _deployed(told: Mapping[str, Any], coming: datetime | None) -> Deployed:
    schedules = told.get("schedules") or [{}]
    first = schedules[0]
    flow = str(told.get("entrypoint") or "").rpartition(".")[2].rpartition(":")[2]
    return Deployed(
        told["id"],
        flow,
        str(told["name"]),
        bool(told.get("paused")),
        str((first.get("schedule") or {}).get("cron") or ""),
        str(first.get("id") or ""),
        bool(first.get("active")),
        coming,
    )


def _took(told: Mapping[str, Any]) -> float | None:
    """Return how long a run of a flow or a task took; of one that goes on, up to now."""
    seconds = told.get("total_run_time") or told.get("estimated_run_time")
    return float(seconds) if seconds else None


def _instant(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _why(error: Exception) -> str:
    if isinstance(error, httpx.HTTPStatusError):
        return f"it answers {error.response.status_code}"
    if isinstance(error, httpx.TimeoutException):
        return "it does not answer in time"
    if isinstance(error, httpx.HTTPError):
        return str(error) if str(error) == "it is not up" else "it does not answer"
    return "what it answers cannot be read"


def run_link(addresses: Mapping[str, str], run: Run) -> str:
    """Return where Prefect shows a run; empty where it is away."""
    base = addresses.get("Prefect", "")
    return f"{base}/runs/flow-run/{run.id}" if base else ""


def model_link(addresses: Mapping[str, str], usecase: str, version: str) -> str:
    """Return where MLflow shows a version; empty where it is away."""
    base = addresses.get("MLflow", "")
    return f"{base}/#/models/{quote(usecase, safe='')}/versions/{quote(version, safe='')}" if base else ""
