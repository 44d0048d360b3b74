"""A declared measure is kept with its window, and `why` says it."""

from typing import Annotated

from click.testing import CliRunner
from pydantic import TypeAdapter

from expectations.measures import Measure
from expectations.slots import MEASURES
from flows.commands.ledger import why
from tasks.bundles.champion import current_champion
from tasks.monitoring.deciding import decide_now
from tasks.monitoring.watching import measure_windows
from tasks.stores.places import Job
from tests.integration.test_estimated import looked_at
from tests.integration.test_watching import changed, home, job, served  # noqa: F401 - fixtures

DECLARED: TypeAdapter[Measure] = TypeAdapter(Annotated[Measure, MEASURES])


def test_columns_together_are_measured_and_said(job: Job) -> None:  # noqa: F811
    measure = DECLARED.validate_python({"measure": "domain_classifier", "rows": 500})
    watched = changed(job, monitoring__measures=(measure,))
    served(watched, "2011-04-01", "2011-04-15")
    found = looked_at(watched, current_champion(watched), "2011-06-02", [])
    together = found["measures"]["domain_classifier"]
    assert together["status"] in ("drifted", "same", "cannot be told")
    assert together["words"].startswith("all columns together: ")
    assert "measures" not in looked_at(job, current_champion(job), "2011-06-02", [])
    measure_windows(watched)
    decide_now(watched)
    said = CliRunner().invoke(why, [watched.name])
    assert said.exit_code == 0, said.output
    assert "all columns together: " in said.output
