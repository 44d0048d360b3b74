"""The reference of a window's inputs, where another is declared than what the champion learnt from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from zoneinfo import ZoneInfo

import polars as pl

from expectations.references import LEARNT
from expectations.usecase import UseCase
from expectations.windows import Window
from tasks.bundles.bundle import Bundle
from tasks.evaluation.drifted import Drifted, undetermined
from tasks.evaluation.sketches import Reference, references_from_dict, sketch
from tasks.monitoring.learnt import learnt_rows
from tasks.monitoring.watched_columns import only_watched
from tasks.stores.known import Known
from tasks.stores.measured_parts import HeldAgainst


@dataclass(frozen=True)
class ChosenReference:
    """What a window is held against.

    Attributes
    ----------
    tables : sequence of Reference
    unknown : sequence of Drifted
        Inputs that are watched, and of which the choice allows nothing to be said.
    said : HeldAgainst or None
        What is kept of it with the measurement; None for what the champion learnt from, where that was declared.
    """

    tables: Sequence[Reference]
    unknown: Sequence[Drifted] = ()
    said: HeldAgainst | None = None


class CollectedPast:
    """Collected rows before a window, as a choice of a reference sees them: only the times it asks for are read."""

    def __init__(self, champion: Bundle, known: Known, inputs: Sequence[str], before: datetime) -> None:
        self.champion, self.known, self.inputs, self.before = champion, known, list(inputs), before
        self.timezone, self.learnt_until = known.spec.local_zone, champion.manifest.learnt_until
        self._clock = known.spec.time_column
        self._newest, self._since = list[pl.DataFrame](), before

    @cached_property
    def _first(self) -> datetime | None:
        query = self.known.scan("raw", columns=[self._clock], until=self.before).select(pl.col(self._clock).min())
        found: datetime | None = self.known.lake.collect("raw", query).item()
        return found

    def first(self) -> datetime | None:
        """Return the time of the first row."""
        return self._first

    def rows(self, since: datetime, until: datetime) -> pl.DataFrame:
        """Return inputs of rows in [since, until).

        What was read stays at hand: choices that are compared ask for much the same times again and again.
        """
        if since < self._since or not self._newest:
            self._newest.insert(0, self._read(since, self._since))
            self._since = min(since, self._since)
        clock = pl.col(self._clock)
        return pl.concat(self._newest).filter((clock >= since) & (clock < until)).select(self.inputs)

    @cached_property
    def _learnt(self) -> pl.DataFrame:
        return learnt_rows(self.known, self.champion.manifest, self.inputs)[0]

    def learnt(self) -> pl.DataFrame:
        """Return inputs of rows that were learnt from."""
        return self._learnt

    def between(self, spans: Sequence[tuple[datetime, datetime]]) -> tuple[pl.DataFrame, pl.Series]:
        """Return inputs of rows before the window in any of these spans, and their times."""
        found = pl.concat([self._read(since, min(until, self.before)) for since, until in spans])
        return found.select(self.inputs), found[self._clock]

    def _read(self, since: datetime, until: datetime) -> pl.DataFrame:
        return self.known.rows("raw", columns=[*self.inputs, self._clock], since=since, until=until)


def hold_against_chosen(window: Window, champion: Bundle, known: Known) -> ChosenReference:
    """Return what a window is held against: predictions and labels always against what the champion learnt from."""
    tables, spec = references_from_dict(champion.reference()), known.spec
    choice, inputs = spec.monitoring.reference, set(champion.inputs)
    if not tables or choice.of == LEARNT:
        return ChosenReference(tables)
    own = next((each for each in tables if inputs & {*each.inputs}), tables[0])
    names = [name for name in own.inputs if name in inputs]
    past = CollectedPast(champion, known, names, window.start)
    chosen = choice.choose(window, past)
    if chosen.of == LEARNT:
        return ChosenReference(tables, said=HeldAgainst(LEARNT))
    others = [each for each in tables if each is not own]
    zone = ZoneInfo(spec.local_zone)  # days are read off it: those that were declared
    spans = tuple((since.astimezone(zone), until.astimezone(zone)) for since, until in chosen.spans)
    if chosen.why:
        said = HeldAgainst(chosen.of, spans, why=chosen.why)
        return ChosenReference(others, _unknown(own, champion, spec, chosen.why), said)
    rows, times = past.between(chosen.spans)
    if len(rows) < spec.monitoring.min_rows:
        why = f"{chosen.of}: {len(rows)} rows to be held against, and monitoring.min_rows is {spec.monitoring.min_rows}"
        return ChosenReference(
            others, _unknown(own, champion, spec, why), HeldAgainst(chosen.of, spans, len(rows), why)
        )
    return ChosenReference(
        [sketch(rows, times, timezone=spec.local_zone), *others], (), HeldAgainst(chosen.of, spans, len(rows))
    )


def _unknown(own: Reference, champion: Bundle, spec: UseCase, why: str) -> list[Drifted]:
    return [undetermined(name, why) for name in only_watched(own, champion, spec).columns]
