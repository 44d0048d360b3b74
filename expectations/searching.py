"""A search among candidates: which fields are drawn, from which ranges, and how long."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from expectations.fields import PositiveSpan, Strict

Choice = bool | int | float | str | None | tuple[int, ...]


class Range(Strict):
    """Numbers from `low` to `high`, both included; whole ones where both are whole."""

    low: int | float
    high: int | float
    log: bool = False
    """Whether equal ratios are as likely, and not equal steps."""

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low must be less than high; found {self.low:g} and {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"log needs a low greater than zero; found {self.low:g}")
        return self

    @property
    def whole(self) -> bool:
        """Whether its numbers are whole."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def ends(self) -> tuple[int | float, ...]:
        """Return values that a candidate must be able to have."""
        return (self.low, self.high)


Ranges = Mapping[str, Range | tuple[Choice, ...]]


class Search(Strict):
    """Draws candidates by Optuna, each scored on the validation rows; the best competes with the others."""

    ranges: Annotated[
        dict[str, dict[str, Range | Annotated[tuple[Choice, ...], Field(min_length=2)]]], Field(min_length=1)
    ]
    """Family -> field (of `params` after a point: `params.max_bin`) -> a range of numbers, or a list of values."""
    trials: Annotated[int, Field(ge=1, le=10_000)] | None = 30
    """How many of each family; null for as many as `time` allows."""
    time: PositiveSpan | None = None
    """How long each family is searched at most, all trials together, those before a crash too."""
    sampler: Literal["tpe", "random"] = "tpe"
    """Tree-structured Parzen estimator (Bergstra et al. 2011), or uniformly at random."""
    prune: bool = True
    """Whether a trial ends early that goes worse than the median of those before it at the same step."""

    batch: Annotated[int, Field(ge=1, le=1000)] = 1
    """How many trials are drawn at once, from what came of the batches before: so many can run side by side."""

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if self.trials is None and self.time is None:
            raise ValueError("search needs trials, time or both")
        return self


def changed(candidate: Any, values: Mapping[str, object]) -> Any:  # noqa: ANN401 - a candidate, and one of its own class
    """Return a candidate with other values; a field of `params` is named after a point.

    Raises
    ------
    ValueError
        If it cannot have them.
    """
    written = candidate.model_dump(mode="json", by_alias=True)
    for field, value in values.items():
        place, (*path, last) = written, field.split(".")
        for key in path:
            place = place.setdefault(key, {})
        place[last] = value
    return type(candidate).model_validate_json(json.dumps(written))


def impossible(candidate: Any, ranges: Ranges, task: str) -> dict[str, str]:  # noqa: ANN401
    """Return the fields that a candidate has not, or values it cannot have, and why."""
    found: dict[str, str] = {}
    fields = type(candidate).model_fields
    for field, values in ranges.items():
        top = field.partition(".")[0]
        if top not in fields or top == "family":
            found[field] = f"{candidate.family} has no such field; it has {', '.join(fields.keys() - {'family'})}"
            continue
        for value in values.ends() if isinstance(values, Range) else values:
            try:
                misfits = changed(candidate, {field: value}).misfits(task)
            except ValidationError as error:
                found[field] = f"{value!r}: {error.errors()[0]['msg']}"
                break
            own = [why for name, why in misfits.items() if name.partition(".")[0] == top]
            if own:
                found[field] = f"{value!r}: {own[0]}"
                break
    return found
