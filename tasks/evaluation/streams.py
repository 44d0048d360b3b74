"""An alarm over a life of looks that stays true however often one looks.

A value comes in by the hour, the day or the batch: the loss of a champion, a share missing, a column's mean. Each look
asks whether it lies above (or away from) what the values before it would give, and the evidence of all looks is added
up in odds, an e-process: whatever one does with them, odds of 20 to 1 are ever reached by at most one unchanged stream
in twenty over a life of a year (Ville 1939; Ramdas et al. 2023). An alarm rings once, and stays.

A look is judged in four steps, the same functions for one stream and for many at once (arrays over the last axis):

1. The value becomes a normal score by the reference.
2. Its mean in this season (hour of day or of week) and what the look before and a moving average foretell are taken
   off, all learnt by recursion from the looks before: recursive residuals (Brown, Durbin, Evans 1975) carry the error
   of mean, season and dependence exactly, so none builds up over a year.
3. The residual becomes a normal score among all residuals before (conformal rank, Vovk et al. 2005; for small changes
   it is divided by their deviation instead: a rank also loses what the change has already put among the residuals
   before, which is half of the evidence of a slow one), and is divided by what dependence and unrest are left over.
4. A mixture over sizes and over all looks at which a change may have begun bets on it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from expectations.errors import SeriesError
from tasks.evaluation.cadences import Rules, joined_looks
from tasks.evaluation.e_process_state import State
from tasks.evaluation.e_processes import MAX_ODDS, Bank, looks_needed, season_of

FORMAT = 1


@dataclass(frozen=True)
class LookResult:
    """What one look says.

    Attributes
    ----------
    odds : float
        That the stream has changed, to 1. At most 1e12.
    rang_at : float or None
        Event time of the look at which it first rang in this life; it stays until the life ends.
    since : float or None
        Event time at which the change most likely began; None where the odds are not above 1.
    size : float or None
        The change in deviations of the reference, as normal scores.
    judged : bool
        False for a look after a gap (it only foretells the next), and where nothing can be said at all.
    """

    odds: float
    rang_at: float | None
    since: float | None
    size: float | None
    judged: bool

    @property
    def rung(self) -> bool:
        """Whether the alarm stands."""
        return self.rang_at is not None


class Stream:
    """One stream, look after look.

    Parameters
    ----------
    values, times : sequences of float
        The reference: what was measured while all was well, and the event times in seconds, rising, at most one a look.
    rules : Rules
    zone : str
        The use case's zone, for the hour of day and the day.

    Raises
    ------
    SeriesError
        If a value is not finite, times do not rise, or the reference is too short.

    Examples
    --------
    >>> random = np.random.default_rng(0)
    >>> hours = [3600.0 * hour for hour in range(1000)]
    >>> stream = Stream(random.normal(10, 2, 720), hours[:720], Rules())
    >>> calm = [stream.look(value, hour) for value, hour in zip(random.normal(10, 2, 80), hours[720:], strict=False)]
    >>> late = [stream.look(value, hour) for value, hour in zip(random.normal(13, 2, 80), hours[800:], strict=False)]
    >>> calm[-1].rung, late[-1].rung
    (False, True)
    """

    def __init__(self, values: Sequence[float], times: Sequence[float], rules: Rules, zone: str = "UTC") -> None:
        self.rules, self.zone = rules, ZoneInfo(zone)
        self.rang_at: float | None = None
        self.time = -math.inf
        placed: list[tuple[int, int]] = []
        for value, time in zip(values, times, strict=True):
            self._check(value, time)
            placed.append(self._place(time, len(placed)))
            self.time = time
        indices, slots = np.array(placed, dtype=np.int64).reshape(-1, 2).T
        reference, least = np.array(values, dtype=np.float64)[:, None], rules.cadence.least
        joined = joined_looks(indices)
        if joined < least:
            raise SeriesError(
                f"a reference of at least {least} looks, each by the {rules.every} and following the one before",
                f"{joined} of {len(indices)}",
                "Give more of the past, or look less often (by the day, by the batch)",
            )
        season = int(season_of(reference, indices, slots, rules)[0])
        self._bank = Bank(reference, indices, slots, season, rules)

    def look(self, value: float, time: float) -> LookResult:
        """Take in the next value.

        Parameters
        ----------
        value : float
        time : float
            Event time in seconds, after that of the look before. Hours and days without rows are left out.
        """
        self._check(value, time)
        bank, cadence = self._bank, self.rules.cadence
        if bank.state.looked >= cadence.life:
            self.rang_at = None
        index, slot = self._place(time, bank.state.index + 1)
        self.time = time
        judged = bank.look(np.array([value], dtype=np.float64), index, slot, time)
        odds = float(bank.odds()[0])
        if odds >= self.rules.needed and self.rang_at is None:
            self.rang_at = time
        since = size = None
        if odds > 1:
            since, size = (float(each[0]) for each in bank.change())
        return LookResult(min(odds, MAX_ODDS), self.rang_at, since, size, judged and bool(bank.independent[0]))

    def looks_needed(self, shift: float = 0.5) -> int | None:
        """Return after how many looks a shift of so many deviations is expected to ring; None: not within a year."""
        if not self._bank.independent[0]:
            return None
        return looks_needed(float(self._bank.evidence(shift)[0]), self._bank.state.judged, self.rules)

    def to_dict(self) -> dict[str, Any]:
        """Return all that the next look needs, as plain numbers: JSON keeps every one of them exactly."""
        bank = self._bank
        state = {field.name: getattr(bank.state, field.name) for field in fields(State)}
        return {
            "format": FORMAT,
            "rules": asdict(self.rules),
            "zone": self.zone.key,
            "time": self.time,
            "rang_at": self.rang_at,
            "order": bank.order,
            "deviation": bank.deviation.tolist(),
            "independent": bank.independent.tolist(),
            "state": {name: each.tolist() if isinstance(each, np.ndarray) else each for name, each in state.items()},
        }

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> Stream:
        """Return the stream that `to_dict` was asked of."""
        if kept.get("format") != FORMAT:
            raise SeriesError(
                f"the state of a stream in format {FORMAT}", f"format {kept.get('format')!r}", "Begin it anew"
            )
        stream = cls.__new__(cls)
        stream.rules, stream.zone = Rules(**kept["rules"]), ZoneInfo(kept["zone"])
        stream.time, stream.rang_at = kept["time"], kept["rang_at"]
        stream._bank = Bank.resumed(  # noqa: SLF001 (its own class)
            np.array(kept["order"]).T,
            np.array(kept["deviation"]),
            np.array(kept["independent"]),
            stream.rules,
            {name: np.array(each) if isinstance(each, list) else each for name, each in kept["state"].items()},
        )
        return stream

    def _check(self, value: float, time: float) -> None:
        if not (math.isfinite(value) and math.isfinite(time)):
            raise SeriesError(
                "a finite value at a finite time",
                f"{value} at {time}",
                "Leave out looks without rows, rather than giving NaN",
            )
        if time <= self.time:
            raise SeriesError(
                "looks in the order of time",
                f"a look at {time} after one at {self.time}",
                "Sort them, one for each time",
            )

    def _place(self, time: float, following: int) -> tuple[int, int]:
        """Return the number of a look's hour, day or batch, and its hour of the week in the zone."""
        if self.rules.every == "batch":
            return following, 0
        local = datetime.fromtimestamp(time, self.zone)
        if self.rules.every == "day":
            return local.toordinal(), 0
        return int(time // 3600), local.weekday() * 24 + local.hour
