"""Which requests for predictions are admitted, and which use case they are for."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import msgspec

from infra.serving.access import Access
from infra.serving.bad_requests import BadRequestError
from infra.serving.mount import Mount
from infra.serving.mounts import Mounts
from infra.serving.protocol import MEDIA, Media
from infra.serving.replies import (
    Headers,
    Reply,
    coding_of,
    error_body,
    headers_of,
    is_decent,
    media_of,
    new_request_id,
    refusal_of_key,
    too_large,
)
from infra.serving.unpacking import TABLES, Coding

_log = logging.getLogger("driftwheel.serving")


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


class Admitted(msgspec.Struct, frozen=True):
    """What the headers of a request that may pass say."""

    request_id: bytes
    media: Media
    coding: Coding = ""
    plain: bool = True
    """Whether the body can be read as it comes."""


class Admission:
    """Lets requests pass, or says why not.

    Parameters
    ----------
    mounts : Mounts
    access : Access
    limits : Limits
    """

    def __init__(self, mounts: Mounts, access: Access, limits: Limits) -> None:
        self.mounts, self.access, self.limits = mounts, access, limits

    def admit(self, headers: Headers) -> Admitted | Reply:
        """Read the headers; refuse a request without a key, or one that says it is too large."""
        request_id, content_type, length, encoding = b"", b"application/json", b"0", b""
        for name, value in headers:
            if name == b"content-type":
                content_type = value
            elif name == b"content-length":
                length = value
            elif name == b"x-request-id" and is_decent(value):
                request_id = value
            elif name == b"content-encoding":
                encoding = encoding + b"," + value if encoding else value
        request_id = request_id or new_request_id()
        refused = self.access.refuses(headers, "predict")
        if refused:
            return refusal_of_key(refused, request_id)
        if int(length) > self.limits.body:
            return self.too_large(request_id)
        media = MEDIA.get(content_type) or media_of(content_type)
        coding = coding_of(encoding) if encoding else ""
        if not coding and media not in TABLES:
            return Admitted(request_id, media)
        return Admitted(request_id, media, coding, plain=False)

    def admit_again(self, headers: Headers, before: Admitted) -> Admitted | Reply:
        """Check the key of a request whose headers were read before and let pass."""
        request_id = new_request_id()
        refused = self.access.refuses(headers, "predict")
        if refused:
            return refusal_of_key(refused, request_id)
        return Admitted(request_id, before.media, before.coding, before.plain)

    def mount(self, name: str) -> Mount | None:
        """Find a use case by name; the only one where none is named."""
        if name:
            return self.mounts.by_name.get(name)
        only = list(self.mounts.by_name.values())
        return only[0] if len(only) == 1 else None

    def no_model(self, name: str, mount: Mount | None) -> tuple[int, dict[str, str]]:
        """Say why there is no one to answer."""
        served = ", ".join(sorted(self.mounts.by_name)) or "none"
        if mount is not None:
            return 503, {"error_code": "TEMPORARILY_UNAVAILABLE", "message": f"{mount.usecase} has no model yet"}
        wanted = "no such use case" if name else "name the use case: /NAME/invocations"
        return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": f"{wanted}; served here: {served}"}

    def too_large(self, request_id: bytes) -> Reply:
        """Refuse a body beyond the limit."""
        error = too_large(self.limits.body)
        return Reply(error.status, error_body("BAD_REQUEST", str(error)), request_id)


def refusal(mount: Mount, error: BadRequestError, request_id: bytes) -> Reply:
    """Count and log a bad request, and say what is wrong with it."""
    mount.counters.error("bad_request")
    _log.info(
        "refused",
        extra={
            "request_id": request_id.decode("latin-1"),
            "usecase": mount.usecase,
            "status": error.status,
            "why": str(error),
        },
    )
    return Reply(error.status, error_body("BAD_REQUEST", str(error)), request_id, headers_of(error))
