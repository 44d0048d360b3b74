"""What MLflow's pages say about experiments, models and versions, in words."""

from __future__ import annotations

MODEL_PAGES = "workflowType=machine_learning"
"""What makes MLflow's page show models: it shows a new browser those for language models, whatever there is."""
NOTE = "mlflow.note.content"
"""The tag that MLflow shows as the description of an experiment or a run."""
EXPERIMENT = """Each run is a training as of an instant; its description says whether it passed its gates, and why not.

| metrics | what they are |
|---|---|
| `holdout_*` | the fresh model on the newest rows, which neither model had seen |
| `champion_*` | the champion of then on the same rows |
| `contest_*`, `folds_mean_*` | recipes held against each other, before the holdout |
| `monitoring/*` | what was measured in production while this run's version answered; a step is a window |
"""


def model_note(usecase: str, title: str) -> str:
    """Describe a registered model, with what its aliases mean."""
    return f"""{title}

**champion** is the version that answers. **challenger** is one that passed its gates and does not answer yet; it is
there while a release is under way. A version without either answered before, or was withdrawn.

driftwheel moves both aliases; moved here they change nothing that is served. By hand:
`driftwheel promote {usecase} --version N`, `driftwheel rollback {usecase}`. Why each version came:
`driftwheel why {usecase}`.
""".lstrip()
