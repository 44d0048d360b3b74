"""Windows are held against what is declared: what was learnt, a period, the season, the recent past, or the best."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from expectations.durations import Duration
from expectations.errors import UseCaseError
from expectations.loading import load_use_case
from expectations.references import Chosen
from expectations.windows import Window
from tasks.evaluation.references.auto import Auto, foretold, rows_of
from tasks.evaluation.references.period import Period
from tasks.evaluation.references.recent import Recent
from tasks.evaluation.references.season import Season
from tasks.evaluation.references.training import Training
from tasks.evaluation.sketches import references_to_dict, sketch
from tasks.monitoring.chosen_reference import hold_against_chosen

START = datetime(2021, 1, 1, tzinfo=UTC)
JUNE = Window(datetime(2024, 6, 1, tzinfo=UTC), datetime(2024, 7, 1, tzinfo=UTC))


class Made:
    """A row a day from 2021 on, of one column."""

    timezone = "America/New_York"

    def __init__(self, value: Callable[[int], float], learnt_until: datetime = START + timedelta(days=365)) -> None:
        days = range(4 * 365)
        self.learnt_until = learnt_until
        self.times = pl.Series([START + timedelta(days=day) for day in days])
        self.frame = pl.DataFrame({"x": [value(day) for day in days], "kind": ["a", "b"] * (len(days) // 2)})

    def first(self) -> datetime | None:
        return self.times.min()  # type: ignore[return-value]

    def rows(self, since: datetime, until: datetime) -> pl.DataFrame:
        return self.frame.filter((self.times >= since) & (self.times < until))

    def learnt(self) -> pl.DataFrame:
        return self.frame.filter(self.times <= self.learnt_until)


def noise(day: int) -> float:
    return float(np.random.default_rng(day).normal())


def at(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type]


def test_each_choice_takes_its_rows() -> None:
    past = Made(noise)
    assert Training().choose(JUNE, past) == Chosen("training")
    assert Recent().choose(JUNE, past) == Chosen("recent", ((at(2024, 5, 4), at(2024, 6, 1)),))
    fixed = Period(since=date(2023, 1, 1), until=date(2023, 2, 1))  # of New York: five hours later
    assert fixed.choose(JUNE, past) == Chosen("period", ((at(2023, 1, 1, 5), at(2023, 2, 1, 5)),))
    assert Season(years=2).choose(JUNE, past) == Chosen(
        "season", ((at(2022, 5, 22), at(2022, 7, 11)), (at(2023, 5, 22), at(2023, 7, 11)))
    )
    assert len(Season().choose(JUNE, past).spans) == 3  # of 2019 and 2020 nothing was collected


def test_no_choice_takes_rows_of_the_window_or_later() -> None:
    past = Made(noise)
    ends = [
        span[1]
        for choice in (Recent(), Season(), Period(since=date(2024, 5, 1), until=date(2025, 1, 1)))
        for span in choice.choose(JUNE, past).spans
    ]
    assert max(ends) == JUNE.start
    later = Period(since=date(2024, 6, 1), until=date(2025, 1, 1)).choose(JUNE, past)
    assert (later.spans, later.why) == ((), "the period begins at 2024-06-01, and the window before it")


def test_one_year_before_says_nothing_about_years() -> None:
    early = Window(at(2022, 6, 1), at(2022, 7, 1))
    found = Season().choose(early, Made(noise))
    assert (found.spans, found.why) == (
        (),
        "the same season of two years before is needed, and 1 of them was collected",
    )
    year = Window(at(2024, 1, 1), at(2024, 9, 1))
    assert "half a year" in Season().choose(year, Made(noise)).why


@pytest.mark.parametrize(
    ("value", "best"),
    [
        (noise, "training"),  # nothing ever changes: more rows say it best
        (lambda day: noise(day) + day / 100, "recent"),
        (lambda day: noise(day) / 4 + 10 * np.sin(2 * np.pi * day / 365.25), "season"),
    ],
)
def test_auto_takes_what_foretold_the_newest_windows_best(value: Callable[[int], float], best: str) -> None:
    past = Made(value, at(2023, 12, 1))
    assert Auto().choose(JUNE, past).of == best


def test_auto_keeps_to_training_while_less_than_three_windows_are_new() -> None:
    walk = Made(lambda day: day / 100, at(2024, 4, 1))
    assert Auto().choose(JUNE, walk) == Chosen("training")


def test_what_a_choice_foretells_is_measured_in_its_own_deviations() -> None:
    def past_of(after: float) -> Any:
        return Made(lambda day: (-1.0) ** day + (after if day > 365 else 0.0))

    held = {JUNE: past_of(0.5).rows(JUNE.start, JUNE.end)}
    # 1.5 and -0.5 are cut to 1 and -0.5: a quarter of a deviation off; of the other column shares alike
    assert foretold(Training(), held, past_of(0.5)) == pytest.approx([0.25**2 / 2])
    assert foretold(Recent(last=Duration.parse("28d")), held, past_of(0.5)) == pytest.approx([0])
    assert foretold(Recent(last=Duration.parse("7d")), held, past_of(0.5)) is None  # seven rows
    assert len(rows_of(Training().choose(JUNE, past_of(0)), past_of(0))) == 366


def test_what_was_learnt_from_is_summarised_once_for_all_windows() -> None:
    asked = []

    class Counted(Made):
        def learnt(self) -> pl.DataFrame:
            asked.append(1)
            return super().learnt()

    past = Counted(lambda day: float(day % 7))
    spans = [(at(2024, month, 1), at(2024, month + 1, 1)) for month in (3, 4, 5)]
    held = {Window(*span): past.rows(*span) for span in spans}
    found = foretold(Training(), held, past)
    assert found is not None
    assert (len(found), len(asked)) == (3, 1)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"monitoring.reference": "seasons"}, "season"),
        ({"monitoring.reference": {"of": "period", "since": "2011-02-01", "until": "2011-01-01"}}, "holds no day"),
        ({"monitoring.reference": {"of": "season", "years": 1}}, "of at least 2"),
        ({"monitoring.reference": {"of": "recent", "last": "0d"}}, "last"),
    ],
)
def test_what_could_be_no_reference_is_refused(
    make_use_case: Callable[..., Path], changes: dict[str, object], said: str
) -> None:
    with pytest.raises(UseCaseError, match=said):
        load_use_case(str(make_use_case(changes=changes)))


def test_a_name_is_short_for_a_choice_and_without_one_it_is_training(make_use_case: Callable[..., Path]) -> None:
    short = load_use_case(str(make_use_case(changes={"monitoring.reference": "recent"}))).spec.monitoring.reference
    assert short == Recent()
    assert load_use_case("bikes").spec.monitoring.reference == Training()


def test_an_instant_is_held_against_what_was_chosen_as_the_rest_is() -> None:
    """Of an instant only a view is watched: it was read for no reference but what was learnt from."""
    times = pl.Series([START + timedelta(hours=hour) for hour in range(1000)], dtype=pl.Datetime("us", "UTC"))
    ages = pl.Series([timedelta(hours=5 + hour % 7) for hour in range(1000)])
    rows = pl.DataFrame({"time": times, "x": range(1000), "seen": times - ages, "other": range(1000)})
    learnt = sketch(rows.select("x", "seen"), times)
    assert learnt.inputs == ("x", "seen")

    class Collected:
        spec = SimpleNamespace(
            local_zone="UTC", time_column="time", monitoring=SimpleNamespace(reference=Recent(), min_rows=30)
        )

        def rows(self, _: str, *, columns: list[str], since: datetime, until: datetime) -> pl.DataFrame:
            return rows.filter((times >= since) & (times < until)).select(columns)

    champion = SimpleNamespace(
        inputs=("x", "seen"),
        reference=lambda: references_to_dict([learnt]),
        manifest=SimpleNamespace(learnt_until=START),
    )
    window = Window(START + timedelta(hours=900), START + timedelta(hours=1000))
    held = hold_against_chosen(window, champion, Collected())  # type: ignore[arg-type] # what it asks of either
    assert list(held.tables[0].columns) == ["x", "hours since seen"]
    assert held.said is not None
    assert held.said.rows == 672
