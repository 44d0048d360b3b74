"""What the service should serve for a use case."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

from expectations.errors import OvertakenError
from tasks.modelling.intervals import Intervals


class Served(BaseModel):
    """A bundle and the registry version it goes by."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    bundle: str
    version: str
    intervals: Intervals | None = None
    """What its intervals are made by, where they learnt since it was packed; None for those in the bundle."""

    @model_serializer(mode="wrap")
    def _brief(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out intervals that did not learn: a service of before they could reads the rest."""
        content: dict[str, Any] = write(self)
        return {name: value for name, value in content.items() if name != "intervals" or value is not None}


class CandidateState(Served):
    """A bundle beside the champion."""

    mode: Literal["prove", "shadow", "canary"] = "prove"
    share: float = 0.0
    """Of the entities, answered by a canary."""


class Desired(BaseModel):
    """What the service should serve for one use case."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    generation: int
    champion: Served | None = None
    candidate: CandidateState | None = None
    previous: Served | None = None
    """The champion before: served again where the present one is found damaged at a cold start."""
    new_signature: bool = False
    """Whether the inputs may differ from those served so far; clients would notice."""


def overtaken(usecase: str, expected: int, found: int) -> OvertakenError:
    """Say that another state was desired meanwhile."""
    return OvertakenError(
        f"generation {expected} of what {usecase} should serve",
        f"generation {found}: another release or rollback was made meanwhile",
        "What was asked for since stands; deploy again if you still want to",
    )
