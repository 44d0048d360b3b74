"""A declared measure is kept with its window, and `why` says it."""

from datetime import date, timedelta
from typing import Annotated, Any

import numpy as np
import polars as pl
from click.testing import CliRunner
from pydantic import TypeAdapter

from expectations.durations import Duration
from expectations.measures import Measure
from expectations.references import Reference
from expectations.slots import MEASURES, REFERENCES
from flows.commands.ledger import why
from tasks.bundles.champion import current_champion
from tasks.evaluation.drifted import cannot_tell
from tasks.evaluation.sketches import sketch
from tasks.monitoring.chosen_reference import Held
from tasks.monitoring.deciding import decide_now
from tasks.monitoring.measuring import _drift
from tasks.monitoring.saying import say_measures
from tasks.monitoring.watching import measure_windows
from tasks.stores.places import Job
from tests.conftest import instant
from tests.integration.test_estimated import looked_at
from tests.integration.test_watching import changed, home, job, served  # noqa: F401 - fixtures

HELD: TypeAdapter[Reference] = TypeAdapter(Annotated[Reference, REFERENCES])
DECLARED: TypeAdapter[Measure] = TypeAdapter(Annotated[Measure, MEASURES])


def test_columns_together_are_measured_and_said(job: Job) -> None:  # noqa: F811
    measure = DECLARED.validate_python({"measure": "domain_classifier", "rows": 500})
    watched = changed(job, monitoring__measures=(measure,))
    served(watched, "2011-04-01", "2011-04-15")
    found = looked_at(watched, current_champion(watched), "2011-06-02", [])
    together = found.measures["domain_classifier"]
    assert together["status"] in ("drifted", "same", "cannot be told")
    assert together["words"].startswith("all columns together: ")
    assert "measures" not in looked_at(job, current_champion(job), "2011-06-02", []).to_dict()
    measure_windows(watched)
    decide_now(watched)
    said = CliRunner().invoke(why, [watched.name])
    assert said.exit_code == 0, said.output
    assert "all columns together: " in said.output


def test_a_window_is_held_against_what_is_declared(job: Job) -> None:  # noqa: F811
    served(job, "2011-04-01", "2011-04-15")
    champion = current_champion(job)

    def drift(**reference: object) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        declared = changed(job, monitoring__reference=HELD.validate_python(reference))
        found = looked_at(declared, champion, "2011-06-02", []).to_dict()
        return found.get("reference", {}), {each["column"]: each for each in found["drift"]}

    none, usual = drift(of="training")
    said, recent = drift(of="recent", last=Duration.parse("28d"))
    assert none == {}
    assert (said["of"], said["spans"][0][1], said["rows"]) == (
        "recent",
        "2011-04-01T00:00:00+00:00",
        658,
    )  # some hours of March have no row
    assert recent.keys() == usual.keys()
    assert recent["bikers"] == usual["bikers"]  # the label is held against what was learnt
    assert recent["temp"]["score"] < usual["temp"]["score"]  # March is nearer to April than January is
    why_not, season = drift(of="season")
    assert season["temp"]["status"] == "cannot be told"
    assert season["temp"]["reason"] == why_not["why"]


def test_only_watched_inputs_are_said_to_be_unknown(job: Job) -> None:  # noqa: F811
    served(job, "2011-04-01", "2011-04-15")
    season = HELD.validate_python({"of": "season"})
    rules = job.usecase.spec.monitoring.drift.model_copy(update={"columns": ("temp",)})
    declared = changed(job, monitoring__reference=season, monitoring__drift=rules)
    found = looked_at(declared, current_champion(job), "2011-06-02", [])
    assert [each.column for each in found.drift if each.reason == found.reference["why"]] == ["temp"]


def test_what_cannot_be_told_stands_before_what_stayed_the_same(job: Job) -> None:  # noqa: F811
    times = pl.Series("event_time", [instant("2011-01-01") + timedelta(hours=hour) for hour in range(4000)])
    noise = pl.DataFrame({"hum": np.random.default_rng(0).normal(size=4000)})
    champion, window = current_champion(job), slice(3000, None)
    held = Held([sketch(noise[:3000], times[:3000])], [cannot_tell("temp", "no season")], {"of": "season"})
    predictions, scores = times[window].to_frame(), np.zeros(1000)
    found = _drift(noise[window], predictions, scores, None, champion, job.usecase.spec, held)
    assert [(each.column, each.status) for each in found] == [("temp", "cannot be told"), ("hum", "same")]


def test_a_period_is_said_by_the_days_that_were_declared(job: Job) -> None:  # noqa: F811
    served(job, "2011-04-01", "2011-04-15")
    for zone in ("Asia/Tokyo", "America/New_York"):
        period = HELD.validate_python({"of": "period", "since": date(2011, 1, 15), "until": date(2011, 3, 20)})
        declared = changed(job, monitoring__reference=period, monitoring__timezone=zone)
        (words,) = say_measures(looked_at(declared, current_champion(job), "2011-06-02", []))
        assert words.startswith("inputs were held against period: 2011-01-15 to 2011-03-20, ")
