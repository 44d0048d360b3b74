"""Replies as the bytes of HTTP/1.1."""

from __future__ import annotations

from http import HTTPStatus

from infra.serving.replies import SAFE_HEADERS, Reply, error_body

_STATUS = {status.value: f"{status.value} {status.phrase}".encode() for status in HTTPStatus}
_SAFE = b"".join(b"%s: %s\r\n" % header for header in SAFE_HEADERS)


def last_words(status: int, message: str) -> bytes:
    """Write a refusal after which the connection is closed."""
    body = error_body("BAD_REQUEST", message)
    return b"HTTP/1.1 %s\r\n%scontent-length: %d\r\nconnection: close\r\n\r\n%s" % (
        _STATUS[status],
        _SAFE,
        len(body),
        body,
    )


def on_the_wire(reply: Reply, *, keep: bool) -> bytes:
    """Write a reply as HTTP/1.1."""
    headers = b"".join(b"%s: %s\r\n" % header for header in reply.headers) if reply.headers else b""
    return b"HTTP/1.1 %s\r\n%sx-request-id: %s\r\n%s%scontent-length: %d\r\n\r\n%s" % (
        _STATUS[reply.status],
        _SAFE,
        reply.request_id,
        headers,
        b"" if keep else b"connection: close\r\n",
        len(reply.body),
        reply.body,
    )
