"""Shadows: what a candidate would have answered to requests that the champion answered."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from infra.serving.answering import Question, Run, shadow, shadow_records
from infra.serving.journal_writer import Journal
from infra.serving.models import Model
from infra.serving.offloading import Offloader
from infra.serving.request_sizes import is_large_again

MAX_SHADOW_BYTES = 16 * 1024 * 1024
"""Of bodies that wait for a candidate's shadow; more are left out, and counted."""
_SHADOW_BYTES = 4 * 1024
"""What one that waits takes beside its body."""


class ShadowScorer:
    """Scores answered requests again by a candidate. Call it on the event loop.

    Parameters
    ----------
    journal : Journal
        Takes what is scored.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal, self._offloader = journal, Offloader()
        self.waiting_bytes = 0

    def close(self) -> None:
        """End what scores beside the event loop; at the end of the process."""
        self._offloader.close()

    def score(self, usecase: str, candidate: Model, question: Question, ids: Sequence[str]) -> None:
        """Score what was answered and log it, at once or later; left out, and counted, where too much waits."""
        if not is_large_again(len(ids), candidate):
            self._log(usecase, question, ids, shadow(question, candidate))
            return
        size = len(question.body) + _SHADOW_BYTES
        if self.waiting_bytes + size > MAX_SHADOW_BYTES:  # slower than what comes in: nobody shall wait for it
            candidate.counters.skipped += 1
            return
        self.waiting_bytes += size
        self._offloader.run(partial(shadow, question, candidate), partial(self._scored, usecase, question, ids, size))

    def _scored(self, usecase: str, question: Question, ids: Sequence[str], size: int, run: Run | Exception) -> None:
        self.waiting_bytes -= size
        if isinstance(run, Exception):
            raise run
        self._log(usecase, question, ids, run)

    def _log(self, usecase: str, question: Question, ids: Sequence[str], run: Run) -> None:
        records = shadow_records(run, question.champion, ids)
        if records:  # nobody waits for them; where they cannot be written, the journal's trouble says so
            self._journal.submit(usecase, "shadows", records, lambda _: None)
