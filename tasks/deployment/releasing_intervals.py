"""A release of intervals alone: the champion's model stays, and what surrounds its predictions is another."""

from __future__ import annotations

from typing import Any

from expectations.errors import OvertakenError
from tasks.bundles.intervals_in_force import learnt_intervals
from tasks.deployment.releasing import await_generation
from tasks.modelling.intervals import Intervals
from tasks.stores.ledger import Entry
from tasks.stores.places import Job
from tasks.stores.progress import say_stage


def restore_intervals(job: Job) -> None:
    """Let the champion answer with the intervals that the ledger says it has, where it should answer with others.

    So it is where a run was killed between the two: coverage would be measured by intervals nobody is answered with.
    While a release is under way nothing is changed.

    Raises
    ------
    OvertakenError
        If another state was desired meanwhile: that stands.
    """
    with job.database.transaction():  # alone: no other run is between the two
        now = job.releases.desired(job.name)
        if now is None or now.champion is None or now.candidate is not None or job.database.open_turn(job.name):
            return
        learnt = learnt_intervals(job.database, job.name, now.champion.bundle)
        if now.champion.intervals == learnt:
            return
        champion = now.champion.model_copy(update={"intervals": learnt})
        job.releases.set_desired(job.name, champion=champion, new_signature=now.new_signature, after=now.generation)
    say_stage("intervals: those that the ledger says are answered again; a run was killed as it released others")


def release_intervals(job: Job, bundle: str, intervals: Intervals, entry: Entry) -> int:
    """Let the champion answer with other intervals from now on, and write it down; returns the generation.

    Its model is the same, so its predictions are, and nothing is rolled out in steps. Where this is killed as the
    ledger takes the entry, `restore_intervals` goes back to what the ledger says.

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
    with job.database.transaction() as connection:  # overtaken, or killed before: the entry goes with it
        job.database.write(connection, entry)
        wanted = job.releases.set_desired(job.name, champion=champion, new_signature=signed, after=now.generation)

    def answers(mount: dict[str, Any]) -> bool:
        return (mount["champion"] or {}).get("intervals") == intervals.name

    await_generation(job, wanted.generation, answers, bundle)
    return wanted.generation
