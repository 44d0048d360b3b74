"""The ASGI application. Starlette routes everything but `/invocations`, which is answered without its overhead."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from infra.identity import PROOF
from infra.serving.access import OPEN_PATHS, Access
from infra.serving.admission import Limits
from infra.serving.asgi import ResponseInPieces, read_body, send_reply
from infra.serving.bad_requests import BadRequestError
from infra.serving.bounded_connections import ConnectionLimits, Crowd
from infra.serving.faults import trace
from infra.serving.feedback import read_feedback
from infra.serving.journal_writer import Journal
from infra.serving.mount import Mount
from infra.serving.mounts import Mounts
from infra.serving.offloading import QueueFullError
from infra.serving.open_inference import MAX_BYTES as MAX_INFERENCE_BYTES
from infra.serving.open_inference import OpenInference
from infra.serving.predicting import Predictions
from infra.serving.protocol import MEDIA, Media
from infra.serving.record_streams import JournalUnwritableError
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
    unavailable,
    unwritable,
)
from infra.serving.status import SERVICE_VERSION, Status
from infra.serving.timestamps import present_instant
from infra.serving.workers import POLL_SECONDS as WORKERS_SECONDS
from infra.serving.workers import Workers
from tasks.stores.journal import Feedback, pack
from tasks.stores.keys import Scope as KeyScope

POLL_SECONDS = 0.25
_TIDY_SECONDS = 1.0
_MAX_FEEDBACK_BYTES = 2 * 1024 * 1024
_log = logging.getLogger("driftwheel.serving")

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
        self.limits = limits or Limits()
        self.crowd = crowd or Crowd(ConnectionLimits())
        self.status = Status(mounts, journal, access, workers, self.limits, self.crowd, token)
        self.every_second: list[Callable[[], object]] = []
        self.predictions = Predictions(mounts, journal, access, self.limits)
        inference = OpenInference(self.predictions, self._json, SERVICE_VERSION, self.status.can_answer)
        rest = Starlette(
            routes=[  # in turn held against each request: what is asked often stands first
                Route("/{usecase}/explain", self._explain, methods=["POST"]),
                Route("/{usecase}/feedback", self._feedback, methods=["POST"]),
                Route("/explain", self._explain, methods=["POST"]),
                Route("/feedback", self._feedback, methods=["POST"]),
                Route("/livez", lambda _: PlainTextResponse("ok\n")),
                Route("/ping", lambda _: PlainTextResponse("\n")),
                Route("/health", lambda _: PlainTextResponse("OK\n")),
                Route(PROOF, self.status.prove),
                Route("/readyz", self.status.readyz),
                Route("/version", self.status.version),
                Route("/metrics", self.status.metrics),
                Route("/openapi.json", self.status.openapi),
                Route("/docs", self.status.docs),
                Route("/journal/seal", self.status.seal, methods=["POST"]),
                *inference.routes(),
            ],
            exception_handlers={HTTPException: _say_error, QueueFullError: _busy},
            lifespan=self._lifespan,
        )
        rest.router.redirect_slashes = False  # an address made from a header of the client's
        self._rest: ASGIApp = rest

    def close(self) -> None:
        """End the threads beside the event loop; at the end of the process."""
        self.predictions.close()
        self.status.close()

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
        self.mounts.announce = self.status.say
        await self.mounts.reconcile()
        if self.workers is not None:  # not before this worker serves what the others do
            self.status.say()
            # for the first agreement alone: what cannot be loaded is tried again while others are answered
            while any(mount.pending and not mount.generation for mount in self.mounts.by_name.values()):
                await asyncio.sleep(WORKERS_SECONDS)
                await self.mounts.reconcile()
                self.status.say()
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
                self.status.say()
            except OSError as error:  # a disk that is full or away: said, and tried again
                _log.error("the releases or the journal cannot be reached: %s", error.strerror)
            except Exception:  # noqa: BLE001 - keys, swaps and segments depend on this: a fault is logged, and it goes on
                _log.exception("keeping up failed this time")

    async def _reconcile(self) -> None:
        await self.mounts.reconcile()
        if self.workers is not None:
            self.status.seal_if_asked(self.workers)

    async def _tidy(self) -> None:
        self.access.refresh()
        self.journal.close_old()
        self.journal.probe()
        for each in self.every_second:
            each()

    # --- predictions --------------------------------------------------------------------------------------------------

    async def _invocations(self, scope: Scope, receive: Receive, send: Send) -> None:
        admitted = self.predictions.admit(scope["headers"])
        if isinstance(admitted, Reply):  # before a body is read, or a method looked at
            reply = admitted
        elif scope["method"] != "POST":
            reply = Reply(405, error_body("BAD_REQUEST", "use POST"), admitted.request_id, ((b"allow", b"POST"),))
        else:
            try:
                body = await read_body(receive, self.limits.body)
            except BadRequestError as error:
                reply = Reply(error.status, error_body("BAD_REQUEST", str(error)), admitted.request_id)
            else:
                reply = await self.predictions.reply(scope["path"], admitted, body)
        await send_reply(send, reply)
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
                await send_reply(send, refusal_of_key(refused, request_id))
                return

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {name for name, _ in message["headers"]}
                safe = [header for header in SAFE_HEADERS if header[0] not in present]
                message = {**message, "headers": [*message["headers"], *safe, (b"x-request-id", request_id)]}
            await send(message)

        await self._rest(scope, receive, send_safely)

    async def _json(self, request: Request, mount: Mount) -> bytes:
        return (await self._body(request, mount, min(MAX_INFERENCE_BYTES, self.limits.body), "json"))[0]

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
        except QueueFullError:
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
        body = await read_body(request.receive, most, int(request.headers.get("content-length", 0)))
        plain = await self.predictions.bodies.result(body, media, coding, mount, most)
        return plain, "csv" if media == "csv" else "json"

    async def _explain(self, request: Request) -> Response:
        name = request.path_params.get("usecase", "")
        mount = self.predictions.mount(name)
        if mount is None or mount.champion is None:
            status, body = self.predictions.no_model(name, mount)
            return JSONResponse(body, status)
        try:
            content, media = await self._body(request, mount, self.limits.body, *MEDIA.values())
            champion = mount.champion  # one from here on: it may be swapped while a body arrives
            return ResponseInPieces(await self.predictions.explain(champion, content, media))
        except BadRequestError as error:
            mount.counters.error("bad_explain")
            return _refusal(error)
        except QueueFullError:
            mount.counters.error("busy")
            raise
        except Exception as error:  # noqa: BLE001 - a fault of ours is answered as one, without the values it may name
            _log.error("a request could not be explained: %s", trace(error))
            mount.counters.error("internal")
            return Response(error_body("INTERNAL_ERROR", "see the service's log"), 500)


def _refusal(error: BadRequestError) -> Response:
    headers = {name.decode(): value.decode() for name, value in headers_of(error)}
    return Response(error_body("BAD_REQUEST", str(error)), error.status, headers)


async def _busy(_: Request, error: Exception) -> Response:  # noqa: ARG001 - as Starlette calls it
    reply = unavailable("too many such requests at once", b"")
    return Response(reply.body, reply.status, {name.decode(): value.decode() for name, value in reply.headers})


async def _say_error(_: Request, error: Exception) -> Response:
    """Say what a router says the way every error is said here."""
    status, headers = (error.status_code, error.headers) if isinstance(error, HTTPException) else (500, None)
    code = "RESOURCE_DOES_NOT_EXIST" if status == 404 else "BAD_REQUEST"
    return Response(error_body(code, HTTPStatus(status).phrase), status, headers=headers)
