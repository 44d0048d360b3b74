"""What a replay found of the model that was never replaced, to be shown beside the loop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from expectations.contradictions import REPLAY


class _Window(msgspec.Struct, frozen=True):
    start: str
    static: float | None = None
    loop: float | None = None


class _Story(msgspec.Struct, frozen=True):
    metric: str
    windows: list[_Window]
    mean: dict[str, float | None] = {}
    trials: int = 0
    retrains: int = 0
    recalibrations: int = 0
    promotions: int = 0
    requests: int = 0
    failed_requests: int = 0


@dataclass(frozen=True)
class Walked:
    """A replay: its metric, the first model's value by the start of each window, and both means."""

    metric: str
    frozen: Mapping[str, float]
    means: tuple[float | None, float | None]
    windows: int
    trials: int
    retrains: int
    recalibrations: int
    promotions: int
    requests: int
    failed: int


def read_walked(folder: Path, name: str) -> Walked | None:
    """Read what a replay left in the home; None of what is none, or was walked by an older version.

    Parameters
    ----------
    folder : Path
        The home.
    """
    if not name.endswith(REPLAY):
        return None
    path = folder / "replays" / f"{name.removesuffix(REPLAY)}.json"
    try:
        story = msgspec.json.decode(path.read_bytes(), type=_Story)
    except (OSError, msgspec.MsgspecError):
        return None
    return Walked(
        story.metric,
        {each.start: each.static for each in story.windows if each.static is not None},
        (story.mean.get("static"), story.mean.get("loop")),
        len(story.windows),
        story.trials,
        story.retrains,
        story.recalibrations,
        story.promotions,
        story.requests,
        story.failed_requests,
    )
