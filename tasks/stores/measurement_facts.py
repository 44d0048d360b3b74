"""The fields that a new measurement is made of, for the type checker: those of `Measurement` but window and format."""

from __future__ import annotations

from typing import Any, TypedDict

from expectations.deciding import Status
from tasks.evaluation.causes.model import Causes
from tasks.evaluation.drifted import Drifted
from tasks.evaluation.estimates.estimate import Estimate
from tasks.evaluation.realised import Realised
from tasks.stores.measurements import Covered, FairnessMeasured, FeedbackUse, SliceMeasured


class Facts(TypedDict, total=False):
    """What is measured of a window."""

    champion: str
    version: str
    rows: int
    coverage: float
    status: Status
    realised: tuple[Realised, ...]
    estimated: tuple[Estimate, ...]
    champion_rows: int
    labelled: int
    ripe: bool
    drift: tuple[Drifted, ...]
    served: dict[str, float | None]
    feedback: FeedbackUse
    causes: Causes | None
    slices: tuple[SliceMeasured, ...] | None
    fairness: tuple[FairnessMeasured, ...] | None
    covered: Covered | None
    reference: dict[str, Any]
    measures: dict[str, dict[str, Any]]
    unseen: int
    mix: dict[str, dict[str, float | None]]
    unwatched: dict[str, str]
