"""Has explanations made by another process, `infra.serving.explanations`, once they are many.

That process has the model as soon as it has loaded it. Until then, where it cannot, where its memory does not suffice
or it fails otherwise, and where it ends, explanations are made here: the answers are the same, to the last byte.
"""

from __future__ import annotations

import logging
import time

import msgspec

from infra.serving.bad_requests import BadRequestError
from infra.serving.explaining import answer
from infra.serving.explanations import DONE, FAILED, UNKNOWN, ExplanationRequest
from infra.serving.helper_process import HelperProcess
from infra.serving.models import Model
from infra.serving.protocol import Media

MANY_SECONDS = 0.25
"""Explanations that took less of the processor are worth no process."""
PAUSE_SECONDS = 1.0
"""Between two starts of the process; twice as long after each end of it without an answer since, to a minute."""
_PATIENCE_SECONDS = 10.0
"""An answer of the process may take so long: on a machine that is busy with all else it has no turn."""
_LOADING_SECONDS = 60.0
_AGAIN_SECONDS = 60.0
"""After so long it may try again what took too long, or what it could not load or explain."""
_log = logging.getLogger("driftwheel.serving")
_encode = msgspec.json.Encoder().encode


class Explainer:
    """Explains. Call it from one thread, and `close` at the end."""

    def __init__(self) -> None:
        self.helper = HelperProcess("infra.serving.explanations")
        self._spent = 0.0
        self._start_at, self._pause = 0.0, PAUSE_SECONDS
        self._loading: tuple[str, float] | None = None
        self._loaded: set[str] = set()
        self._refused: dict[str, float] = {}
        self._closed = False

    def explain(self, model: Model, body: bytes, media: Media) -> bytes:
        """Read a body, explain its rows, and write what was found.

        Raises
        ------
        BadRequestError
            As of `infra.serving.explaining`.
        """
        found = self._ask(model, body, media) if self.is_at_hand(model) else None
        if found is not None:
            return found
        started = time.thread_time()
        try:
            return answer(model, body, media)
        finally:
            self._spent += time.thread_time() - started

    def close(self) -> None:
        """End the process, for ever."""
        self._closed = True
        self.helper.close()

    def _ask(self, model: Model, body: bytes, media: Media) -> bytes | None:
        """Have the other process explain; None where it did not."""
        request = _request(model)
        request.media, request.size = media, len(body)
        found = self.helper.ask(_encode(request), body, _PATIENCE_SECONDS)
        if found is None:
            self.helper.stop()  # it may still be ending, and is asked no more
            if self.helper.overdue:
                self._start_at = time.monotonic() + _AGAIN_SECONDS
            return None
        self._pause = PAUSE_SECONDS
        status, content = found
        if status == UNKNOWN:  # others were asked for since
            self._loaded.discard(model.bundle.digest)
            return None
        if status == FAILED:  # a fault of ours fails here, too, and says so
            self._refuse(model.bundle.digest, "failed", content)
            return None
        if status != DONE:
            raise BadRequestError(content.decode(), status)
        return content

    def is_at_hand(self, model: Model) -> bool:
        """Whether the other process has a model; what is lacking is begun, and nobody waits for it."""
        if self._closed or self._spent < MANY_SECONDS or not self._is_running():
            return False
        if self._loading is not None:
            self._look()
        digest, now = model.bundle.digest, time.monotonic()
        if self._refused.get(digest, now) > now:
            return False
        if digest in self._loaded:
            return self._loading is None  # one thing after the other
        if self._loading is None and self.helper.is_running():
            self.helper.tell(_encode(_request(model)))
            self._loading = digest, now
        return False

    def _is_running(self) -> bool:
        """Whether the process runs; one that ended is started again after a pause."""
        if self.helper.is_running():
            return True
        process, now = self.helper.process, time.monotonic()
        if process is not None:
            loading, self._loading, self._loaded = self._loading, None, set()
            self.helper.close()
            if process.returncode == 0:  # nobody had asked for long
                self._spent = 0.0
                return False
            _log.warning("the process that explains ended with %d: explanations are made here", process.returncode)
            self._start_at = max(self._start_at, now + (self._pause if loading is None else _AGAIN_SECONDS))
            if loading is None:
                self._pause = min(2 * self._pause, _AGAIN_SECONDS)
            else:
                self._refuse(loading[0], "ended over loading it", b"%d" % process.returncode)
        if now < self._start_at:
            return False
        self._start_at = now + PAUSE_SECONDS
        try:
            self.helper.start()
        except OSError as error:
            self._start_at = now + _AGAIN_SECONDS
            _log.warning("no process explains, and explanations are made here: %s", error.strerror)
            return False
        return True

    def _look(self) -> None:
        """See whether the model is loaded that was to be."""
        digest, since = self._loading or ("", 0.0)
        said = self.helper.has_said()
        if not said and time.monotonic() - since <= _LOADING_SECONDS:
            return
        found = self.helper.answer(_PATIENCE_SECONDS) if said else None
        if found is None:  # `_is_running` sees that it ended over this
            self.helper.stop()
            return
        self._loading = None
        if found[0] == DONE:
            self._loaded.add(digest)
        else:
            self._refuse(digest, "cannot load it", found[1])

    def _refuse(self, digest: str, why: str, where: bytes) -> None:
        """Explain a model here for a while."""
        self._refused[digest] = time.monotonic() + _AGAIN_SECONDS
        _log.warning("bundle %s is explained here: the process that explains %s: %s", digest[:12], why, where.decode())


def _request(model: Model) -> ExplanationRequest:
    bundle, reader = model.bundle, model.reader
    kept = reader.history.kept
    return ExplanationRequest(
        str(bundle.folder),
        bundle.digest,
        model.version,
        reader.most_rows,
        reader.secret,
        history="" if kept is None else str(kept.path),
    )
