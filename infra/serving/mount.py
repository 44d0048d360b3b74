"""One use case as the service has it: who answers, who is tried beside it, and the swap from one to the next."""

from __future__ import annotations

import gc
import logging
from dataclasses import dataclass, field
from typing import Any, Literal

from infra.serving.counters import Counters
from infra.serving.looking_back import KeptHistory, series_needed
from infra.serving.models import Model
from tasks.preprocessing.history.earlier_rows import SeriesKey

_log = logging.getLogger("driftwheel.serving")
_THAW_EVERY = 8


@dataclass(frozen=True)
class Pending:
    """A desired state that is loaded and proved, and waits for the other workers."""

    generation: int
    champion: Model | None
    candidate: Model | None
    mode: Literal["prove", "shadow", "canary"]
    share: float
    watched: bool
    stands_in: bool
    """Whether the champion is the one before, as the desired one cannot be had."""
    at: float
    """When it was ready, by the machine's monotonic clock."""


@dataclass
class Mount:
    """One use case: the champion that answers, the candidate beside it, and the champion before."""

    usecase: str
    generation: int = 0
    champion: Model | None = None
    candidate: Model | None = None
    mode: Literal["prove", "shadow", "canary"] = "prove"
    share: float = 0.0
    watched: bool = True
    """Whether the candidate is being judged."""
    previous: Model | None = None
    stands_in: bool = False
    """Whether the champion is the one before, since a cold start at which the desired one could not be had."""
    swaps: int = 0
    wanted: bool = False
    """Whether a champion is desired."""
    tried: bool = False
    """Whether it was tried to serve what is desired."""
    trouble: str = ""
    """Why something desired cannot be read at present; it is tried again."""
    again_at: float | None = None
    """When, by the machine's monotonic clock."""
    refused: dict[str, str] = field(default_factory=dict)
    """Bundle -> why it is not served."""
    pending: Pending | None = None
    stamp: tuple[int, int] = (0, 0)
    """Of the desired state that was read last."""
    counters: Counters = field(default_factory=Counters)
    history: KeptHistory | None = None
    """What models look back into, where any does."""

    def describe(self) -> dict[str, Any]:
        """Return what `/version` says."""

        def said(model: Model | None) -> dict[str, str] | None:
            if model is None:
                return None
            learnt = {"intervals": model.learnt.name} if model.learnt is not None else {}
            return {"bundle": model.bundle.digest, "version": model.version, **learnt}

        candidate = said(self.candidate)
        return {
            "generation": self.generation,
            "champion": said(self.champion),
            "candidate": (
                {**candidate, "mode": self.mode, "share": self.share, "watched": self.watched} if candidate else None
            ),
            "previous": said(self.previous),
            "swaps": self.swaps,
            "refused": dict(self.refused),
            "trouble": self.trouble,
            "history": self.history.mark if self.history else "",
        }

    def looked_back(self) -> dict[SeriesKey, str]:
        """Return which earlier rows models look back at that answer or are about to, and a column of each."""
        pending = (self.pending.champion, self.pending.candidate) if self.pending else ()
        models = [model for model in (self.champion, self.candidate, *pending) if model]
        return {key: name for model in models for key, name in series_needed(model.reader.history.columns).items()}

    def active(self) -> tuple[Model | None, Literal["prove", "shadow", "canary"]]:
        """Return the candidate and what it does: nothing while it is not watched."""
        return self.candidate, self.mode if self.watched else "prove"

    def in_use(self) -> set[str]:
        """Bundles that answer, may answer, or may come back."""
        pending = (self.pending.champion, self.pending.candidate) if self.pending else ()
        return {model.bundle.digest for model in (self.champion, self.candidate, self.previous, *pending) if model}

    def adopt(self) -> None:
        """Swap in what is pending: requests that began go on with the model they hold."""
        pending = self.pending
        if pending is None:
            return
        now, self.pending, swaps = pending.champion, None, self.swaps
        self.candidate, self.mode, self.share = pending.candidate, pending.mode, pending.share
        self.watched = pending.watched
        if now is not None:
            if self.champion is None or now.bundle.digest != self.champion.bundle.digest:
                self.previous = self.champion
                self.swaps += 1
                self.stands_in = pending.stands_in
                _log.info("%s now serves version %s (bundle %s)", self.usecase, now.version, now.bundle.digest[:12])
            self.champion = now
        for model in (self.candidate, self.champion):
            if model is not None:
                model.reader.history.usecase_counts = self.counters if model is self.champion else None
        # what is loaded stays: the collector need not walk it during requests. To look for models that are gone
        # among all that stays takes some tens of milliseconds, so it is not done at every swap.
        if self.swaps != swaps and self.swaps % _THAW_EVERY == 0:
            gc.unfreeze()
        gc.collect()
        gc.freeze()
        self.generation = pending.generation
