"""How much of a model's work each feature does."""

from __future__ import annotations

from collections.abc import Mapping


def shares(weights: Mapping[str, float]) -> dict[str, float]:
    """Scale weights to sum to one, largest first."""
    total = sum(weights.values()) or 1.0
    return {name: value / total for name, value in sorted(weights.items(), key=lambda item: -item[1])}
