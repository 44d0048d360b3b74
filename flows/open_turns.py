"""The turn that a stage goes on with, where a person asks for that stage alone."""

from __future__ import annotations

from datetime import datetime

from expectations.errors import ReleaseError
from infra.settings import Settings
from tasks.stores.stages import STAGES

NEED_A_TURN = tuple(STAGES)[1:]
"""Stages that go on with a turn: all but the first, which only brings data in where there is none."""


def turn_for(settings: Settings, stage: str, usecase: str, as_of: datetime) -> str:
    """Return the open turn a stage goes on with; `train` opens one where there is none.

    Raises
    ------
    ReleaseError
        If there is none, or it is in another stage.
    """
    name, database, state = settings.use_case(usecase).name, settings.platform(), STAGES[stage].works
    left = database.open_turn(name)
    if left is None and stage == "train":
        with database.transaction() as connection:
            opened = database.request_turn(connection, name, "manual", as_of)
            if opened is not None:
                database.put_state(connection, opened, state)
                return opened
        left = database.open_turn(name)
    if left is None or left.state != state:
        raise ReleaseError(
            f"an open turn of {name} in {state}",
            f"one in {left.state}" if left else "none",
            f"Run `driftwheel run loop {usecase}` to do what comes before",
        )
    return left.id
