"""What the service should serve for a use case."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from expectations.errors import OvertakenError


class Served(BaseModel):
    """A bundle and the registry version it goes by."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    bundle: str
    version: str


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
