"""The small picture of a message: the metric of the newest windows, with its interval and its bar."""

from __future__ import annotations

import io
import logging
from collections.abc import Sequence
from datetime import UTC
from functools import cached_property

import msgspec

from expectations.errors import DriftwheelError
from expectations.loading import LoadedUseCase
from flows.page.known import greater_is_better
from infra.settings import Settings
from tasks.stores.glances import Glances
from tasks.stores.measurements import Glimpse, read_glimpse
from tasks.stores.messages import Message

_WINDOWS = 30
_MIN = 2
"""Windows whose metric is known, of which a line can be drawn."""
_SHOWN_BY = frozenset({
    "held", "drift", "loss", "slices", "unfair", "rollback", "not-taken-back", "not-compared", "rising", "refused",
    "withdrawn", "unseen",
})  # fmt: skip
"""Kinds of findings that the course of the metric says something about."""
_FAULTS = (
    DriftwheelError, msgspec.MsgspecError, ArithmeticError, ImportError, LookupError, OSError, RuntimeError, TypeError,
    ValueError,
)  # fmt: skip
"""What reading measurements, matplotlib and its fonts raise: of odd numbers, dates and names, and of a full disk."""
_log = logging.getLogger("driftwheel.flows")


class MessagePicture:
    """The picture that messages of one use case carry: drawn once, when the first asks for it.

    Parameters
    ----------
    settings : Settings
    usecase : LoadedUseCase
    """

    def __init__(self, settings: Settings, usecase: LoadedUseCase) -> None:
        self._settings, self._usecase = settings, usecase

    def of(self, message: Message) -> bytes | None:
        """Return the picture of a message, as PNG; None where the metric says nothing about it, or there is none."""
        shown = message.digest or any(each.kind in _SHOWN_BY for each in message.findings)
        return self.png if shown else None

    @cached_property
    def png(self) -> bytes | None:
        """The course of the use case's metric; None where fewer than two windows know it.

        None also where it cannot be read or drawn, which is logged: no message waits for its picture.
        """
        rules = self._usecase.spec.monitoring.performance
        if not rules:
            return None
        glances = Glances(self._settings.platform().url)
        try:
            with glances.reading() as connection:
                windows = glances.newest(connection, self._usecase.name, _WINDOWS, read_glimpse)
            return draw_course(self._usecase.name, rules[0].metric, windows)
        except _FAULTS as error:
            _log.warning("messages of %s carry no picture: %s", self._usecase.name, type(error).__name__)
            return None


def draw_course(name: str, metric: str, windows: Sequence[Glimpse]) -> bytes | None:
    """Draw a metric by window, 640 by 240 pixels; None where fewer than two windows know it."""
    found = [(each.end.astimezone(UTC), each.known(metric)) for each in windows]
    known = [(at, each) for at, each in found if each is not None and each.value is not None]
    if len(known) < _MIN:
        return None
    from matplotlib.figure import Figure  # a second and 40 MB, for a message that has a picture

    figure = Figure(figsize=(6.4, 2.4), dpi=100, layout="constrained")
    axes = figure.subplots()
    values = [(at, each.value) for at, each in known]
    bounded = [(at, each.low, each.high) for at, each in known if each.low is not None and each.high is not None]
    if bounded:
        at, low, high = zip(*bounded, strict=True)
        axes.fill_between(at, low, high, color="#1f6feb", alpha=0.15, linewidth=0)
    bar = [(at, each.bar(greater_is_better(metric))) for at, each in known]
    if any(each is not None for _, each in bar):
        axes.plot(*zip(*bar, strict=True), color="#bf8700", linewidth=1.2, linestyle="--", label="bar")
    axes.plot(*zip(*values, strict=True), "o-", color="#1f6feb", linewidth=1.8, markersize=3.5, label=metric)
    axes.set_title(f"{name}: {metric} of the newest {len(known)} windows", loc="left", fontsize=9)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=7, loc="best")
    made = io.BytesIO()
    figure.savefig(made, format="png")
    return made.getvalue()
