"""A training that leaves nothing behind: all that one learns, judges and packs, for whoever watches what it costs."""

from __future__ import annotations

from dataclasses import dataclass, replace

from expectations.errors import DriftwheelError
from expectations.loading import LoadedUseCase
from tasks.bundles.champion import current_champion, refuse_redefined
from tasks.stores.files import scratch
from tasks.stores.places import Job
from tasks.stores.progress import part
from tasks.stores.unfinished import keeping
from tasks.training.contest import names_of
from tasks.training.evaluating import evaluated
from tasks.training.judging import judge
from tasks.training.packing import training_rows
from tasks.training.passing import packed, refitted_if_passed
from tasks.training.training_set import select_rows
from tasks.training.warm import with_declaration


@dataclass(frozen=True)
class Rehearsal:
    """What a training would have come to.

    Attributes
    ----------
    outcome : str
        As of `Judgement`; of one that did not pass nothing was refitted, nor packed.
    rows : int
        Ripe labelled rows, of which it learnt and by which it was judged.
    against_champion : bool
        Whether it was held against the champion, as a training now would be. Where the champion knows too many of the
        rows for that, it is the training of a first model.
    """

    outcome: str
    rationale: str
    rows: int
    against_champion: bool


def with_candidate(usecase: LoadedUseCase, name: str) -> LoadedUseCase:
    """Return a use case with one of its candidates alone.

    Parameters
    ----------
    name : str
        Its family, and its place from the second of a family on, as trainings name them: ``torch_mlp``, ``lightgbm-2``.

    Raises
    ------
    DriftwheelError
        If there is none of that name.
    """
    model = usecase.spec.model
    found = dict(zip(names_of(model.candidates), model.candidates, strict=True))
    if name not in found:
        raise DriftwheelError(
            f"a candidate of {usecase.name}: one of {', '.join(found)}", repr(name), "Correct the name"
        )
    alone = model.model_copy(update={"candidates": (found[name],)})
    return replace(usecase, spec=usecase.spec.model_copy(update={"model": alone}))


def rehearse(job: Job) -> Rehearsal:
    """Train as `train_challenger` does, in this process, and keep nothing: no run, version, bundle or ledger entry.

    Raises
    ------
    TrainingError
        If no rows were collected, or they can teach nothing.
    """
    spec = job.usecase.spec
    with part("reading rows"):
        selected = select_rows(job)
        rows = training_rows(selected.source.rows)
        champion = with_declaration(current_champion(job), job.usecase)
    if champion is not None:
        refuse_redefined(champion.manifest, spec)
    with scratch() as beside, keeping(beside / "unfinished"):
        with part("learning and judging"):
            judged = judge(rows, spec, champion)
            if judged.trained is None and champion is not None:
                champion = None
                judged = judge(rows, spec, None)
        judged, refitted = refitted_if_passed(job, rows, evaluated(judged, rows, spec))
        if refitted is not None and judged.judgement.outcome == "passed":
            parent = champion.digest if champion else ""
            packed(job, beside / "bundle", selected, rows, judged, refitted, parent=parent)
    return Rehearsal(judged.judgement.outcome, judged.judgement.rationale, len(rows), champion is not None)
