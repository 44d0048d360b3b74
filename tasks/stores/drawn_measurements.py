"""Measurements read as far as pictures of many windows need them: of each column whether it drifted, and how far."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from tasks.evaluation.causes.model import Causes
from tasks.evaluation.drifted import Drifted, Status
from tasks.stores.measured_parts import Covered, FairnessMeasured, SliceMeasured
from tasks.stores.measurements import FORMAT, Glimpse, Measurement, read_measurement


class DrawnColumn(msgspec.Struct, frozen=True, gc=False):
    """What is drawn of a column in a window: `Drifted` without its words, of which a page would read 20,000."""

    column: str
    status: Status
    score: float | None = None
    by: str = ""

    @property
    def drifted(self) -> bool:
        """Whether it differs by more than chance can do."""
        return self.status == "drifted"


class DrawnMeasurement(Glimpse, frozen=True):
    """What is drawn and listed of a window; the fields are those of `Measurement`."""

    drift: tuple[DrawnColumn, ...] = ()
    causes: Causes | None = None
    slices: tuple[SliceMeasured, ...] | None = None
    fairness: tuple[FairnessMeasured, ...] | None = None
    covered: Covered | None = None

    @property
    def drifted(self) -> tuple[DrawnColumn, ...]:
        """Columns that drifted, worst first."""
        return tuple([each for each in self.drift if each.status == "drifted"])


DrawnWindow = DrawnMeasurement | Measurement
FoundColumn = DrawnColumn | Drifted
_drawn = msgspec.json.Decoder(DrawnMeasurement)


def read_drawn(contents: Sequence[str]) -> list[DrawnWindow]:
    """Read measurements as they are kept, oldest first: the newest whole, those before it as they are drawn.

    Raises
    ------
    DatabaseError
        As `read_measurement`.
    """
    return [*map(_read, contents[:-1]), *map(read_measurement, contents[-1:])]


def _read(content: str) -> DrawnWindow:
    try:
        found = _drawn.decode(content)
    except msgspec.DecodeError:
        return read_measurement(content)
    if not found.rows or found.status == "unknown" or found.format > FORMAT:  # what it lacks is looked for there
        return read_measurement(content)
    return found
