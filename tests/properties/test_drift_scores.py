"""Every drift score there is: zero for what did not change, and never less."""

from typing import Annotated

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter
from scipy.spatial.distance import jensenshannon
from scipy.stats import wasserstein_distance

from expectations.drift_scores import DriftScore, ScoresOfColumns
from expectations.slots import DRIFT_SCORES
from tasks.monitoring_laws import binned

DECLARED: TypeAdapter[DriftScore] = TypeAdapter(Annotated[DriftScore, DRIFT_SCORES])
SCORES = [
    (DECLARED.validate_python(example), kind)
    for name in DRIFT_SCORES.built_in
    for part in [DRIFT_SCORES.released(name)]
    for example in part.examples
    for kind in part.kinds
]
COUNTS = st.lists(st.integers(0, 1000), min_size=5, max_size=5).filter(any)


@pytest.mark.parametrize(("score", "kind"), SCORES, ids=lambda each: getattr(each, "score", each))
@given(before=COUNTS, now=COUNTS)
def test_a_score_is_zero_for_equal_shares_and_never_less(
    score: DriftScore, kind: str, before: list[int], now: list[int]
) -> None:
    found = score.of(binned(kind, before, now))
    assert 0 <= found < np.inf
    assert score.of(binned(kind, before, [3 * each for each in before])) == pytest.approx(0, abs=1e-7)
    shares = [np.array(each) / sum(each) for each in (before, now)]
    if np.abs(shares[0] - shares[1]).max() > 0.01:
        assert found > 0


@given(before=COUNTS, now=COUNTS)
def test_scores_are_those_of_the_books(before: list[int], now: list[int]) -> None:
    made = {name: DECLARED.validate_python({"score": name}) for name in DRIFT_SCORES.built_in}
    numbers, categories = binned("number", before, now), binned("category", before, now)
    places = numbers.before_centres
    expected = wasserstein_distance(places, places, before, now) / numbers.spread
    assert made["wasserstein"].of(numbers) == pytest.approx(expected)
    assert made["jensen_shannon"].of(categories) == pytest.approx(jensenshannon(before, now), abs=1e-7)
    p, q = (np.maximum(np.array(each) / sum(each), 1e-4) for each in (before, now))
    assert made["population_stability"].of(categories) == pytest.approx(sum((q - p) * np.log(q / p)))
    assert made["total_variation"].of(categories) <= 1


def test_half_of_the_rows_in_another_bin_are_half_in_total() -> None:
    score = DECLARED.validate_python({"score": "total_variation"})
    assert score.of(binned("category", [10, 10, 0], [1, 0, 1])) == 0.5


def test_columns_of_one_kind_have_one_score() -> None:
    psi, earth = (DECLARED.validate_python({"score": name}) for name in ("population_stability", "wasserstein"))
    assert ScoresOfColumns.declared([earth]).score_of("x", "category").score == "jensen_shannon"
    assert ScoresOfColumns.declared([psi]).by_kind == {"number": psi, "category": psi}
    with pytest.raises(ValueError, match=r"population_stability and wasserstein are of number; name the columns of"):
        ScoresOfColumns.declared([psi, earth])


def test_a_column_that_a_score_names_has_that_one() -> None:
    earth = DECLARED.validate_python({"score": "wasserstein"})
    share = DECLARED.validate_python({"score": "total_variation", "of": ("carrier",)})
    found = ScoresOfColumns.declared([earth, share])
    names = (("delay", "number"), ("carrier", "category"), ("origin", "category"))
    assert [found.score_of(*each).score for each in names] == ["wasserstein", "total_variation", "jensen_shannon"]  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="total_variation and wasserstein name carrier"):
        ScoresOfColumns.declared([share, earth.model_copy(update={"columns": ("carrier",)})])


def test_what_a_score_cannot_be_of_is_said_with_what_can() -> None:
    scores = [{"score": "wasserstein", "of": ("carrier", "delays")}, {"score": "total_variation", "of": ("delay",)}]
    found = ScoresOfColumns.declared([DECLARED.validate_python(each) for each in scores])
    fits_not, unknown = found.misfits({"carrier": "category", "delay": "number"})
    assert fits_not == (
        "wasserstein is of numbers, and carrier is watched as categories; take it out of `of`, or give it one of "
        "jensen_shannon, total_variation, population_stability"
    )
    assert unknown == "wasserstein: no column 'delays' is watched; did you mean 'delay'?"


def test_a_score_is_known_by_its_name_and_by_what_is_declared_of_it() -> None:
    class Power(DriftScore):
        score: str = "acme.power"
        of_mass: float = 1.0

        def of(self, binned: object) -> float:
            return 0.0

    assert Power().named == "acme.power"
    assert Power.model_validate({"of_mass": 2.0, "of": ("x",)}).named == "acme.power(of_mass=2.0)"
