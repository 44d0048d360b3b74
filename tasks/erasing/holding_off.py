"""Hold off what would read or write rows of use cases while some of these are erased."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

from expectations.errors import TurnTakenError
from tasks.stores.lake import COLLECTION, UPKEEP, Lake
from tasks.stores.locking import alone
from tasks.stores.places import Job
from tasks.stores.rewriting import require_folder


def refuse_open_turns(job: Job, names: Iterable[str]) -> None:
    """Refuse to erase while a model may be learning from the rows.

    Raises
    ------
    TurnTakenError
        If one of the use cases has an open turn.
    """
    for name in names:
        if job.database.open_turn(name) is not None:
            raise TurnTakenError(
                f"no open turn of {name}",
                "one, whose model may be learning from them",
                "Wait for it to end (`driftwheel status`), then run again",
            )


@contextmanager
def hold_off(job: Job, names: Iterable[str]) -> Iterator[None]:
    """Wait for collection, cleaning, harvests and upkeep of use cases, and hold them off while the block lasts."""
    with ExitStack() as stack:
        for name in names:
            lake = Lake(job.lake.root, name)
            if require_folder(lake).exists():
                stack.enter_context(lake.alone(COLLECTION))
                stack.enter_context(lake.alone("cleaning"))
                stack.enter_context(lake.alone(UPKEEP))  # files of a compaction at work would be removed under it
            if (job.places.journal / name).exists():
                stack.enter_context(alone(job.places.journal / name / ".harvest", f"a harvest of {name}"))
        yield
