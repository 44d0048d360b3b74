"""Bodies of JSON or CSV, made beside the event loop from those that were compressed or are tables."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from infra.serving.mount import Mount
from infra.serving.mounts import Mounts
from infra.serving.offloading import Offloader
from infra.serving.protocol import Media
from infra.serving.unpacking import TABLES, Coding, Unpacker


class PlainBodies:
    """Has bodies unpacked, one after the other. Call it on the event loop.

    Parameters
    ----------
    mounts : Mounts
        Say how many rows a table may have.
    """

    def __init__(self, mounts: Mounts) -> None:
        self._mounts, self._unpacker, self._offloader = mounts, Unpacker(), Offloader(nice=True)

    def close(self) -> None:
        """End what unpacks; at the end of the process."""
        self._offloader.close()
        self._unpacker.close()

    def unpack(
        self,
        body: bytes,
        media: Media,
        coding: Coding,
        mount: Mount,
        most_bytes: int,
        done: Callable[[bytes | Exception], None],
    ) -> bool:
        """Hand over a plain body once it is made; False where too many wait already."""
        work = self._work(body, media, coding, mount, most_bytes)
        if self._offloader.is_near():
            self._offloader.run(work, done)
            return True
        return self._offloader.wait(partial(self._offloader.run, work, done), len(body))

    def _work(self, body: bytes, media: Media, coding: Coding, mount: Mount, most_bytes: int) -> Callable[[], bytes]:
        readers = [model.reader for model in (mount.champion, mount.candidate) if model is not None]
        columns = list(dict.fromkeys(name for reader in readers for name in reader.asked))
        return partial(self._unpacker.unpack, body, media, coding, columns, self._mounts.most_rows, most_bytes)

    async def result(self, body: bytes, media: Media, coding: Coding, mount: Mount, most_bytes: int) -> bytes:
        """Return a body of JSON or CSV, whatever it came as.

        Raises
        ------
        BadRequestError
            If it is not what it is called, or unpacks to more than `most_bytes`.
        QueueFullError
            If too many wait already.
        """
        if not coding and media not in TABLES:
            return body
        return await self._offloader.result(self._work(body, media, coding, mount, most_bytes), len(body))
