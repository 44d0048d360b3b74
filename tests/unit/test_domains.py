"""A window is told from its reference by all columns together, where no column shows anything by itself."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from math import sqrt
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.stats import rankdata

from expectations.errors import UseCaseError
from expectations.loading import load_use_case
from expectations.measures import MeasuredRows
from tasks.evaluation import domains
from tasks.evaluation import permutation_test as permutations
from tasks.evaluation.domains import Together, tell_apart
from tasks.evaluation.drift import judge
from tasks.evaluation.measures.domain_classifier import DomainClassifier
from tasks.evaluation.pairs import Compared
from tasks.evaluation.sketches import references_to_dict, sketch
from tests.unit.test_drift import autoregressive

START = datetime(2024, 1, 1, tzinfo=UTC)


def correlated(rows: int, rho: float, seed: int, columns: int = 6) -> pl.DataFrame:
    """Columns of variance one, of which the first two go together."""
    values = np.random.default_rng(seed).normal(size=(rows, columns))
    values[:, 1] = rho * values[:, 0] + np.sqrt(1 - rho**2) * values[:, 1]
    frame = pl.DataFrame({f"c{at}": values[:, at] for at in range(columns)})
    return frame.with_columns(pl.Series("kind", np.where(values[:, 2] > 0, "warm", "cold")))


def told(reference: pl.DataFrame, window: pl.DataFrame, **more: object) -> Together:
    return tell_apart(reference, None, Compared(sketch(reference), window), alpha=0.05, **more)  # type: ignore[arg-type]


def test_a_correlation_that_turns_is_found_where_each_column_is_as_ever() -> None:
    reference, window = correlated(3000, 0.9, 1), correlated(1000, -0.9, 2)
    assert not any(each.drifted for each in judge([Compared(sketch(reference), window)], alpha=0.05))
    found = told(reference, window)
    assert (found.status, found.looked_at) == ("drifted", 7)
    assert set(found.columns or {}) == {"c0", "c1"}
    assert found.area == pytest.approx(0.93, abs=0.06)
    assert (found.odds or 0) > 20
    assert found.words.startswith(f"all columns together: area {found.area:.3f} of telling the window apart, odds")


@pytest.mark.slow
def test_unchanged_windows_are_called_no_oftener_than_alpha() -> None:
    found = [told(correlated(1500, 0.5, at), correlated(300, 0.5, 900 + at)).status for at in range(20)]
    assert found.count("drifted") <= 4  # more of 20 come in 0.3 % of cases
    assert "undetermined" not in found


def test_where_rows_remember_and_the_window_is_short_nothing_is_told() -> None:
    random = np.random.default_rng(3)
    reference, window = (
        pl.DataFrame({f"c{at}": each[:, at] for at in range(4)})
        for each in (autoregressive(0.99, 3000, 4, random), autoregressive(0.99, 200, 4, random))
    )
    found = told(reference, window)
    assert (found.status, found.p, found.area) == ("undetermined", None, None)
    assert "stretches of time that are independent of each other" in found.words


@pytest.mark.parametrize("left", [60, 500])
def test_where_few_of_the_rows_that_were_sketched_are_left_nothing_is_told(left: int) -> None:
    random = np.random.default_rng(3)
    reference, window = (
        pl.DataFrame({f"c{at}": each[:, at] for at in range(4)})
        for each in (autoregressive(0.9, 20_000, 4, random), autoregressive(0.9, 3000, 4, random))
    )
    table = Compared(sketch(reference), window)
    assert tell_apart(reference, None, table, alpha=0.05).status == "same"
    found = tell_apart(reference.tail(left), None, table, alpha=0.05)
    assert (found.status, found.p, found.area) == ("undetermined", None, None)
    assert "20 of the reference" in found.words


def test_where_no_difference_could_be_called_nothing_is_said_of_chance() -> None:
    random = np.random.default_rng(7)
    reference, window = (
        pl.DataFrame({f"c{at}": each[:, at] + shift for at in range(3)})
        for each, shift in ((autoregressive(0.9, 3000, 3, random), 0.0), (autoregressive(0.9, 600, 3, random), 9.0))
    )
    table = Compared(sketch(reference), window)
    assert tell_apart(reference, None, table, alpha=0.05).status == "drifted"
    found = tell_apart(reference, None, table, alpha=0.0004)  # of 2,000 deals none is rarer than one
    assert (found.status, found.p) == ("undetermined", None)
    assert "too short for any difference to be beyond chance" in found.words


@pytest.mark.parametrize(("before", "now", "least"), [(20, 4, 1 / 66), (21, 5, 1 / 364), (8, 4, 1 / 15)])
def test_the_least_chance_is_that_of_the_one_deal_that_tells_most(before: int, now: int, least: float) -> None:
    random = np.random.default_rng(0)
    blocks = np.repeat(np.arange(before), 50), np.repeat(np.arange(now), 50)
    halves = permutations.half_of(blocks[0]), permutations.half_of(blocks[1])
    assert permutations.least_chance(blocks, halves) == pytest.approx(least)
    apart = [random.random(len(blocks[0])), 5 + random.random(len(blocks[1]))]
    _, p = permutations.permutation_test(apart, blocks, halves, random)
    assert p == pytest.approx(least, abs=min(0.02, 4 * sqrt(least / 2000)))
    whole = np.arange(500), np.arange(100)
    assert (
        permutations.least_chance(whole, (permutations.half_of(whole[0]), permutations.half_of(whole[1]))) == 1 / 2000
    )


@pytest.mark.slow
def test_days_are_dealt_as_wholes() -> None:
    """Two columns that share a level each day: rows of a day are alike, days are not."""

    def days(first: int, count: int, seed: int) -> tuple[pl.DataFrame, pl.Series]:
        random = np.random.default_rng(seed)
        level = np.repeat(random.normal(size=(count, 3)), 24, axis=0)
        values = level + random.normal(scale=0.3, size=level.shape)
        times = pl.Series([START + timedelta(hours=first * 24 + at) for at in range(count * 24)])
        return pl.DataFrame({f"c{at}": values[:, at] for at in range(3)}), times

    called = 0
    for seed in range(12):
        (reference, times), (window, after) = days(0, 60, seed), days(60, 8, 500 + seed)
        table = Compared(sketch(reference, times), window, after)
        found = tell_apart(reference, times, table, alpha=0.05)
        called += found.status == "drifted"
        assert found.status == "undetermined" or found.looked_at >= 2
    assert called <= 3  # rows dealt one by one would call each of them


@pytest.mark.slow
def test_the_same_rows_are_judged_alike_in_any_order_and_at_any_time() -> None:
    reference, window = correlated(1000, 0.9, 1), correlated(400, 0.2, 2)
    assert told(reference, window, seed=4) == told(reference, window, seed=4)
    times = pl.Series([START + timedelta(minutes=at) for at in range(1000)])
    order = np.random.default_rng(0).permutation(1000)
    later = pl.Series([START + timedelta(minutes=1000 + at) for at in range(400)])
    found = [
        tell_apart(rows, moments, Compared(sketch(reference, times), window, later), alpha=0.05)
        for rows, moments in ((reference, times), (reference[order], times[order]))
    ]
    assert found[0] == found[1]


def test_the_area_of_stretches_is_that_of_their_rows() -> None:
    random = np.random.default_rng(5)
    scores, mine = random.normal(size=40), np.arange(40) < 15
    ranks = rankdata(scores)
    area = permutations._areas(ranks[mine].sum()[None, None], np.array([[15.0]]), 40)[0]
    pairs = scores[mine][:, None] > scores[~mine][None, :]
    assert area == pytest.approx(pairs.mean())


def test_halves_keep_away_from_their_border() -> None:
    blocks = np.repeat(np.arange(6), 10)
    half = permutations.half_of(blocks)
    assert half.tolist() == [0] * 30 + [1] * 30
    assert np.flatnonzero(~domains._away(blocks, half)).tolist() == list(range(25, 35))
    assert domains._away(np.arange(6), permutations.half_of(np.arange(6))).all()


def test_rows_looked_at_are_bounded() -> None:
    reference, window = correlated(4000, 0.9, 1), correlated(4000, -0.9, 2)
    assert told(reference, window, most=200).status == "drifted"


def test_a_measure_reads_what_was_learnt_only_where_it_is_needed() -> None:
    reference, window = correlated(3000, 0.9, 1), correlated(500, -0.9, 2)
    content = references_to_dict([sketch(reference)])

    def gone() -> tuple[pl.DataFrame, pl.Series | None]:
        return reference.clear(), None

    def never() -> tuple[pl.DataFrame, pl.Series | None]:
        raise AssertionError

    measure = DomainClassifier()
    inputs = tuple(reference.columns)
    assert measure.of(MeasuredRows(window, None, inputs, content, lambda: (reference, None)))["status"] == "drifted"
    assert "are gone" in measure.of(MeasuredRows(window, None, inputs, content, gone))["words"]
    assert "older version" in measure.of(MeasuredRows(window, None, inputs, {}, never))["words"]
    assert measure.misfits(["x", "y"]) == ()
    assert measure.misfits(["x"])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"monitoring.measures": [{"measure": "domain_classifier"}] * 2}, "declared before"),
        (
            {"monitoring.measures": [{"measure": "domain_classifier"}], "features": [{"numeric": ["temp"]}]},
            "columns together are two at least; the features read temp",
        ),
        ({"monitoring.measures": [{"measure": "domain_clasifier"}]}, "domain_classifier"),
    ],
)
def test_a_measure_that_could_tell_nothing_is_refused(
    make_use_case: Callable[..., Path], changes: dict[str, object], said: str
) -> None:
    with pytest.raises(UseCaseError, match=said):
        load_use_case(str(make_use_case(changes=changes)))
