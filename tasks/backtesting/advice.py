"""What the walks of many policies say: cost, regret against the best placement in hindsight, and which to take.

A policy's cost is counted in windows of relative loss: what its models lost beyond a fresh one in every window, and
`release_cost` for each release. The best placement is found by dynamic programming.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from expectations.deciding import Policy
from expectations.errors import DriftwheelError
from expectations.slots import POLICIES

Array = npt.NDArray[np.float64]
DEFAULT = "default"
"""Name of the use case's own policy among those that are walked."""
_RESAMPLES = 2000
_BLOCK = 3
"""Windows resampled together: what is lost in one is lost in the next."""
MIN_WINDOWS = 12
"""Windows a past needs before a policy is advised by it."""


def interval(differences: Array, *, seed: int = 0, confidence: float = 0.95) -> tuple[float, float]:
    """Return the interval of a sum over windows, by resampling blocks of them (circular; Politis and Romano 1992)."""
    count = len(differences)
    random = np.random.default_rng(seed)
    starts = random.integers(0, count, (_RESAMPLES, math.ceil(count / _BLOCK)))
    places = (starts[:, :, None] + np.arange(_BLOCK)).reshape(_RESAMPLES, -1)[:, :count] % count
    sums = differences[places].sum(axis=1)
    tail = (1 - confidence) / 2
    lower, upper = np.quantile(sums, [tail, 1 - tail])
    return float(lower), float(upper)


@dataclass(frozen=True)
class WalkedPolicy:
    """A policy with what its walk came to.

    Attributes
    ----------
    name : str
    spec : dict
        As it is written under `monitoring.policy`.
    mean : float
        The metric's mean over windows, of what would have been answered.
    trainings : int
        Full ones, the refused too; trials are not.
    lost, cost, regret : float
        Windows of relative loss beyond a fresh model in each; with what releases cost; and beyond the best placement.
    interval : tuple of float
        Of its cost beyond the default policy's, 95 %.
    by_window : ndarray of shape (n_windows,)
        Its cost.
    actions : tuple of str
        One decision a window.
    """

    name: str
    spec: Mapping[str, Any]
    mean: float
    trials: int
    trainings: int
    releases: int
    refused: int
    alerts: int
    lost: float
    cost: float
    regret: float
    interval: tuple[float, float]
    by_window: Array
    actions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Advice:
    """Which policy to take.

    Attributes
    ----------
    chosen : str
        Name of a policy: the default's wherever the past does not show another to be better.
    """

    chosen: str
    why: str


def advise(walked: Sequence[WalkedPolicy], default: WalkedPolicy) -> Advice:
    """Choose on the first half of a past, and hold the choice against the second.

    Another policy is advised only where it is better than the default beyond doubt on the first half, for all that
    were looked at (Bonferroni), and no worse on the second.
    """
    windows = len(default.by_window)
    if windows < MIN_WINDOWS:
        return Advice(default.name, f"{windows} windows cannot distinguish policies ({MIN_WINDOWS} are needed)")
    half = windows // 2
    others = [each for each in walked if each is not default]
    confidence = 1 - 0.05 / max(len(others), 1)
    best = min(others, key=lambda each: float(each.by_window[:half].sum()), default=None)
    if best is None:
        return Advice(default.name, "no other policy was walked")
    first, second = (best.by_window - default.by_window)[:half], (best.by_window - default.by_window)[half:]
    _, upper = interval(first, confidence=confidence)
    if upper >= 0:
        return Advice(
            default.name,
            f"the first {half} windows cannot distinguish the {len(others)} others from the default: {best.name} cost "
            f"{first.sum():+.2f} there, at most {upper:+.2f} beyond chance, and {second.sum():+.2f} in the rest",
        )
    if second.sum() > 0:
        return Advice(
            default.name,
            f"{best.name} was better in the first {half} windows ({first.sum():+.2f}) and worse in the rest "
            f"({second.sum():+.2f})",
        )
    return Advice(
        best.name,
        f"beside the default it cost {first.sum():+.2f} windows of loss in the first {half} windows, where it was "
        f"chosen, and {second.sum():+.2f} in the rest, which had no say",
    )


def candidates(windows: int, own: Policy, *, priced: bool = False) -> dict[str, dict[str, Any]]:
    """Return the policies that are walked where none is named: some fifty, by name.

    Parameters
    ----------
    own : Policy
        The use case's: its bounds (a cooldown, a budget, …) are kept to by each, where it declares no others.
    priced : bool
        Whether the use case's `costs` say what a release costs: then no policy says so itself.
    """
    found: dict[str, dict[str, Any]] = {}
    if priced:
        found["trial"] = {"trigger": "trial"}
        found["trial, twin"] = {"trigger": "trial", "challenger": "twin"}
    else:
        for cost in (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.25, 1.6, 2.0):
            found[f"trial {cost:g}"] = {"trigger": "trial", "release_cost": cost}
        for cost in (0.1, 0.2, 0.3, 0.4, 0.6, 0.8):
            found[f"trial {cost:g}, twin"] = {"trigger": "trial", "release_cost": cost, "challenger": "twin"}
    for violations, of in ((1, 1), (1, 2), (2, 2), (1, 3), (2, 3), (3, 3), (2, 4), (3, 4), (3, 5), (4, 5)):
        for releases in (None, 2):
            spec = {"trigger": "performance", "violations": violations, "of": of}
            bound = "" if releases is None else f", {releases} a year"
            budget = {} if releases is None else {"budget": {"releases": releases, "per": "1y"}}
            found[f"drop {violations} of {of}{bound}"] = {**spec, **budget}
    for every in range(1, max(2, windows)):
        if every <= 24:
            found[f"every {every}"] = {"trigger": "schedule", "windows": every}
    return {name: {**bounds_of(own), **spec} for name, spec in found.items()}


def bounds_of(policy: Policy) -> dict[str, Any]:
    """Return the bounds that a policy declares, as written; not those that it leaves at their defaults."""
    declared = policy.model_dump(mode="json", exclude_defaults=True)
    return {key: declared[key] for key in Policy.model_fields if key in declared and key != "trigger"}


def written(policy: Policy) -> dict[str, Any]:
    """Return a policy as a person would write it: its trigger, and the bounds it declares."""
    own = {
        key: each
        for key, each in policy.model_dump(mode="json").items()
        if key == "trigger" or (key not in Policy.model_fields and each is not None)
    }
    return {"trigger": policy.trigger, **own, **bounds_of(policy)}


def policy_of(spec: Mapping[str, Any]) -> Policy:
    """Make the policy that is written so.

    Raises
    ------
    DriftwheelError
        If its trigger is not installed, or it is none that this version knows.
    """
    part = POLICIES.part_of(dict(spec))
    if part is None:
        raise DriftwheelError(
            f"a policy that is installed (one of {', '.join(POLICIES.names())})",
            f"the trigger {spec.get('trigger')!r}",
            f"Install the package that has it (entry points {POLICIES.group}), or choose another policy",
        )
    try:
        return part.model_validate(dict(spec))
    except ValidationError as error:
        raise DriftwheelError(
            f"a policy {spec.get('trigger', '')!r} as this version knows it",
            say_faults(error),
            "See `driftwheel parts policies`",
        ) from error


def say_faults(error: ValidationError) -> str:
    """Say what Pydantic found, each with its place."""
    faults = error.errors(include_url=False)
    return "; ".join(": ".join(filter(None, (".".join(map(str, each["loc"])), each["msg"]))) for each in faults)
