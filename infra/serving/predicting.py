"""`/invocations`: from a request to a reply, whichever way it came in."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import msgspec

from infra.serving.access import Access
from infra.serving.admission import Admission, Admitted, Limits, refusal
from infra.serving.answering import (
    Answer,
    Question,
    ScoredAnswer,
    compose,
    compose_in_steps,
    prepare,
    rows_a_record,
    score,
    understand,
    understand_in_steps,
)
from infra.serving.asgi import JOINED_BYTES, join
from infra.serving.bad_requests import BadRequestError
from infra.serving.explainer import Explainer
from infra.serving.faults import trace
from infra.serving.forms import check_opening
from infra.serving.journal_writer import Journal
from infra.serving.models import Model
from infra.serving.mount import Mount
from infra.serving.mounts import Mounts
from infra.serving.offloading import Offloader
from infra.serving.pieces import PIECE_BYTES
from infra.serving.plain_bodies import PlainBodies
from infra.serving.protocol import Media
from infra.serving.record_streams import JournalUnwritableError
from infra.serving.replies import Reply, check, error_body, too_large, unavailable, unwritable
from infra.serving.request_sizes import LOOP_SECONDS, SMALL_BYTES, is_large_question, is_small
from infra.serving.shadowing import ShadowScorer
from infra.serving.steps import Steps

MAX_EXPLAINING = 32
"""Requests for explanations that wait; more are asked to come again."""
_PATH = "/invocations"
_log = logging.getLogger("driftwheel.serving")
_encode = msgspec.json.Encoder().encode
T = TypeVar("T")


Done = Callable[[Reply], None]


class _Request(msgspec.Struct, frozen=True):
    """A request under way."""

    mount: Mount
    request_id: bytes
    started: float
    done: Done
    shadowing: Model | None
    """Scores it too, once it is answered."""


class Predictions(Admission):
    """Answers requests for predictions.

    Nothing here waits: a reply is handed to a function once the request is scored, logged, and as safe as it shall be.

    Parameters
    ----------
    mounts : Mounts
    journal : Journal
    access : Access
    limits : Limits
    """

    def __init__(self, mounts: Mounts, journal: Journal, access: Access, limits: Limits) -> None:
        super().__init__(mounts, access, limits)
        self.journal = journal
        self._scoring, self._joining = Offloader(), Offloader()
        self.explaining = Offloader(MAX_EXPLAINING, nice=True)
        self._explainer = Explainer()
        self.bodies, self.shadows = PlainBodies(mounts), ShadowScorer(journal)

    def close(self) -> None:
        """End what scores beside the event loop; at the end of the process."""
        for each in (self._scoring, self.shadows, self._joining, self.bodies, self.explaining):
            each.close()
        self._explainer.close()

    def answer(self, path: str, admitted: Admitted, body: bytes, done: Done) -> None:
        """Predict, log, and only then hand over the reply, at once or later. Call it on the event loop."""
        started = time.perf_counter()
        name = _usecase_in(path)
        mount = self.mount(name)
        if mount is None or mount.champion is None:
            status, why = self.no_model(name, mount)
            done(Reply(status, _encode(why), admitted.request_id))
            return
        mount.counters.requests += 1
        if not admitted.plain:
            self._unpack(mount, admitted, body, started, done)
        elif is_small(body, mount.champion):
            self._take_up(mount, admitted, body, started, done)
        else:
            self._queue(mount, admitted, body, started, done)

    def refuse_at_opening(self, path: str, admitted: Admitted, parts: list[bytes]) -> Reply | None:
        """Refuse a large body by what came of it, where no more is needed to know that it will be."""
        mount = self.mount(_usecase_in(path))
        if mount is None or mount.champion is None or not admitted.plain or admitted.media != "json":
            return None
        try:
            check_opening(b"".join(parts)[: 2 * PIECE_BYTES])
        except BadRequestError as error:
            mount.counters.requests += 1
            return refusal(mount, error, admitted.request_id)
        return None

    def answer_parts(self, path: str, admitted: Admitted, parts: list[bytes], done: Done) -> None:
        """Do what `answer` does, with a body as it came. One that is large is joined beside the event loop."""

        def joined(body: bytes | Exception) -> None:
            if isinstance(body, Exception):
                done(unavailable("no memory for a body of this size", admitted.request_id))
            else:
                self.answer(path, admitted, body, done)

        if len(parts) == 1:
            self.answer(path, admitted, parts[0], done)
        elif sum(map(len, parts)) < JOINED_BYTES:
            self.answer(path, admitted, b"".join(parts), done)
        else:
            self._joining.run(partial(join, parts), joined)

    def _queue(self, mount: Mount, admitted: Admitted, body: bytes, started: float, done: Done) -> None:
        if is_small(body, mount.champion) or self._scoring.is_near():
            self._take_up(mount, admitted, body, started, done)
        elif not self._scoring.wait(partial(self._take_up, mount, admitted, body, started, done), len(body)):
            mount.counters.error("busy")
            done(unavailable("too many large requests at once", admitted.request_id))

    def _unpack(self, mount: Mount, admitted: Admitted, body: bytes, started: float, done: Done) -> None:
        """Make a plain body beside the event loop, and queue that."""
        request = _Request(mount, admitted.request_id, started, done, None)
        try:
            check(admitted.media, admitted.coding)
        except BadRequestError as error:
            self._fail(request, error)
            return
        plain = Admitted(admitted.request_id, "csv" if admitted.media == "csv" else "json")

        def unpacked(result: bytes | Exception) -> None:
            if isinstance(result, Exception):
                self._fail(request, result)
            else:
                self._queue(mount, plain, result, started, done)

        if not self.bodies.unpack(body, admitted.media, admitted.coding, mount, self.limits.body, unpacked):
            mount.counters.error("busy")
            done(unavailable("too many bodies to unpack at once", admitted.request_id))

    async def explain(self, model: Model, body: bytes, media: Media) -> bytes:
        """Explain the rows of a plain body, when its turn comes.

        Raises
        ------
        BadRequestError
        QueueFullError
            If too many wait already.
        """
        return await self.explaining.result(partial(self._explainer.explain, model, body, media), len(body))

    def _take_up(self, mount: Mount, admitted: Admitted, body: bytes, started: float, done: Done) -> None:
        # one read: the whole request is answered by one state of the mount
        champion, (candidate, mode) = mount.champion, mount.active()
        if champion is None:
            raise RuntimeError("a champion that was there is gone")
        request = _Request(mount, admitted.request_id, started, done, candidate if mode == "shadow" else None)
        try:
            self._check(admitted, body)
            answering = candidate if mode == "canary" else None
            at_once = SMALL_BYTES if admitted.media == "csv" or champion.reader.history else PIECE_BYTES
            if len(body) > at_once or champion.reader.pictures:
                steps = understand_in_steps(body, admitted.media, champion, answering, mount.share)
                self._scoring.hold()
                self._step(steps, partial(self._understood, request))
                return
            question = understand(body, admitted.media, champion, answering, mount.share)
            if is_large_question(question):
                self._score_offloaded(request, question)
                return
            found = compose(question, score(question), logged=self.journal.writes)
        except Exception as error:  # noqa: BLE001 - a fault of ours becomes a reply
            self._fail(request, error)
        else:
            self._log(request, question, found)

    def _check(self, admitted: Admitted, body: bytes) -> None:
        if len(body) > self.limits.body:
            raise too_large(self.limits.body)
        if admitted.media == "other":
            check(admitted.media, admitted.coding)

    def _step(self, steps: Steps[T], then: Callable[[T | Exception], None]) -> None:
        """Take one step, and the next once others had their turn."""
        try:
            next(steps)
        except StopIteration as done:
            result: T = done.value
            then(result)
        except Exception as error:  # noqa: BLE001 - handed over, whatever it is
            then(error)
        else:
            asyncio.get_running_loop().call_soon(self._step, steps, then)

    def _understood(self, request: _Request, question: Question | Exception) -> None:
        """Score what was read in steps."""
        try:
            if isinstance(question, Exception):
                self._fail(request, question)
            elif is_large_question(question):
                self._score_offloaded(request, question)
            else:
                self._scored(request, question, score(question))
        except Exception as error:  # noqa: BLE001 - a fault of ours becomes a reply
            self._fail(request, error)
        finally:
            self._scoring.release()

    async def reply(self, path: str, admitted: Admitted, body: bytes) -> Reply:
        """Wait for the reply."""
        waits: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self.answer(path, admitted, body, lambda reply: None if waits.cancelled() else waits.set_result(reply))
        return await waits

    def _score_offloaded(self, request: _Request, question: Question) -> None:
        if len(question.rows) > 1 and len(question.rows) * question.champion.feature_seconds <= LOOP_SECONDS:
            question = prepare(question)
        self._scoring.run(partial(score, question), partial(self._scored, request, question))

    def _scored(self, request: _Request, question: Question, scored: ScoredAnswer | Exception) -> None:
        if isinstance(scored, Exception):
            self._fail(request, scored)
            return
        if len(question.rows) > rows_a_record(question.champion.reader):
            steps = compose_in_steps(question, scored, logged=self.journal.writes)
            self._step(steps, partial(self._composed, request, question))
            return
        try:
            found = compose(question, scored, logged=self.journal.writes)
        except Exception as error:  # noqa: BLE001 - as above
            self._fail(request, error)
        else:
            self._log(request, question, found)

    def _composed(self, request: _Request, question: Question, found: Answer | Exception) -> None:
        if isinstance(found, Exception):
            self._fail(request, found)
        else:
            self._log(request, question, found)

    def _fail(self, request: _Request, error: Exception) -> None:
        if isinstance(error, BadRequestError):
            request.done(refusal(request.mount, error, request.request_id))
            return
        _log.error("a request could not be answered: %s", trace(error))
        request.mount.counters.error("internal")
        request.done(Reply(500, error_body("INTERNAL_ERROR", "see the service's log"), request.request_id))

    def _log(self, request: _Request, question: Question, found: Answer) -> None:
        if not found.ids:
            self._logged(request, question, found, None)
            return
        logged = partial(self._logged, request, question, found)
        self.journal.submit(request.mount.usecase, "predictions", found.records, logged)

    def _logged(
        self, request: _Request, question: Question, found: Answer, error: JournalUnwritableError | None
    ) -> None:
        mount = request.mount
        if error is not None:
            if not self.limits.answer_unlogged:
                mount.counters.error("journal")
                request.done(unwritable(error, request.request_id))
                return
            mount.counters.unlogged += len(found.ids)
        mount.counters.rows += len(found.ids)
        mount.counters.seconds.add(time.perf_counter() - request.started)
        after = None
        if request.shadowing is not None:
            after = partial(self.shadows.score, mount.usecase, request.shadowing, question, found.ids)
        request.done(Reply(200, found.body, request.request_id, after=after))


def _usecase_in(path: str) -> str:
    return path[1 : -len(_PATH)] if len(path) > len(_PATH) else ""
