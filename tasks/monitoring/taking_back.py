"""Which release is to be rolled back, as was decided."""

from __future__ import annotations

from tasks.stores.ledger import Entry
from tasks.stores.measurements import measurement_in
from tasks.stores.places import Job

NOT_TAKEN_BACK = "not taken back"
"""What the ledger says of a release that was to be rolled back, where that could not be."""


def release_to_take_back(job: Job) -> Entry | None:
    """Return the decision to roll the champion back, where that is what was decided last and nothing came of it yet.

    Whatever was promoted or rolled back since then is the answer to it, by whomever: one who promotes the version again
    knows better. So is that it could not be.
    """
    desired = job.releases.desired(job.name)
    decisions = job.database.entries(job.name, last=1, kind="decision")
    if desired is None or desired.champion is None or not decisions or decisions[-1].action != "rollback":
        return None
    decision = decisions[-1]
    measured = measurement_in(decision.evidence)
    concerned = (measured.champion if measured else None, decision.evidence.get("predecessor"))
    if desired.champion.bundle not in concerned:  # of a run that was killed between the release and its entry
        return None
    since = job.database.entries(job.name, after=decision.entry)
    answers = ("promoted", "rolled back", NOT_TAKEN_BACK)
    return None if any(each.action in answers for each in since) else decision
