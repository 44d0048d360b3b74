"""Bodies that are compressed, or tables: what is unpacked is a plain body, which is read as any other.

What a client compressed may unpack to a thousand times as much, and a damaged table may end the process that reads it.
So both have bounds, and tables are read by a process of its own, `infra.serving.tables`, which is started for the first
of them and started again where one ended it.
"""

from __future__ import annotations

import logging
import signal
import zlib
from collections.abc import Sequence
from typing import Literal

import msgspec

from infra.serving.bad_requests import BadRequestError
from infra.serving.helper_process import HelperProcess
from infra.serving.protocol import Media
from infra.serving.tables import SECONDS, TableMedia, TableRequest

Coding = Literal["", "gzip", "deflate", "other"]
CODINGS: dict[bytes, Coding] = {
    b"": "",
    b"identity": "",
    b"gzip": "gzip",
    b"x-gzip": "gzip",
    b"deflate": "deflate",
}
"""Content encoding -> how a body is unpacked."""
_log = logging.getLogger("driftwheel.serving")
TABLES: dict[Media, TableMedia] = {
    "parquet": "parquet",
    "arrow stream": "arrow stream",
    "arrow file": "arrow file",
}
"""Kinds of bodies that become JSON first."""
_MAX_MEMBERS = 64
"""Of a gzip file, which may be several in one."""
_STEP_BYTES = 1024 * 1024
_GZIP, _ZLIB, _DEFLATE = 31, 15, -15
"""Kinds of wrapping around what was deflated, as zlib numbers them."""


class Unpacker:
    """Makes plain bodies. Call it from one thread."""

    def __init__(self) -> None:
        self._helper = HelperProcess("infra.serving.tables", {"POLARS_MAX_THREADS": "1"})

    def unpack(
        self, body: bytes, media: Media, coding: Coding, columns: Sequence[str], most_rows: int, most_bytes: int
    ) -> bytes:
        """Return the body as JSON or CSV.

        Parameters
        ----------
        columns : sequence of str
            Those of a table that are read.
        most_rows, most_bytes : int
            Of what it unpacks to.

        Raises
        ------
        BadRequestError
            If it is not what it is called, or unpacks to too much.
        """
        if coding:
            body = decompress(body, coding, most_bytes)
        if media not in TABLES:
            return body
        return self._read_table(TableRequest(TABLES[media], list(columns), most_rows, most_bytes, len(body)), body)

    def close(self) -> None:
        """End the process that reads tables."""
        self._helper.close()

    def _read_table(self, asked: TableRequest, body: bytes) -> bytes:
        answer = self._ask(asked, body) or self._ask_again(asked, body)
        if answer is None:
            raise BadRequestError(f"the body is damaged, or takes over {SECONDS} seconds or too much memory to read")
        status, content = answer
        if status:
            raise BadRequestError(content.decode(), status)
        return content

    def _ask_again(self, asked: TableRequest, body: bytes) -> tuple[int, bytes] | None:
        """Have a new process read a table where the last one ended, but not over that table."""
        process = self._helper.process
        if process is None:
            return None
        code, overdue = process.wait(), self._helper.overdue
        if code == 0 or (code == -signal.SIGKILL and not overdue):  # nobody had asked for long; an operator's
            return self._ask(asked, body)
        _log.warning("a table ended the process that reads tables: %s", "it took too long" if overdue else code)
        return None

    def _ask(self, asked: TableRequest, body: bytes) -> tuple[int, bytes] | None:
        """Have the other process read a table; None where it ended over it."""
        if not self._helper.is_running():
            self._helper.start()
            self._helper.wait_until_ready()
        return self._helper.ask(msgspec.json.encode(asked), body, SECONDS)


def decompress(body: bytes, coding: Coding, most: int) -> bytes:
    """Unpack what was compressed.

    Raises
    ------
    BadRequestError
        If it is damaged, or unpacks to more than `most` bytes.
    """
    parts: list[bytes] = []
    size = 0
    try:
        for _ in range(_MAX_MEMBERS):
            unpacking, rest = zlib.decompressobj(_wrapping(body, coding)), body
            while rest and not unpacking.eof:
                parts.append(unpacking.decompress(rest, _STEP_BYTES))
                size += len(parts[-1])
                if size > most:
                    raise BadRequestError(f"the body is larger than {most} bytes once it is unpacked", 413)
                rest = unpacking.unconsumed_tail
            if not unpacking.eof:
                raise BadRequestError(f"the body ends before its {coding} does")
            body = unpacking.unused_data
            if not body:
                return b"".join(parts)
            if coding != "gzip":
                break
    except zlib.error:
        raise BadRequestError(f"the body is not {coding}, as its content encoding says") from None
    raise BadRequestError(f"more follows the body's {coding}")


def _wrapping(body: bytes, coding: Coding) -> int:
    """Return how it is wrapped: some send what is called deflate without the wrapping it should have."""
    if coding == "gzip":
        return _GZIP
    wrapped = len(body) > 1 and body[0] & 0x0F == zlib.DEFLATED and int.from_bytes(body[:2]) % 31 == 0
    return _ZLIB if wrapped else _DEFLATE
