"""The learning rate at each step, a function of the step alone: what goes on after a kill needs no state of it."""

from __future__ import annotations

import math

from tasks.modelling.neural import Neural

_RISING, _LOW, _LOWEST = 0.3, 1 / 25, 1e-4 / 25
"""Of one cycle: share of the steps that it rises, and where it begins and ends, in shares of the learning rate."""


def learning_rate(recipe: Neural, step: int, steps: int, drops: int) -> float:
    """Return the learning rate of a step.

    Parameters
    ----------
    step : int
        Counted from 0.
    steps : int
        Of an epoch.
    drops : int
        How often `plateau` has dropped.
    """
    schedule, epoch = recipe.scheduled, step // steps
    warming = recipe.warm_up * steps
    if step < warming:
        return recipe.learning_rate * (step + 1) / (math.floor(warming) + 1)
    whole = (schedule.epochs or recipe.epochs) * steps
    done = min(1.0, (step - warming) / max(1.0, whole - 1 - warming))
    match schedule.kind:
        case "step":
            share = schedule.factor ** (epoch // schedule.every)
        case "plateau":
            share = schedule.factor**drops
        case "cosine":
            share = (1 + math.cos(math.pi * done)) / 2
        case "one_cycle":
            rising = done < _RISING
            low, part = (_LOW, done / _RISING) if rising else (_LOWEST, (1 - done) / (1 - _RISING))
            share = low + (1 - low) * (1 - math.cos(math.pi * part)) / 2
        case _:
            share = 1.0
    return recipe.learning_rate * share
