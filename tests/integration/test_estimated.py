"""The metric of a window is estimated when it closes, and the estimate stands beside what it turned out to be."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest

from expectations.durations import Duration
from expectations.windows import Window
from tasks.bundles.bundle import EXPECTED, Bundle, load_bundle
from tasks.bundles.champion import current_champion
from tasks.bundles.manifest import seal
from tasks.evaluation.estimates.estimate import Estimate, Expected
from tasks.evaluation.realised import Realised
from tasks.monitoring.measuring import measure
from tasks.monitoring.saying import say_unknown
from tasks.monitoring.seen_windows import expected_status
from tasks.stores.measurements import Measurement, measurement_of, read_measurement
from tasks.stores.places import Job
from tests.conftest import instant
from tests.integration.test_watching import changed, home, job, served  # noqa: F401 - fixtures

START, END = "2011-04-01", "2011-04-15"


def looked_at(job: Job, champion: Bundle, as_of: str, past: Sequence[Measurement] = ()) -> Measurement:  # noqa: F811
    found = measure(
        Window(instant(START), instant(END)),
        job.usecase.spec,
        champion,
        "1",
        job.lake,
        instant(as_of),
        {},
        {},
        {},
        past,
    )
    return read_measurement(json.dumps(found.to_dict(), allow_nan=False))  # as the database keeps it


@pytest.fixture
def late(job: Job) -> Job:  # noqa: F811
    """A use case whose labels come ten days late."""
    label = job.usecase.spec.label.model_copy(update={"available_after": Duration.parse("10d")})
    return changed(job, label=label)


def test_an_estimate_is_there_before_the_labels_and_kept_beside_them(late: Job) -> None:
    served(late, START, END)
    champion = current_champion(late)
    early = looked_at(late, champion, END)
    ripe = looked_at(late, champion, "2011-04-25", [early])
    (first,), (then,) = early.estimated, ripe.estimated
    assert (early.status, early.realised[0].value) == ("unknown", None)
    assert 0 < first.labels < early.champion_rows
    assert first.low < first.value < first.high
    assert then.before == first.before
    truth = ripe.realised[0].value
    assert then.value == pytest.approx(truth)
    assert first.before.low < truth < first.before.high
    assert "estimated" in say_unknown(first.metric, early)


def test_what_is_expected_is_held_against_the_reference_with_the_whole_interval(late: Job) -> None:
    served(late, START, END)
    found = looked_at(late, current_champion(late), END)
    (made,), (rule,) = found.estimated, found.realised
    replaced = msgspec.structs.replace
    for reference, expected in ((made.high * 1.01, "good"), (made.value, "good"), (made.low / 1.01, "violated")):
        held = replaced(rule, drop=0.0, reference=reference)  # of an error: less is better
        assert expected_status(replaced(found, realised=(held,))) == expected
        doubted = replaced(made, trusted=False)
        assert expected_status(replaced(found, realised=(held,), estimated=(doubted,))) is None


def test_windows_before_set_the_level_of_the_next(late: Job) -> None:
    served(late, START, END)
    champion = current_champion(late)
    plain = looked_at(late, champion, END).estimated[0]
    past = []
    for back in range(8, 0, -1):
        start = instant(START) - timedelta(days=14 * back)
        past.append(
            measurement_of(
                Window(start, start + timedelta(days=14)),
                champion=champion.digest,
                estimated=(Estimate(plain.metric, drawn=10.0, before=Expected()),),
                realised=(Realised(plain.metric, 20.0),),
            )
        )
    moved = looked_at(late, champion, END, past).estimated[0]
    assert moved.drawn == plain.drawn
    assert moved.before.value / plain.before.value == pytest.approx(2.0, rel=0.1)


def test_a_bundle_of_before_estimates_nothing_and_is_measured_as_ever(late: Job) -> None:
    served(late, START, END)
    champion = current_champion(late)
    (champion.folder / EXPECTED).unlink()
    older = load_bundle(champion.folder, seal(champion.folder, champion.manifest))
    found = looked_at(late, replace(older, digest=champion.digest), "2011-04-25")
    assert found.champion_rows
    assert found.estimated == ()
    assert "unknown" in say_unknown("rmse", found)


@pytest.mark.slow
def test_a_window_is_measured_as_the_kind_of_problem_its_bundle_solves(late: Job) -> None:
    served(late, START, END)
    champion = current_champion(late)
    same = looked_at(late, champion, "2011-04-25")
    other = changed(late, task="multiclass_classification")
    assert looked_at(other, champion, "2011-04-25") == same
    rule = late.usecase.spec.monitoring.performance[0].model_copy(update={"metric": "log_loss"})
    found = looked_at(changed(other, monitoring__performance=(rule,)), champion, "2011-04-25")
    assert found.served == same.served
    assert [(each.metric, each.status) for each in found.realised] == [("log_loss", "unknown")]
