"""What the service answers where it predicts nothing, and what it reads of a request's headers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import msgspec

from infra.serving.bad_requests import BadRequestError
from infra.serving.protocol import MEDIA, Media
from infra.serving.random_ids import random_text
from infra.serving.record_streams import JournalUnwritableError
from infra.serving.unpacking import CODINGS, Coding

RETRY_SECONDS = 5
_REQUEST_ID_LENGTH = 64
_RETRY = ((b"retry-after", str(RETRY_SECONDS).encode()),)
_TAKES_CODINGS = ((b"accept-encoding", b"gzip, deflate"),)

_encode = msgspec.json.Encoder().encode

Headers = Sequence[tuple[bytes, bytes]]

SAFE_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"content-type", b"application/json"),
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
)


class Reply(msgspec.Struct, frozen=True):
    """What goes back, and what is done once it is on its way."""

    status: int
    body: bytes
    request_id: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()
    after: Callable[[], None] | None = None


class UnknownCodingError(BadRequestError):
    """The body is compressed in a way that is not known here."""


def headers_of(error: BadRequestError) -> tuple[tuple[bytes, bytes], ...]:
    """Return headers that go with an error."""
    return _TAKES_CODINGS if isinstance(error, UnknownCodingError) else ()


def media_of(content_type: bytes) -> Media:
    """Return how a content type says that a body is read."""
    return MEDIA.get(content_type.partition(b";")[0].strip().lower(), "other")


def coding_of(content_encoding: bytes) -> Coding:
    """Return how a content encoding says that a body is unpacked."""
    return CODINGS.get(content_encoding.strip().lower(), "other")


def check(media: Media, coding: Coding, taken: Collection[Media] = frozenset(MEDIA.values())) -> None:
    """Refuse a body that is not read here.

    Raises
    ------
    BadRequestError
    """
    if coding == "other":
        raise UnknownCodingError("the content encoding must be gzip or deflate, or none be given", 415)
    if media not in taken:
        names = [name.decode() for name, kind in MEDIA.items() if kind in taken]
        raise BadRequestError(f"the content type must be {' or '.join(names)}", 415)


def too_large(most: int) -> BadRequestError:
    """Say that a body is beyond the limit."""
    return BadRequestError(f"the body is larger than {most} bytes", 413)


def is_decent(request_id: bytes) -> bool:
    """Whether a client's own id of a request is taken over."""
    return len(request_id) <= _REQUEST_ID_LENGTH and request_id.replace(b"-", b"").isalnum()


def new_request_id() -> bytes:
    """Make an id for a request that has none."""
    return random_text(16).encode()


def request_id_of(headers: Headers) -> bytes:
    """Return the client's own id of a request where it sent a decent one, else a new one."""
    for name, value in headers:
        if name == b"x-request-id" and is_decent(value):
            return value
    return new_request_id()


def error_body(code: str, message: str) -> bytes:
    """Write an error as MLflow does."""
    return _encode({"error_code": code, "message": message})


def refusal_of_key(status: int, request_id: bytes) -> Reply:
    """Say that a key is missing or may not do this."""
    if status == 401:
        body = error_body("UNAUTHENTICATED", "send a key: Authorization: Bearer KEY, or X-API-Key")
        return Reply(401, body, request_id, ((b"www-authenticate", b"Bearer"),))
    why = (
        "this key may not do that; while there is no key at all, only requests to localhost or a loopback address are "
        "answered, and no pages from elsewhere: `driftwheel keys add NAME` makes one"
    )
    return Reply(403, error_body("PERMISSION_DENIED", why), request_id)


def unwritable(error: JournalUnwritableError, request_id: bytes) -> Reply:
    """Say that nothing may be answered while it cannot be logged."""
    return unavailable(f"predictions cannot be logged: {error}", request_id)


def unavailable(why: str, request_id: bytes) -> Reply:
    """Ask a client to come again later."""
    return Reply(503, error_body("TEMPORARILY_UNAVAILABLE", why), request_id, _RETRY)
