"""The ASGI application. Starlette routes everything but `/invocations`, which is answered without its overhead."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Metric, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from infra.identity import PROOF, prove
from infra.serving import docs_page, documentation
from infra.serving.access import OPEN_PATHS, Access
from infra.serving.admission import Limits
from infra.serving.bad_requests import BadRequestError
from infra.serving.bounded_connections import ConnectionLimits, Crowd
from infra.serving.counters import BOUNDS, exposition
from infra.serving.explaining import MAX_ROWS as MAX_EXPLAINED
from infra.serving.explaining import explain
from infra.serving.faults import trace
from infra.serving.feedback import read_feedback
from infra.serving.journal import Journal
from infra.serving.mount import Mount
from infra.serving.mounts import Mounts
from infra.serving.offloading import BusyError, Offloader
from infra.serving.open_inference import MAX_BYTES as MAX_INFERENCE_BYTES
from infra.serving.open_inference import OpenInference
from infra.serving.predicting import Predictions
from infra.serving.protocol import MEDIA, Media
from infra.serving.replies import (
    RETRY_SECONDS,
    SAFE_HEADERS,
    Reply,
    check,
    coding_of,
    error_body,
    headers_of,
    media_of,
    refusal_of_key,
    request_id_of,
    too_large,
    unavailable,
    unwritable,
)
from infra.serving.segments import JournalUnwritableError
from infra.serving.steps import in_turn
from infra.serving.timestamps import present_instant
from infra.serving.workers import POLL_SECONDS as WORKERS_SECONDS
from infra.serving.workers import Workers
from tasks.stores.journal import Feedback, pack
from tasks.stores.keys import Scope as KeyScope

SERVICE_VERSION = "0.1.0"
POLL_SECONDS = 0.25
_TIDY_SECONDS = 1.0
_SEAL_SECONDS = 5.0
_MAX_FEEDBACK_BYTES = 2 * 1024 * 1024
_MAX_WRITING = 32
"""Requests for metrics and descriptions that wait."""
_log = logging.getLogger("driftwheel.serving")
_encode = msgspec.json.Encoder().encode

_PAGE_HEADERS = {
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
}
_NEEDED_SCOPES: dict[str, KeyScope] = {
    "/journal/seal": "admin",
    "/feedback": "feedback",
    "/explain": "predict",
    "/infer": "predict",
}


class Service:
    """The application: give it to an ASGI server.

    Parameters
    ----------
    mounts : Mounts
    journal : Journal
    access : Access
    workers : Workers, optional
        Where there are other workers.
    limits : Limits, optional
    crowd : Crowd, optional
        The connections.
    token : str
        What it proves itself with to its home (`infra.identity`).
    """

    def __init__(
        self,
        mounts: Mounts,
        journal: Journal,
        access: Access,
        workers: Workers | None = None,
        limits: Limits | None = None,
        crowd: Crowd | None = None,
        token: str = "",
    ) -> None:
        self.mounts, self.journal, self.access, self.workers = mounts, journal, access, workers
        self.limits, self.crowd, self._token = limits or Limits(), crowd or Crowd(ConnectionLimits()), token
        self.every_second: list[Callable[[], object]] = []
        self._sealed, self._started = 0, time.time()
        self.predictions = Predictions(mounts, journal, access, self.limits)
        self._writing, self._description = Offloader(_MAX_WRITING), _Description((), b"", "")
        inference = OpenInference(self.predictions, self._json, SERVICE_VERSION, self._can_answer)
        rest = Starlette(
            routes=[
                Route("/livez", lambda _: PlainTextResponse("ok\n")),
                Route("/ping", lambda _: PlainTextResponse("\n")),
                Route("/health", lambda _: PlainTextResponse("OK\n")),
                Route(PROOF, self._prove),
                Route("/readyz", self._readyz),
                Route("/version", self._version),
                Route("/metrics", self._metrics),
                Route("/openapi.json", self._openapi),
                Route("/docs", self._docs),
                Route("/journal/seal", self._seal, methods=["POST"]),
                Route("/feedback", self._feedback, methods=["POST"]),
                Route("/explain", self._explain, methods=["POST"]),
                Route("/{usecase}/feedback", self._feedback, methods=["POST"]),
                Route("/{usecase}/explain", self._explain, methods=["POST"]),
                *inference.routes(),
            ],
            exception_handlers={HTTPException: _told, BusyError: _busy},
            lifespan=self._lifespan,
        )
        rest.router.redirect_slashes = False  # an address made from a header of the client's
        self._rest: ASGIApp = rest

    def close(self) -> None:
        """End the threads beside the event loop; at the end of the process."""
        self.predictions.close()
        self._writing.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection event."""
        if scope["type"] != "http":
            await self._rest(scope, receive, send)
        elif scope["path"].endswith("/invocations"):
            await self._invocations(scope, receive, send)
        else:
            await self._guarded(scope, receive, send)

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        self.mounts.announce = self._say
        await self.mounts.reconcile()
        if self.workers is not None:  # not before this worker serves what the others do
            self._say()
            # for the first agreement alone: what cannot be loaded is tried again while others are answered
            while any(mount.pending and not mount.generation for mount in self.mounts.by_name.values()):
                await asyncio.sleep(WORKERS_SECONDS)
                await self.mounts.reconcile()
                self._say()
        # apart from each other: a bundle that takes long to load holds back neither keys nor segments
        tasks = [
            asyncio.create_task(each)
            for each in (self._keep(self._reconcile, 0.0), self._keep(self._tidy, _TIDY_SECONDS))
        ]
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep(self, step: Callable[[], Awaitable[None]], least_seconds: float) -> None:
        while True:
            await asyncio.sleep(max(least_seconds, POLL_SECONDS if self.workers is None else WORKERS_SECONDS))
            try:
                await step()
                self._say()
            except OSError as error:  # a disk that is full or away: said, and tried again
                _log.error("the releases or the journal cannot be reached: %s", error.strerror)
            except Exception:  # noqa: BLE001 - keys, swaps and segments depend on this: a fault is told, and it goes on
                _log.exception("keeping up failed this time")

    async def _reconcile(self) -> None:
        await self.mounts.reconcile()
        if self.workers is not None:
            self._seal_if_asked(self.workers)

    async def _tidy(self) -> None:
        self.access.refresh()
        self.journal.close_old()
        self.journal.probe()
        for each in self.every_second:
            each()

    # --- the other workers --------------------------------------------------------------------------------------------

    def _state(self) -> dict[str, Any]:
        return {
            "mounts": {name: mount.describe() for name, mount in self.mounts.by_name.items()},
            "prepared": self.mounts.prepared(),
            "sealed": 0 if self.journal.closing() else self._sealed,
            "trouble": self.journal.trouble,
            "open_bytes": self.journal.open_bytes(),
            "started": self._started,
        }

    def _counts(self) -> dict[str, Any]:
        return {
            "counters": {name: mount.counters.to_dict() for name, mount in self.mounts.by_name.items()},
            "refusals": {str(status): count for status, count in self.access.refusals.items()},
            "closed": self.crowd.closed,
        }

    def _counted(self) -> dict[str, Any]:
        """Return what all workers counted; this worker's is in its file first, so that it is never less later."""
        if self.workers is None:
            return self._counts()
        with contextlib.suppress(OSError):  # a full disk is in the log and in `trouble`, and this must go on telling it
            self._say()
        return self.workers.counted(self._counts())

    def _say(self) -> None:
        if self.workers is not None:
            self.workers.say(self._state(), self._counts())

    def _states(self) -> list[dict[str, Any]]:
        """Return what every worker says; this one first, and those that have not spoken yet left out."""
        others = self.workers.others() if self.workers is not None else []
        return [self._state(), *(other for other in others if other)]

    def _seal_if_asked(self, workers: Workers) -> None:
        token = workers.asked_to_seal()
        if token > self._sealed:
            self.journal.seal()
            self._sealed = token

    # --- predictions --------------------------------------------------------------------------------------------------

    async def _invocations(self, scope: Scope, receive: Receive, send: Send) -> None:
        admitted = self.predictions.admit(scope["headers"])
        if isinstance(admitted, Reply):  # before a body is read, or a method told
            reply = admitted
        elif scope["method"] != "POST":
            reply = Reply(405, error_body("BAD_REQUEST", "use POST"), admitted.request_id, ((b"allow", b"POST"),))
        else:
            try:
                body = await _read(receive, self.limits.body)
            except BadRequestError as error:
                reply = Reply(error.status, error_body("BAD_REQUEST", str(error)), admitted.request_id)
            else:
                reply = await self.predictions.reply(scope["path"], admitted, body)
        await _send(send, reply)
        if reply.after is not None:
            reply.after()

    # --- the rest -----------------------------------------------------------------------------------------------------

    async def _guarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        request_id = request_id_of(scope["headers"])
        if not path.isprintable():  # a router may overlook a last line break; what needs a key must not
            path = "/"
            scope = {**scope, "path": path, "raw_path": b"/"}
        # where all is open, a name that was made to lead here gets nothing at all
        if path not in OPEN_PATHS or self.access.open:
            needed = _NEEDED_SCOPES.get(path) or _NEEDED_SCOPES.get("/" + path.rpartition("/")[2])
            refused = self.access.refuses(scope["headers"], needed)
            if refused:
                await _send(send, refusal_of_key(refused, request_id))
                return

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {name for name, _ in message["headers"]}
                safe = [header for header in SAFE_HEADERS if header[0] not in present]
                message = {**message, "headers": [*message["headers"], *safe, (b"x-request-id", request_id)]}
            await send(message)

        await self._rest(scope, receive, send_safely)

    async def _prove(self, request: Request) -> Response:
        if not self._token:
            raise HTTPException(404)
        return JSONResponse({"proof": prove(self._token, "service", request.query_params.get("nonce", ""))})

    def _can_answer(self) -> bool:
        return self.mounts.ready() and (self.limits.answer_unlogged or not self.journal.trouble)

    async def _json(self, request: Request, mount: Mount) -> bytes:
        return (await self._body(request, mount, min(MAX_INFERENCE_BYTES, self.limits.body), "json"))[0]

    async def _readyz(self, _: Request) -> Response:
        lacking, trouble = self.mounts.unserved(), self.journal.trouble
        if trouble and not self.limits.answer_unlogged:
            return JSONResponse(
                {"ready": False, "waiting_for": lacking, "journal": trouble.partition(" (")[0]},
                503,
                headers={"retry-after": str(RETRY_SECONDS)},
            )
        ready = self.mounts.ready()
        return JSONResponse({"ready": ready, "waiting_for": lacking}, 200 if ready else 503)

    async def _version(self, _: Request) -> Response:
        states, counters, usecases = self._states(), self._counted()["counters"], {}
        for name in self.mounts.by_name:
            said = [state["mounts"][name] for state in states if name in state["mounts"]]
            oldest = min(said, key=lambda each: (int(each["generation"]), not each["trouble"]))
            refused = {bundle: why for each in said for bundle, why in each["refused"].items()}
            usecases[name] = {**oldest, "refused": refused, "models": _bounded(counters[name]["models"])}
        troubles = sorted({state["trouble"] for state in states} - {""})
        return JSONResponse(
            {
                "service": SERVICE_VERSION,
                "instance": self.journal.instance if self.workers is None else self.workers.folder.name,
                "started": min(state["started"] for state in states),
                "workers": len(states),
                "open": self.access.open,
                "journal": {"durability": self.journal.durability, "trouble": "; ".join(troubles)},
                "usecases": usecases,
            }
        )

    async def _metrics(self, _: Request) -> Response:
        states = self._states()
        counted, names = self._counted(), list(self.mounts.by_name)
        counters = {name: counted["counters"][name] for name in names}
        journal = {
            "open_bytes": sum(state["open_bytes"] for state in states),
            "writable": not any(state["trouble"] for state in states),
        }
        described = {name: self.mounts.by_name[name].describe() for name in names}
        write = partial(_expose, counters, described, journal, counted["refusals"], counted["closed"])
        return Response(await self._writing.result(write, 0), media_type=CONTENT_TYPE_LATEST)

    async def _openapi(self, _: Request) -> Response:
        return Response((await self._described()).openapi, media_type="application/json")

    async def _docs(self, request: Request) -> Response:
        port = (request.scope.get("server") or ("", 0))[1]
        scheme, host = request.headers.get("x-forwarded-proto", "http"), request.headers.get("host", "")
        address = docs_page.address_of(scheme, host, port)
        page = (await self._described()).page.replace(docs_page.ADDRESS, address)
        return HTMLResponse(page, headers=_PAGE_HEADERS)

    async def _described(self) -> _Description:
        """Return what is said of the service, written anew where that has changed."""
        served = {name: mount.champion for name, mount in self.mounts.by_name.items() if mount.champion is not None}
        bundles = sorted((name, model.version, model.bundle.digest) for name, model in served.items())
        key, needs_key = (self.access.open, *bundles), not self.access.open
        if self._description.key != key:

            def write() -> _Description:
                described = _encode(documentation.openapi(served, self.mounts.most_rows, needs_key=needs_key))
                return _Description(key, described, docs_page.page(served, needs_key=needs_key))

            self._description = await self._writing.result(write, 0)
        return self._description

    async def _seal(self, request: Request) -> Response:
        """Close every worker's open segments, and those dead processes left, so that a harvest finds all."""
        self.journal.adopt()
        self.journal.seal(request.query_params.get("usecase"))
        deadline = time.monotonic() + _SEAL_SECONDS
        while self.journal.closing() and time.monotonic() < deadline:  # a sync is on its way
            await asyncio.sleep(WORKERS_SECONDS / 2)
        if self.journal.closing():
            body = {"error_code": "TEMPORARILY_UNAVAILABLE", "message": "a segment could not be closed"}
            return JSONResponse(body, 503, headers={"retry-after": str(RETRY_SECONDS)})
        if self.workers is not None:
            token = time.monotonic_ns()
            self.workers.ask_to_seal(token)
            self._seal_if_asked(self.workers)
            self._say()
            # one that has not spoken yet has answered nothing; one that sealed later than asked has sealed
            while any(other["sealed"] < token for other in self.workers.others() if other):
                if time.monotonic() > deadline:
                    return JSONResponse(
                        {"error_code": "TEMPORARILY_UNAVAILABLE", "message": "a worker did not close its segments"}, 503
                    )
                await asyncio.sleep(WORKERS_SECONDS / 2)
        return JSONResponse({"sealed": request.query_params.get("usecase") or "all"})

    async def _feedback(self, request: Request) -> Response:
        name = request.path_params.get("usecase", "")
        mount = self.predictions.mount(name)
        if mount is None or mount.champion is None:
            status, why = self.predictions.no_model(name, mount)
            return JSONResponse(why, status)
        manifest = mount.champion.bundle.manifest
        if not manifest.accepts_feedback:
            mount.counters.error("bad_feedback")
            why_not = f"{mount.usecase} takes no feedback: its use case says `feedback: {{accept: false}}`"
            return Response(error_body("PERMISSION_DENIED", why_not), 403)
        try:
            body, _ = await self._body(request, mount, min(_MAX_FEEDBACK_BYTES, self.limits.body), "json")
            labels = read_feedback(body, manifest)
        except BadRequestError as error:
            mount.counters.error("bad_feedback")
            return _refusal(error)
        except BusyError:
            mount.counters.error("busy")
            raise
        sender = self.access.sender(request.scope["headers"])
        record = Feedback(present_instant(), list(labels), list(labels.values()), sender)
        try:
            await self.journal.append(mount.usecase, "feedback", pack(record))
        except JournalUnwritableError as error:
            reply = unwritable(error, b"")
            return Response(reply.body, 503, headers={"retry-after": str(RETRY_SECONDS)})
        return JSONResponse({"accepted": len(labels)})

    async def _body(self, request: Request, mount: Mount, most: int, *taken: Media) -> tuple[bytes, Media]:
        """Return what a request holds, as JSON or CSV."""
        media = media_of(request.headers.get("content-type", "application/json").encode("latin-1"))
        coding = coding_of(",".join(request.headers.getlist("content-encoding")).encode("latin-1"))
        check(media, coding, taken)
        body = await _read(request.receive, most, int(request.headers.get("content-length", 0)))
        return await self.predictions.plain(body, media, coding, mount, most), "csv" if media == "csv" else "json"

    async def _explain(self, request: Request) -> Response:
        name = request.path_params.get("usecase", "")
        mount = self.predictions.mount(name)
        if mount is None or mount.champion is None:
            status, body = self.predictions.no_model(name, mount)
            return JSONResponse(body, status)
        try:
            content, media = await self._body(request, mount, self.limits.body, *MEDIA.values())
            champion = mount.champion  # one from here on: it may be swapped while a body arrives
            rows, params = await in_turn(champion.reader.read_in_steps(content, media, MAX_EXPLAINED))
            found = await self.predictions.explaining.result(partial(explain, champion, rows, params), len(content))
            return Response(_encode(found))
        except BadRequestError as error:
            mount.counters.error("bad_explain")
            return _refusal(error)
        except BusyError:
            mount.counters.error("busy")
            raise
        except Exception as error:  # noqa: BLE001 - a fault of ours is told as one, without the values it may name
            _log.error("a request could not be explained: %s", trace(error))
            mount.counters.error("internal")
            return Response(error_body("INTERNAL_ERROR", "see the service's log"), 500)


def _refusal(error: BadRequestError) -> Response:
    headers = {name.decode(): value.decode() for name, value in headers_of(error)}
    return Response(error_body("BAD_REQUEST", str(error)), error.status, headers)


async def _busy(_: Request, error: Exception) -> Response:  # noqa: ARG001 - as Starlette calls it
    reply = unavailable("too many such requests at once", b"")
    return Response(reply.body, reply.status, {name.decode(): value.decode() for name, value in reply.headers})


async def _told(_: Request, error: Exception) -> Response:
    """Say what a router says the way every error is said here."""
    status, headers = (error.status_code, error.headers) if isinstance(error, HTTPException) else (500, None)
    code = "RESOURCE_DOES_NOT_EXIST" if status == 404 else "BAD_REQUEST"
    return Response(error_body(code, HTTPStatus(status).phrase), status, headers=headers)


def _bounded(models: dict[str, Any]) -> dict[str, Any]:
    """Say which bounds the counts of seconds belong to."""
    return {bundle: {**each, "bounds": list(BOUNDS)} for bundle, each in models.items()}


@dataclass(frozen=True)
class _Description:
    """The service's description of itself, and what it is of."""

    key: tuple[object, ...]
    openapi: bytes
    page: str


def _expose(*counted: Mapping[str, Any]) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Once(list(exposition(*counted))))
    return generate_latest(registry)


class _Once:
    """Metrics already made, in the form prometheus_client collects."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        yield from self._metrics


async def _read(receive: Receive, most: int, declared: int = 0) -> bytes:
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        if max(size, declared) > most:
            raise too_large(most)
        message = await receive()
        if message["type"] == "http.disconnect":
            raise BadRequestError("the client went away")
        parts.append(message.get("body", b""))
        size, more = size + len(parts[-1]), message.get("more_body", False)
    if size > most:
        raise too_large(most)
    return b"".join(parts)


async def _send(send: Send, reply: Reply) -> None:
    length = (b"content-length", str(len(reply.body)).encode())
    headers = [*SAFE_HEADERS, *reply.headers, (b"x-request-id", reply.request_id), length]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})
