"""A release of intervals alone: the champion's model stays, and what surrounds its predictions is another."""

from __future__ import annotations

from typing import Any

from expectations.errors import OvertakenError
from tasks.deployment.releasing import await_generation
from tasks.modelling.intervals import Intervals
from tasks.stores.ledger import Entry
from tasks.stores.places import Job


def release_intervals(job: Job, bundle: str, intervals: Intervals, entry: Entry) -> int:
    """Let the champion answer with other intervals from now on, and write it down; returns the generation.

    Its model is the same, so its predictions are, and nothing is rolled out in steps.

    Raises
    ------
    OvertakenError
        If another bundle answers by now, or one is tried beside it.
    ReleaseError
        If the service refuses what is served, or another release was made meanwhile.
    UnreachableError
        If the service does not answer: it takes them when it is back.
    """
    now = job.releases.desired(job.name)
    if now is None or now.champion is None or now.champion.bundle != bundle or now.candidate is not None:
        raise OvertakenError(
            f"bundle {bundle[:12]} alone as the champion of {job.name}",
            "another release meanwhile",
            "What was released stands; intervals learn again after it",
        )
    champion = now.champion.model_copy(update={"intervals": intervals})
    signed = now.new_signature
    wanted = job.releases.set_desired(job.name, champion=champion, new_signature=signed, after=now.generation)
    with job.database.transaction() as connection:
        job.database.write(connection, entry)

    def answers(mount: dict[str, Any]) -> bool:
        return (mount["champion"] or {}).get("intervals") == intervals.name

    await_generation(job, wanted.generation, answers, bundle)
    return wanted.generation
