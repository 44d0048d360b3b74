"""The reference of a window's inputs, where another is declared than what the champion learnt from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl

from expectations.references import LEARNT
from expectations.usecase import UseCase
from expectations.windows import Window
from tasks.bundles.bundle import Bundle
from tasks.evaluation.drifted import Drifted, cannot_tell
from tasks.evaluation.sketches import Reference, references_from_dict, sketch
from tasks.stores.known import Known


@dataclass(frozen=True)
class Held:
    """What a window is held against.

    Attributes
    ----------
    tables : sequence of Reference
    unknown : sequence of Drifted
        Inputs that are watched, and of which the choice allows nothing to be told.
    said : dict
        What is kept of it with the measurement, spans in the use case's local time; empty for what the champion learnt
        from, where that was declared.
    """

    tables: Sequence[Reference]
    unknown: Sequence[Drifted] = ()
    said: dict[str, Any] = field(default_factory=dict)


class CollectedPast:
    """Collected rows before a window, as a choice of a reference sees them."""

    def __init__(self, champion: Bundle, known: Known, inputs: Sequence[str], before: datetime) -> None:
        self.champion, self.known, self.inputs, self.before = champion, known, list(inputs), before
        self.timezone, self.cutoff = known.spec.local_zone, champion.manifest.cutoff

    @cached_property
    def _all(self) -> pl.DataFrame:
        clock = self.known.spec.time_column
        return self.known.rows("raw", columns=list(dict.fromkeys((*self.inputs, clock))), until=self.before)

    @property
    def _times(self) -> pl.Series:
        return self._all[self.known.spec.time_column]

    def first(self) -> datetime | None:
        """Return the time of the first row."""
        return self._times.min()  # type: ignore[return-value] # of instants

    def rows(self, since: datetime, until: datetime) -> pl.DataFrame:
        """Return inputs of rows in [since, until)."""
        return self._all.filter((self._times >= since) & (self._times < until)).select(self.inputs)

    def learnt(self) -> pl.DataFrame:
        """Return inputs of rows that were learnt from."""
        return self._all.filter(self._times <= self.cutoff).tail(self.champion.manifest.rows).select(self.inputs)

    def between(self, spans: Sequence[tuple[datetime, datetime]]) -> tuple[pl.DataFrame, pl.Series]:
        """Return inputs of rows in any of these spans, and their times."""
        kept = [self._all.filter((self._times >= since) & (self._times < until)) for since, until in spans]
        found = pl.concat(kept)
        return found.select(self.inputs), found[self.known.spec.time_column]


def hold_against_chosen(window: Window, champion: Bundle, known: Known) -> Held:
    """Return what a window is held against: predictions and labels always against what the champion learnt from."""
    tables, spec = references_from_dict(champion.reference()), known.spec
    choice, inputs = spec.monitoring.reference, set(champion.inputs)
    if not tables or choice.of == LEARNT:
        return Held(tables)
    own = next((each for each in tables if inputs & {*each.columns, *each.unwatched}), tables[0])
    names = [name for name in (*own.columns, *own.unwatched) if name in inputs]
    past = CollectedPast(champion, known, names, window.start)
    chosen = choice.choose(window, past)
    if chosen.of == LEARNT:
        return Held(tables, said={"of": LEARNT})
    others = [each for each in tables if each is not own]
    zone = ZoneInfo(spec.local_zone)  # days are read off it: those that were declared
    spans = [[each.astimezone(zone).isoformat() for each in span] for span in chosen.spans]
    said: dict[str, Any] = {"of": chosen.of, "spans": spans}
    if chosen.why:
        return Held(others, _unknown(own, spec, chosen.why), {**said, "why": chosen.why})
    rows, times = past.between(chosen.spans)
    said["rows"] = len(rows)
    if len(rows) < spec.monitoring.min_rows:
        why = f"{chosen.of}: {len(rows)} rows to be held against, and monitoring.min_rows is {spec.monitoring.min_rows}"
        return Held(others, _unknown(own, spec, why), {**said, "why": why})
    return Held([sketch(rows, times, timezone=spec.local_zone), *others], (), said)


def _unknown(own: Reference, spec: UseCase, why: str) -> list[Drifted]:
    watched = spec.monitoring.drift.columns
    kept = own if watched == "all" else own.only(watched)
    return [cannot_tell(name, why) for name in kept.columns]
