"""A declared measure is kept with its window, and `why` says it."""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from functools import cached_property
from itertools import pairwise
from typing import Annotated, Any, NoReturn

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner
from pydantic import TypeAdapter

from expectations.durations import Duration
from expectations.errors import LakeError
from expectations.measures import Measure, MeasuredRows
from expectations.references import ReferenceChoice
from expectations.slots import MEASURES, REFERENCES
from expectations.windows import Window
from flows.commands.ledger import why
from tasks.bundles.champion import current_champion
from tasks.evaluation.drifted import undetermined
from tasks.evaluation.sketches import sketch
from tasks.monitoring import declared_measures
from tasks.monitoring.chosen_reference import ChosenReference, CollectedPast, hold_against_chosen
from tasks.monitoring.deciding import decide_now
from tasks.monitoring.measuring import _drift
from tasks.monitoring.saying import say_measures
from tasks.monitoring.watching import measure_windows
from tasks.stores.known import Known
from tasks.stores.measured_parts import HeldAgainst
from tasks.stores.places import Job
from tests.conftest import instant
from tests.integration.test_estimated import looked_at
from tests.integration.test_watching import changed, home, job, served  # noqa: F401 - fixtures

HELD: TypeAdapter[ReferenceChoice] = TypeAdapter(Annotated[ReferenceChoice, REFERENCES])
DECLARED: TypeAdapter[Measure] = TypeAdapter(Annotated[Measure, MEASURES])


@pytest.mark.slow
def test_columns_together_are_measured_and_said(job: Job) -> None:  # noqa: F811
    measure = DECLARED.validate_python({"measure": "domain_classifier", "rows": 500})
    watched = changed(job, monitoring__measures=(measure,))
    served(watched, "2011-04-01", "2011-04-15")
    found = looked_at(watched, current_champion(watched), "2011-06-02", [])
    together = found.measures["domain_classifier"]
    assert together.status in ("drifted", "same", "undetermined")
    assert together.words.startswith("all columns together: ")
    assert "measures" not in looked_at(job, current_champion(job), "2011-06-02", []).to_dict()
    measure_windows(watched)
    decide_now(watched)
    said = CliRunner().invoke(why, [watched.name])
    assert said.exit_code == 0, said.output
    assert "all columns together: " in said.output


class Failing(Measure):
    """A measure of a package that has a fault, or finds what cannot be kept."""

    measure: str = "failing"
    found: Any = None

    def of(self, seen: MeasuredRows) -> Mapping[str, Any]:
        """Divide by nothing where nothing is to be found."""
        return self.found or {"value": len(seen.rows) / 0}


@pytest.mark.parametrize(("found", "why"), [(None, "ZeroDivisionError"), ({"value": object()}, "TypeError")])
def test_a_measure_that_fails_is_unknown_and_the_window_is_measured(job: Job, found: object, why: str) -> None:  # noqa: F811
    other = DECLARED.validate_python({"measure": "domain_classifier", "rows": 500})
    watched = changed(job, monitoring__measures=(Failing.model_construct(measure="failing", found=found), other))
    served(watched, "2011-04-01", "2011-04-15")
    measured = looked_at(watched, current_champion(watched), "2011-06-02", [])
    failed = measured.measures["failing"]
    assert failed.status == "undetermined"
    assert failed.reason.startswith(f"it failed: {why}: ")
    assert f"failing is undetermined: {failed.reason}" in say_measures(measured)
    assert measured.measures["domain_classifier"].words.startswith("all columns together")
    assert measured.drift


def test_rows_that_cannot_be_read_are_no_fault_of_a_measure(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    watched = changed(job, monitoring__measures=(DECLARED.validate_python({"measure": "domain_classifier"}),))
    served(watched, "2011-04-01", "2011-04-15")

    def gone(*_: object) -> NoReturn:
        raise LakeError("rows", "a file that is gone", "Restore it")

    monkeypatch.setattr(declared_measures, "learnt_rows", gone)
    with pytest.raises(LakeError):
        looked_at(watched, current_champion(watched), "2011-06-02", [])


@pytest.mark.slow
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
    assert season["temp"]["status"] == "undetermined"
    assert season["temp"]["reason"] == why_not["why"]


def test_only_watched_inputs_are_said_to_be_unknown(job: Job) -> None:  # noqa: F811
    served(job, "2011-04-01", "2011-04-15")
    season = HELD.validate_python({"of": "season"})
    rules = job.usecase.spec.monitoring.drift.model_copy(update={"columns": ("temp",)})
    declared = changed(job, monitoring__reference=season, monitoring__drift=rules)
    found = looked_at(declared, current_champion(job), "2011-06-02", [])
    assert [each.column for each in found.drift if found.reference and each.reason == found.reference.why] == ["temp"]


def test_what_cannot_be_told_stands_before_what_stayed_the_same(job: Job) -> None:  # noqa: F811
    times = pl.Series("event_time", [instant("2011-01-01") + timedelta(hours=hour) for hour in range(4000)])
    noise = pl.DataFrame({"hum": np.random.default_rng(0).normal(size=4000)})
    champion, window = current_champion(job), slice(3000, None)
    held = ChosenReference(
        [sketch(noise[:3000], times[:3000])], [undetermined("temp", "no season")], HeldAgainst("season")
    )
    predictions, scores = times[window].to_frame(), np.zeros(1000)
    found = _drift(noise[window], predictions, scores, None, champion, job.usecase.spec, held)
    assert [(each.column, each.status) for each in found] == [("temp", "undetermined"), ("hum", "same")]


def test_a_period_is_said_by_the_days_that_were_declared(job: Job) -> None:  # noqa: F811
    served(job, "2011-04-01", "2011-04-15")
    for zone in ("Asia/Tokyo", "America/New_York"):
        period = HELD.validate_python({"of": "period", "since": date(2011, 1, 15), "until": date(2011, 3, 20)})
        declared = changed(job, monitoring__reference=period, monitoring__timezone=zone)
        (words,) = say_measures(looked_at(declared, current_champion(job), "2011-06-02", []))
        assert words.startswith("inputs were held against period: 2011-01-15 to 2011-03-20, ")


class Read(Known):
    """Collected rows that say which times were read of them."""

    def scan(self, *args: Any, **asked: Any) -> pl.LazyFrame:
        self.asked.append((asked.get("since"), asked.get("until")))
        return super().scan(*args, **asked)

    @cached_property
    def asked(self) -> list[tuple[datetime | None, datetime | None]]:
        return []


def test_only_the_times_that_a_reference_is_of_are_read(job: Job) -> None:  # noqa: F811
    window, champion = Window(instant("2011-05-01"), instant("2011-05-08")), current_champion(job)

    def asked(**reference: object) -> tuple[ChosenReference, list[tuple[datetime | None, datetime | None]]]:
        spec = changed(job, monitoring__reference=HELD.validate_python(reference)).usecase.spec
        known = Read(job.lake, spec, instant("2011-06-02"))
        return hold_against_chosen(window, champion, known), known.asked

    held, times = asked(of="recent", last=Duration.parse("28d"))
    assert (times, held.said and held.said.rows) == ([(instant("2011-04-03"), window.start)], 671)  # an hour has no row
    _, times = asked(of="period", since=date(2011, 2, 1), until=date(2011, 3, 1))
    assert times == [(instant("2011-02-01"), instant("2011-03-01"))]
    held, times = asked(of="season")  # which years there are is asked of the clock alone
    assert times == [(None, window.start)]
    held, times = asked(of="auto")  # to be compared no time is read twice; last what is chosen is
    assert (held.said and held.said.of, times[-1]) == ("recent", (instant("2011-04-03"), window.start))
    newest = sorted((since, until) for since, until in times[:-1] if since is not None and until is not None)
    assert (len(newest), newest[-1][1]) == (10, window.start)
    assert all(one[1] <= other[0] for one, other in pairwise(newest))


def test_collected_rows_are_those_of_the_times_asked_for(job: Job) -> None:  # noqa: F811
    before, champion = instant("2011-05-01"), current_champion(job)
    known = Read(job.lake, job.usecase.spec, instant("2011-06-02"))
    whole = known.rows("raw", until=before)
    clock = known.spec.time_column
    known.asked.clear()
    past = CollectedPast(champion, known, ["temp", "hum"], before)
    for first, last in (("04-20", "04-25"), ("04-10", "04-22"), ("04-21", "06-01"), ("03-01", "03-08")):
        since, until = instant(f"2011-{first}"), instant(f"2011-{last}")
        wanted = whole.filter((pl.col(clock) >= since) & (pl.col(clock) < until))
        assert past.rows(since, until).equals(wanted.select("temp", "hum"))
        frame, times = past.between([(since, until)])
        assert (frame.equals(wanted.select("temp", "hum")), times.to_list()) == (True, wanted[clock].to_list())
    assert past.first() == whole[clock].min()
    learnt = whole.filter(pl.col(clock) <= champion.manifest.learnt_until).tail(champion.manifest.rows)
    assert past.learnt().equals(learnt.select("temp", "hum"))
