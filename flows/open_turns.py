"""The turn that a stage goes on with, where a person asks for that stage alone."""

from __future__ import annotations

from datetime import datetime

from expectations.deciding import RECALIBRATE
from expectations.errors import ReleaseError
from infra.settings import Settings
from tasks.stores.stages import STAGES

NEED_A_TURN = tuple(STAGES)[1:]
"""Stages that go on with a turn: all but the first, which only brings data in where there is none."""


def turn_for(settings: Settings, stage: str, usecase: str, as_of: datetime, *, recalibrate: bool = False) -> str:
    """Return the open turn a stage goes on with; `train` opens one where there is none.

    Parameters
    ----------
    recalibrate : bool
        Whether that is to be a recalibration of the champion.

    Raises
    ------
    ReleaseError
        If there is none, or it is in another stage, or trains where it is to recalibrate.
    """
    name, database, state = settings.use_case(usecase).name, settings.platform(), STAGES[stage].works
    left = database.open_turn(name)
    if left is None and stage == "train":
        with database.transaction() as connection:
            cause = RECALIBRATE if recalibrate else "manual"
            opened = database.request_turn(connection, name, cause, as_of)
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
    if recalibrate and left.cause != RECALIBRATE:
        raise ReleaseError(
            f"no open turn of {name}, or one that recalibrates",
            f"turn {left.id}, which trains ({left.cause})",
            f"Let it end (`driftwheel run loop {usecase}`), then ask again",
        )
    return left.id
