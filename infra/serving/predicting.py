"""`/invocations`: from a request to a reply, whichever way it came in."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import msgspec

from infra.serving.access import Access
from infra.serving.answering import Answer, answer, shadow
from infra.serving.journal import Journal, JournalUnwritableError
from infra.serving.mounts import Model, Mount, Mounts
from infra.serving.noise import random_text
from infra.serving.protocol import BadRequestError

RETRY_SECONDS = 5
_REQUEST_ID_LENGTH = 64
_PATH = "/invocations"
_log = logging.getLogger("driftwheel.serving")
_encode = msgspec.json.Encoder().encode

Headers = Sequence[tuple[bytes, bytes]]

SAFE_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"content-type", b"application/json"),
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
)


@dataclass(frozen=True)
class Limits:
    """What a request may weigh, and what happens when it cannot be logged.

    Attributes
    ----------
    body : int
        Bytes.
    answer_unlogged : bool
        Answer also where the journal cannot be written; such rows are counted, and lost to monitoring.
    """

    body: int = 16 * 1024 * 1024
    answer_unlogged: bool = False


class Reply(NamedTuple):
    """What goes back, and what is done once it is on its way."""

    status: int
    body: bytes
    request_id: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()
    after: Callable[[], None] | None = None


class _Begun(NamedTuple):
    """A request that is answered but for its log."""

    mount: Mount
    found: Answer
    request_id: bytes
    started: float
    body: bytes
    shadowing: Model | None


class Predictions:
    """Answers requests for predictions.

    Parameters
    ----------
    mounts : Mounts
    journal : Journal
    access : Access
    limits : Limits
    """

    def __init__(self, mounts: Mounts, journal: Journal, access: Access, limits: Limits) -> None:
        self.mounts, self.journal, self.access, self.limits = mounts, journal, access, limits

    def reply(self, path: str, headers: Headers, body: bytes) -> Reply:
        """Answer at once; for a journal that needs no waiting."""
        begun = self._begin(path, headers, body)
        if isinstance(begun, Reply):
            return begun
        try:
            if begun.found.lines:
                self.journal.write(begun.mount.usecase, "predictions", begun.found.lines)
        except JournalUnwritableError as error:
            return self._unlogged(begun, error)
        return self._conclude(begun)

    async def reply_durably(self, path: str, headers: Headers, body: bytes) -> Reply:
        """Answer once the lines are as safe as the journal's durability says."""
        begun = self._begin(path, headers, body)
        if isinstance(begun, Reply):
            return begun
        try:
            if begun.found.lines:
                await self.journal.append(begun.mount.usecase, "predictions", begun.found.lines)
        except JournalUnwritableError as error:
            return self._unlogged(begun, error)
        return self._conclude(begun)

    def mount(self, name: str) -> Mount | None:
        """Find a use case by name; the only one where none is named."""
        if name:
            return self.mounts.by_name.get(name)
        only = list(self.mounts.by_name.values())
        return only[0] if len(only) == 1 else None

    def no_model(self, name: str, mount: Mount | None) -> tuple[int, dict[str, str]]:
        """Say why there is nobody to answer."""
        served = ", ".join(sorted(self.mounts.by_name)) or "none"
        if mount is not None:
            return 503, {"error_code": "TEMPORARILY_UNAVAILABLE", "message": f"{mount.usecase} has no model yet"}
        wanted = "no such use case" if name else "name the use case: /NAME/invocations"
        return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": f"{wanted}; served here: {served}"}

    def refuse_early(self, headers: Headers) -> Reply | None:
        """Refuse a request by its headers alone: without a key, or too large."""
        refused = self.access.refuses(headers, "predict")
        if refused:
            return refusal_of_key(refused, request_id_of(headers))
        declared = next((int(value) for name, value in headers if name == b"content-length"), 0)
        return self.too_large(headers) if declared > self.limits.body else None

    def too_large(self, headers: Headers) -> Reply:
        """Refuse a body that outgrew the limit while it arrived."""
        return Reply(
            413, error_body("BAD_REQUEST", f"the body is larger than {self.limits.body} bytes"), request_id_of(headers)
        )

    def _begin(self, path: str, headers: Headers, body: bytes) -> _Begun | Reply:
        """Admit a request and compute its answer: all there is to do before it is logged."""
        started = time.perf_counter()
        request_id = request_id_of(headers)
        refused = self.access.refuses(headers, "predict")
        if refused:
            return refusal_of_key(refused, request_id)
        name = path[1 : -len(_PATH)] if len(path) > len(_PATH) else ""
        mount = self.mount(name)
        if mount is None or mount.champion is None:
            status, why = self.no_model(name, mount)
            return Reply(status, _encode(why), request_id)
        mount.tally.requests += 1
        # one read: the whole request is answered by one state of the mount
        champion, candidate, mode = mount.champion, mount.candidate, mount.mode
        try:
            check_weight(headers, len(body), self.limits.body)
            found = answer(body, champion, candidate if mode == "canary" else None, mount.share)
        except BadRequestError as error:
            return _refusal(mount, error, request_id)
        shadowing = candidate if mode == "shadow" else None
        return _Begun(mount, found, request_id, started, body, shadowing)

    def _unlogged(self, begun: _Begun, error: JournalUnwritableError) -> Reply:
        """Refuse what cannot be logged, or go on without where that was asked for."""
        if self.limits.answer_unlogged:
            begun.mount.tally.unlogged += len(begun.found.ids)
            return self._conclude(begun)
        begun.mount.tally.error("journal")
        return unwritable(error, begun.request_id)

    def _conclude(self, begun: _Begun) -> Reply:
        mount, found = begun.mount, begun.found
        mount.tally.rows += len(found.ids)
        mount.tally.seconds.add(time.perf_counter() - begun.started)
        after = None
        if begun.shadowing is not None:
            after = partial(self._shadow, mount.usecase, begun.shadowing, begun.body, found.ids)
        return Reply(200, found.body, begun.request_id, after=after)

    def _shadow(self, usecase: str, candidate: Model, body: bytes, ids: Sequence[str]) -> None:
        lines = shadow(body, candidate, ids)
        if lines:
            self.journal.write_soon(usecase, "shadows", lines)


def check_weight(headers: Headers, size: int, most: int) -> None:
    """Refuse what is no JSON or too much of it.

    Raises
    ------
    BadRequestError
    """
    if size > most:
        raise BadRequestError(f"the body is larger than {most} bytes", 413)
    for name, value in headers:
        if name == b"content-type" and value.partition(b";")[0].strip().lower() != b"application/json":
            raise BadRequestError("the content type must be application/json", 415)


def request_id_of(headers: Headers) -> bytes:
    """Return the client's own id of a request where it sent a decent one, else a new one."""
    for name, value in headers:
        if name == b"x-request-id" and len(value) <= _REQUEST_ID_LENGTH and value.replace(b"-", b"").isalnum():
            return value
    return random_text(16).encode()


def error_body(code: str, message: str) -> bytes:
    """Write an error as MLflow does."""
    return _encode({"error_code": code, "message": message})


def refusal_of_key(status: int, request_id: bytes) -> Reply:
    """Say that a key is missing or may not do this."""
    if status == 401:
        body = error_body("UNAUTHENTICATED", "send a key: Authorization: Bearer KEY, or X-API-Key")
        return Reply(401, body, request_id, ((b"www-authenticate", b"Bearer"),))
    return Reply(403, error_body("PERMISSION_DENIED", "this key may not do that"), request_id)


def unwritable(error: JournalUnwritableError, request_id: bytes) -> Reply:
    """Say that nothing may be answered while it cannot be logged."""
    body = error_body("TEMPORARILY_UNAVAILABLE", f"predictions cannot be logged: {error}")
    return Reply(503, body, request_id, ((b"retry-after", str(RETRY_SECONDS).encode()),))


def _refusal(mount: Mount, error: BadRequestError, request_id: bytes) -> Reply:
    mount.tally.error("bad_request")
    _log.info(
        "refused",
        extra={
            "request_id": request_id.decode("latin-1"),
            "usecase": mount.usecase,
            "status": error.status,
            "why": str(error),
        },
    )
    return Reply(error.status, error_body("BAD_REQUEST", str(error)), request_id)
