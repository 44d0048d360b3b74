"""What the service says of itself: whether it is ready, what it serves, what it counted, and how it is asked."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Metric, generate_latest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from infra.identity import prove
from infra.serving import docs_page, documentation
from infra.serving.access import Access
from infra.serving.admission import Limits
from infra.serving.bounded_connections import Crowd
from infra.serving.counters import BOUNDS, exposition
from infra.serving.journal_writer import Journal
from infra.serving.mounts import Mounts
from infra.serving.offloading import Offloader
from infra.serving.replies import RETRY_SECONDS
from infra.serving.workers import POLL_SECONDS as WORKERS_SECONDS
from infra.serving.workers import Workers

SERVICE_VERSION = "0.1.0"
_SEAL_SECONDS = 5.0
_MAX_WRITING = 32
"""Requests for metrics and descriptions that wait."""
_encode = msgspec.json.Encoder().encode
_PAGE_HEADERS = {
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
}


@dataclass(frozen=True)
class _Description:
    """The service's description of itself, and what it is of."""

    key: tuple[object, ...]
    openapi: bytes
    page: str


class _Once:
    """Metrics already made, in the form prometheus_client collects."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        yield from self._metrics


class Status:
    """Answers what is asked of the service itself, for all of its workers.

    Parameters
    ----------
    mounts : Mounts
    journal : Journal
    access : Access
    workers : Workers, optional
        Where there are other workers.
    limits : Limits
    crowd : Crowd
        The connections.
    token : str
        What it proves itself with to its home (`infra.identity`).
    """

    def __init__(
        self,
        mounts: Mounts,
        journal: Journal,
        access: Access,
        workers: Workers | None,
        limits: Limits,
        crowd: Crowd,
        token: str,
    ) -> None:
        self._mounts, self._journal, self._access, self._workers = mounts, journal, access, workers
        self._limits, self._crowd, self._token = limits, crowd, token
        self._sealed, self._started = 0, time.time()
        self._writing, self._description = Offloader(_MAX_WRITING), _Description((), b"", "")

    def close(self) -> None:
        """End the thread beside the event loop; at the end of the process."""
        self._writing.close()

    def _state(self) -> dict[str, Any]:
        return {
            "mounts": {name: mount.describe() for name, mount in self._mounts.by_name.items()},
            "prepared": self._mounts.prepared(),
            "sealed": 0 if self._journal.closing() else self._sealed,
            "trouble": self._journal.trouble,
            "open_bytes": self._journal.open_bytes(),
            "started": self._started,
        }

    def _counts(self) -> dict[str, Any]:
        return {
            "counters": {name: mount.counters.to_dict() for name, mount in self._mounts.by_name.items()},
            "refusals": {str(status): count for status, count in self._access.refusals.items()},
            "closed": self._crowd.closed,
        }

    def _counted(self) -> dict[str, Any]:
        """Return what all workers counted; this worker's is in its file first, so that it is never less later."""
        if self._workers is None:
            return self._counts()
        with contextlib.suppress(OSError):  # a full disk is in the log and in `trouble`, and this must go on
            self.say()
        return self._workers.counted(self._counts())

    def say(self) -> None:
        """Let the other workers know what this one is at, where there are others."""
        if self._workers is not None:
            self._workers.say(self._state(), self._counts())

    def _states(self) -> list[dict[str, Any]]:
        """Return what every worker says; this one first, and those that have not spoken yet left out."""
        others = self._workers.others() if self._workers is not None else []
        return [self._state(), *(other for other in others if other)]

    def seal_if_asked(self, workers: Workers) -> None:
        """Close this worker's open segments where another worker was asked to have all closed."""
        token = workers.asked_to_seal()
        if token > self._sealed:
            self._journal.seal()
            self._sealed = token

    async def prove(self, request: Request) -> Response:
        """Prove that this is the service of its home."""
        if not self._token:
            raise HTTPException(404)
        return JSONResponse({"proof": prove(self._token, "service", request.query_params.get("nonce", ""))})

    def can_answer(self) -> bool:
        """Whether predictions can be answered, and logged where they must be."""
        return self._mounts.ready() and (self._limits.answer_unlogged or not self._journal.trouble)

    async def readyz(self, _: Request) -> Response:
        """Say whether the service is ready, and what it waits for."""
        lacking, trouble = self._mounts.unserved(), self._journal.trouble
        if trouble and not self._limits.answer_unlogged:
            return JSONResponse(
                {"ready": False, "waiting_for": lacking, "journal": trouble.partition(" (")[0]},
                503,
                headers={"retry-after": str(RETRY_SECONDS)},
            )
        ready = self._mounts.ready()
        return JSONResponse({"ready": ready, "waiting_for": lacking}, 200 if ready else 503)

    async def version(self, _: Request) -> Response:
        """Say what is served, by all workers, and what they counted."""
        states, counters, usecases = self._states(), self._counted()["counters"], {}
        for name in self._mounts.by_name:
            said = [state["mounts"][name] for state in states if name in state["mounts"]]
            oldest = min(said, key=lambda each: (int(each["generation"]), not each["trouble"]))
            refused = {bundle: why for each in said for bundle, why in each["refused"].items()}
            histories = sorted({each["history"] for each in said} - {""})
            usecases[name] = {
                **oldest,
                "refused": refused,
                "history": histories,
                "models": _bounded(counters[name]["models"]),
            }
        troubles = sorted({state["trouble"] for state in states} - {""})
        return JSONResponse(
            {
                "service": SERVICE_VERSION,
                "instance": self._journal.instance if self._workers is None else self._workers.folder.name,
                "started": min(state["started"] for state in states),
                "workers": len(states),
                "open": self._access.open,
                "journal": {"durability": self._journal.durability, "trouble": "; ".join(troubles)},
                "usecases": usecases,
                "counted": {name: _since_start(counters[name]) for name in self._mounts.by_name},
            }
        )

    async def metrics(self, _: Request) -> Response:
        """Return what all workers counted, as Prometheus reads it."""
        states = self._states()
        counted, names = self._counted(), list(self._mounts.by_name)
        counters = {name: counted["counters"][name] for name in names}
        journal = {
            "open_bytes": sum(state["open_bytes"] for state in states),
            "writable": not any(state["trouble"] for state in states),
        }
        described = {name: self._mounts.by_name[name].describe() for name in names}
        write = partial(_expose, counters, described, journal, counted["refusals"], counted["closed"])
        return Response(await self._writing.result(write, 0), media_type=CONTENT_TYPE_LATEST)

    async def openapi(self, _: Request) -> Response:
        """Return the description of the service."""
        return Response((await self._described()).openapi, media_type="application/json")

    async def docs(self, request: Request) -> Response:
        """Return the description as a page."""
        port = (request.scope.get("server") or ("", 0))[1]
        scheme, host = request.headers.get("x-forwarded-proto", "http"), request.headers.get("host", "")
        address = docs_page.address_of(scheme, host, port)
        page = (await self._described()).page.replace(docs_page.ADDRESS, address)
        return HTMLResponse(page, headers=_PAGE_HEADERS)

    async def _described(self) -> _Description:
        """Return what is said of the service, written anew where that has changed."""
        served = {name: mount.champion for name, mount in self._mounts.by_name.items() if mount.champion is not None}
        bundles = sorted((name, model.version, model.bundle.digest) for name, model in served.items())
        key, needs_key = (self._access.open, *bundles), not self._access.open
        if self._description.key != key:

            def write() -> _Description:
                described = _encode(documentation.openapi(served, self._mounts.most_rows, needs_key=needs_key))
                return _Description(key, described, docs_page.page(served, needs_key=needs_key))

            self._description = await self._writing.result(write, 0)
        return self._description

    async def seal(self, request: Request) -> Response:
        """Close every worker's open segments, and those dead processes left, so that a harvest finds all."""
        self._journal.adopt()
        self._journal.seal(request.query_params.get("usecase"))
        deadline = time.monotonic() + _SEAL_SECONDS
        while self._journal.closing() and time.monotonic() < deadline:  # a sync is on its way
            await asyncio.sleep(WORKERS_SECONDS / 2)
        if self._journal.closing():
            body = {"error_code": "TEMPORARILY_UNAVAILABLE", "message": "a segment could not be closed"}
            return JSONResponse(body, 503, headers={"retry-after": str(RETRY_SECONDS)})
        if self._workers is not None:
            token = time.monotonic_ns()
            self._workers.ask_to_seal(token)
            self.seal_if_asked(self._workers)
            self.say()
            # one that has not spoken yet has answered nothing; one that sealed later than asked has sealed
            while any(other["sealed"] < token for other in self._workers.others() if other):
                if time.monotonic() > deadline:
                    return JSONResponse(
                        {"error_code": "TEMPORARILY_UNAVAILABLE", "message": "a worker did not close its segments"}, 503
                    )
                await asyncio.sleep(WORKERS_SECONDS / 2)
        return JSONResponse({"sealed": request.query_params.get("usecase") or "all"})


def _since_start(counters: dict[str, Any]) -> dict[str, Any]:
    """Return what was done for a use case since this began; seconds by the bounds of the histogram of `/metrics`."""
    kept = {name: counters[name] for name in ("requests", "rows", "errors", "behind")}
    return {**kept, "seconds": counters["seconds"]["counts"]}


def _bounded(models: dict[str, Any]) -> dict[str, Any]:
    """Say which bounds the counts of seconds belong to."""
    return {bundle: {**each, "bounds": list(BOUNDS)} for bundle, each in models.items()}


def _expose(*counted: Mapping[str, Any]) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Once(list(exposition(*counted))))
    return generate_latest(registry)
