"""The ASGI application. Starlette routes everything but `/invocations`, which is answered without its overhead."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from infra.serving.journal import Journal, JournalUnwritableError
from infra.serving.mounts import Model, Mount, Mounts
from infra.serving.protocol import BadRequestError

SERVICE_VERSION = "0.1.0"
MOST_BYTES = 16 * 1024 * 1024
POLL_SECONDS = 0.25
LARGEST_LABEL = 1e300
_log = logging.getLogger("driftwheel.serving")
_encode = msgspec.json.Encoder().encode


class _Metrics:
    def __init__(self, mounts: Mounts, journal: Journal) -> None:
        self.registry = CollectorRegistry()
        labels = ["usecase"]
        self.requests = Counter("driftwheel_requests", "Requests for predictions", labels, registry=self.registry)
        self.rows = Counter("driftwheel_rows", "Rows predicted", labels, registry=self.registry)
        self.errors = Counter(
            "driftwheel_errors", "Requests refused or failed", ["usecase", "kind"], registry=self.registry
        )
        self.latency = Histogram(
            "driftwheel_latency_seconds",
            "Time to answer",
            labels,
            registry=self.registry,
            buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
        )
        lag = Gauge("driftwheel_journal_open_bytes", "Bytes a harvest would not see yet", registry=self.registry)
        lag.set_function(journal.open_bytes)
        self._swaps = Gauge("driftwheel_swaps", "Times the champion was swapped", labels, registry=self.registry)
        self._model = Gauge(
            "driftwheel_model_info", "Version served", ["usecase", "version", "bundle"], registry=self.registry
        )
        self._mounts = mounts

    def text(self) -> bytes:
        self._model.clear()
        for name, mount in self._mounts.by_name.items():
            self._swaps.labels(name).set(mount.swaps)
            if mount.champion is not None:
                self._model.labels(name, mount.champion.version, mount.champion.bundle.digest[:12]).set(1)
        return generate_latest(self.registry)


class Service:
    """The application: give it to an ASGI server.

    Parameters
    ----------
    mounts : Mounts
    journal : Journal
    """

    def __init__(self, mounts: Mounts, journal: Journal) -> None:
        self.mounts, self.journal = mounts, journal
        self.metrics = _Metrics(mounts, journal)
        self._rest: ASGIApp = Starlette(
            routes=[
                Route("/livez", lambda _: PlainTextResponse("ok\n")),
                Route("/ping", lambda _: PlainTextResponse("\n")),
                Route("/health", lambda _: PlainTextResponse("OK\n")),
                Route("/readyz", self._readyz),
                Route("/version", self._version),
                Route("/metrics", lambda _: Response(self.metrics.text(), media_type=CONTENT_TYPE_LATEST)),
                Route("/journal/seal", self._seal, methods=["POST"]),
                Route("/feedback", self._feedback, methods=["POST"]),
                Route("/{usecase}/feedback", self._feedback, methods=["POST"]),
            ],
            lifespan=self._lifespan,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection event."""
        if scope["type"] == "http" and scope["path"].endswith("/invocations"):
            await self._invocations(scope, receive, send)
        else:
            await self._rest(scope, receive, send)

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        await self.mounts.reconcile()
        task = asyncio.create_task(self._keep())
        yield
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                await self.mounts.reconcile()
                self.journal.close_old()
            except OSError as error:  # a disk that is full or away: said, and tried again
                _log.error("the releases or the journal cannot be reached: %s", error)

    # --- predictions --------------------------------------------------------------------------------------------------

    async def _invocations(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        name = scope["path"].removesuffix("/invocations").strip("/")
        if scope["method"] != "POST":
            await _answer(send, 405, {"error_code": "BAD_REQUEST", "message": "use POST"}, [(b"allow", b"POST")])
            return
        mount = self._mount(name)
        if mount is None or mount.champion is None:
            await _answer(send, *self._no_model(name, mount))
            return
        model = mount.champion  # one read: the whole request is answered by one model
        self.metrics.requests.labels(mount.usecase).inc()
        try:
            body = await _read(scope, receive)
            rows, params = model.reader.read(body)
            answer = await self._predict(mount.usecase, model, rows, params)
        except BadRequestError as error:
            self.metrics.errors.labels(mount.usecase, "bad_request").inc()
            await _answer(send, 400, {"error_code": "BAD_REQUEST", "message": str(error)})
            return
        except JournalUnwritableError as error:
            self.metrics.errors.labels(mount.usecase, "journal").inc()
            await _answer(
                send,
                503,
                {"error_code": "TEMPORARILY_UNAVAILABLE", "message": f"predictions cannot be logged: {error}"},
                [(b"retry-after", b"5")],
            )
            return
        await _send(send, 200, answer)
        self.metrics.rows.labels(mount.usecase).inc(len(rows))
        self.metrics.latency.labels(mount.usecase).observe(time.perf_counter() - started)

    async def _predict(self, usecase: str, model: Model, rows: list[dict[str, Any]], params: Any) -> bytes:  # noqa: ANN401
        manifest = model.bundle.manifest
        output = params.get("output", "default")
        if output not in ("default", "label"):
            raise BadRequestError("`params.output` is `default` or `label`")
        predictions = model.predict(rows)
        if not np.isfinite(predictions).all():
            raise BadRequestError(f"row {int(np.argmin(np.isfinite(predictions)))} has no finite prediction")
        values = predictions.tolist()
        noise = os.urandom(12 * len(rows)).hex()
        ids = [noise[start : start + 24] for start in range(0, len(noise), 24)]
        now = datetime.now(UTC).isoformat()
        clock = manifest.clock
        lines = [
            _encode(
                {
                    "id": id_,
                    "event_time": row.get(clock),
                    "served_at": now,
                    "version": model.version,
                    "bundle": model.bundle.digest,
                    "prediction": value,
                    "row": row,
                }
            )
            for id_, row, value in zip(ids, rows, values, strict=True)
        ]
        if lines:
            await self.journal.append(usecase, "predictions", b"\n".join(lines) + b"\n")
        if output == "label" and manifest.task == "binary_classification":
            values = [int(value >= manifest.threshold) for value in values]
        return _encode({"predictions": values, "ids": ids, "version": model.version})

    def _mount(self, name: str) -> Mount | None:
        if name:
            return self.mounts.by_name.get(name)
        only = list(self.mounts.by_name.values())
        return only[0] if len(only) == 1 else None

    def _no_model(self, name: str, mount: Mount | None) -> tuple[int, dict[str, str]]:
        served = ", ".join(sorted(self.mounts.by_name)) or "none"
        if mount is not None:
            return 503, {"error_code": "TEMPORARILY_UNAVAILABLE", "message": f"{mount.usecase} has no model yet"}
        wanted = f"no use case {name!r}" if name else "name the use case: /NAME/invocations"
        return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": f"{wanted}; served here: {served}"}

    # --- the rest -----------------------------------------------------------------------------------------------------

    async def _readyz(self, _: Request) -> Response:
        lacking = self.mounts.ready()
        return JSONResponse({"ready": not lacking, "waiting_for": lacking}, 503 if lacking else 200)

    async def _version(self, _: Request) -> Response:
        return JSONResponse(
            {
                "service": SERVICE_VERSION,
                "instance": self.journal.instance,
                "usecases": {name: mount.describe() for name, mount in self.mounts.by_name.items()},
            }
        )

    async def _seal(self, request: Request) -> Response:
        usecase = request.query_params.get("usecase")
        self.journal.adopt()
        self.journal.seal(usecase)
        return JSONResponse({"sealed": usecase or "all"})

    async def _feedback(self, request: Request) -> Response:
        mount = self._mount(request.path_params.get("usecase", ""))
        if mount is None:
            status, body = self._no_model(request.path_params.get("usecase", ""), None)
            return JSONResponse(body, status)
        try:
            labels = _read_feedback(await request.body())
        except BadRequestError as error:
            return JSONResponse({"error_code": "BAD_REQUEST", "message": str(error)}, 400)
        now = datetime.now(UTC).isoformat()
        content = b"".join(_encode({"id": id_, "label": label, "received_at": now}) + b"\n" for id_, label in labels)
        try:
            await self.journal.append(mount.usecase, "feedback", content)
        except JournalUnwritableError as error:
            return JSONResponse(
                {"error_code": "TEMPORARILY_UNAVAILABLE", "message": str(error)}, 503, headers={"retry-after": "5"}
            )
        return JSONResponse({"accepted": len(labels)})


def _read_feedback(body: bytes) -> list[tuple[str, float]]:
    try:
        data = msgspec.json.decode(body)
    except (ValueError, RecursionError) as error:
        raise BadRequestError(f"the body is not JSON: {error}") from None
    items = data.get("feedback") if isinstance(data, dict) and "feedback" in data else [data]
    if not isinstance(items, list) or not items:
        raise BadRequestError('feedback is {"id": …, "label": …} or {"feedback": [{…}, …]}')
    found = []
    for position, item in enumerate(items):
        if not isinstance(item, dict) or not isinstance(item.get("id"), str):
            raise BadRequestError(f"item {position} needs the `id` of a prediction")
        label = item.get("label")
        if not isinstance(label, bool | int | float) or abs(label) > LARGEST_LABEL:
            raise BadRequestError(f"item {position} needs a `label`, a number")
        found.append((item["id"], float(label)))
    return found


async def _read(scope: Scope, receive: Receive) -> bytes:
    for name, value in scope["headers"]:
        if name == b"content-type" and not value.startswith(b"application/json"):
            raise BadRequestError("the content type must be application/json")
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise BadRequestError("the client went away")
        part = message.get("body", b"")
        size += len(part)
        if size > MOST_BYTES:
            raise BadRequestError(f"the body is larger than {MOST_BYTES} bytes")
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)


async def _answer(
    send: Send, status: int, body: dict[str, Any], headers: list[tuple[bytes, bytes]] | None = None
) -> None:
    await _send(send, status, _encode(body), headers)


async def _send(send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]] | None = None) -> None:
    lines = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *(headers or [])]
    await send({"type": "http.response.start", "status": status, "headers": lines})
    await send({"type": "http.response.body", "body": body})
