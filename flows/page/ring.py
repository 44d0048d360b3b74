"""The ring of the eight stages, and how each went last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from flows.page.states import Tone
from tasks.stores.glances import Glances, LedgerLine
from tasks.stores.measurements import Glimpse


@dataclass(frozen=True)
class Stage:
    """One of the eight stages of the ring, and how it went last."""

    name: str
    flow: str
    task: str
    tone: Tone
    word: str
    when: datetime | None
    said: str


MARK_TONES: Mapping[str, Tone] = {
    "retrain": "busy",
    "recalibrate": "busy",
    "promoted": "good",
    "rollback": "bad",
    "rolled back": "bad",
    "withdrawn": "worse",
    "hold": "bad",
    "warn": "worse",
}
_ENDED: Mapping[str, tuple[Tone, str]] = {
    "done": ("good", "done"),
    "promoted": ("good", "promoted"),
    "rolled back": ("bad", "rolled back"),
    "held": ("bad", "held"),
    "failed": ("bad", "failed"),
    "refused": ("worse", "refused"),
    "withdrawn": ("worse", "withdrawn"),
    "unknown": ("unknown", "unknown"),
    "late": ("worse", "late rows"),
    "lost": ("bad", "rows lost"),
}


@dataclass(frozen=True)
class _Part:
    """A stage of the ring.

    Attributes
    ----------
    task : str
        The task in Prefect whose time is its own; all of the flow where none is.
    kind : str
        Kind of the ledger's entries that say how it went; none of monitor, which the newest window shows.
    begins : bool
        Whether it is well where what comes after it in its flow was refused.
    """

    name: str
    flow: str
    task: str
    kind: str
    begins: bool = False


_RING = (
    _Part("collect", "collect", "collect sources", "collect"),
    _Part("clean", "collect", "validate and repair", "collect"),
    _Part("prepare", "train", "select rows", "train", begins=True),
    _Part("train", "train", "train and judge", "train", begins=True),
    _Part("evaluate", "train", "publish gates", "train"),
    _Part("deploy", "deploy", "", "deploy"),
    _Part("monitor", "monitor", "measure windows", ""),
    _Part("decide", "monitor", "decide", "decision"),
)
_MEASURED: Mapping[str, Tone] = {"good": "good", "violated": "worse"}


def stages_of(glances: Glances, connection: Connection, name: str, windows: Sequence[Glimpse]) -> tuple[Stage, ...]:
    """Return the eight stages of a use case, each with how it went last."""
    kinds = ("collect", "train", "deploy", "decision")
    last = {line.kind: line for kind in kinds for line in glances.lines(connection, name, 1, kinds=(kind,))}
    return tuple(_stage(part, last.get(part.kind), windows) for part in _RING)


def _stage(part: _Part, line: LedgerLine | None, windows: Sequence[Glimpse]) -> Stage:
    tone: Tone = "none"
    word, when, said = "not yet", None, ""
    if part.name == "monitor" and windows:
        newest = windows[-1]
        tone = _MEASURED.get(newest.status, "unknown")
        word, said = f"{newest.rows:,} rows", f"window {newest.name}: {newest.status}"
    elif line is not None:
        tone, word = _ENDED.get(line.action, ("good", line.action))
        when, said = line.recorded_at, line.summary
        if part.name == "decide":
            tone, word = MARK_TONES.get(line.action, "good"), line.action
        elif part.begins and line.action != "failed":
            tone, word = "good", "done"
    return Stage(part.name, part.flow, part.task, tone, word, when, said)
