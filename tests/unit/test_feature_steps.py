"""Feature steps, one by one: what each learns, and what it makes of rows, alike in both executors."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import numpy as np
import polars as pl
import pytest
from pydantic import TypeAdapter, ValidationError

from expectations.errors import TrainingError
from expectations.parts import FeatureStep, FitContext
from expectations.slots import FEATURES
from tasks.preprocessing.fitting import fit_program
from tasks.preprocessing.program import FeatureProgram
from tasks.preprocessing.steps.select import mutual_information

STEPS = TypeAdapter(tuple[Annotated[FeatureStep, FEATURES], ...])
NAN = float("nan")


def learn(
    steps: Sequence[dict[str, Any]],
    rows: dict[str, Any],
    context: FitContext = FitContext(),  # noqa: B008
) -> FeatureProgram:
    """Fit a program, and read it again from its JSON."""
    program = fit_program(STEPS.validate_json(json.dumps(steps)), pl.DataFrame(rows), context=context).program
    again = FeatureProgram.from_json(program.to_json())
    assert again == program
    return again


def made(program: FeatureProgram, rows: dict[str, Any], feature: str | None = None) -> list[Any]:
    """Return the features of rows, or one of them, after both executors gave the same."""
    frame = pl.DataFrame(rows)
    found = program.transform(frame)
    np.testing.assert_array_equal(found, program.compile().matrix(frame.to_dicts()))
    np.testing.assert_array_equal(found, [program.compile().one(row) for row in frame.to_dicts()])
    chosen = found if feature is None else found[:, program.features.index(feature)]
    return list(chosen.tolist())


def test_robust_scaling_is_by_median_and_quartiles_and_an_outlier_moves_neither() -> None:
    program = learn([{"scale": ["x"], "to": "robust"}], {"x": [1.0, 2.0, 3.0, 4.0, 1e6, None]})
    np.testing.assert_array_equal(made(program, {"x": [3.0, 5.0, 2.0, None]}), [[0.0], [1.0], [-0.5], [NAN]])
    constant = learn([{"scale": ["x"], "to": "robust"}], {"x": [7.0, 7.0]})
    assert made(constant, {"x": [7.0, 9.0]}) == [[0.0], [2.0]]


@pytest.mark.parametrize(
    ("by", "bins", "expected"),
    [("width", 4, [0, 0, 0, 0, 3]), ("quantile", 4, [0, 0, 1, 2, 2]), ("kmeans", 3, [0, 0, 0, 1, 2])],
)
def test_bins_lie_between_the_edges_learnt(by: str, bins: int, expected: list[float]) -> None:
    values = [1.0, 2.0, 3.0, 10.0, 100.0, None, 1.0, 3.0]
    program = learn([{"discretize": ["x"], "bins": bins, "by": by}], {"x": values})
    assert made(program, {"x": [1.0, 1.9, 3.0, 10.0, 100.0]}, "x") == expected
    np.testing.assert_array_equal(made(program, {"x": [-1e300, 1e300, None]}, "x"), [0, max(expected), NAN])
    assert program.categorical == ()


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize(("by", "theirs"), [("width", "uniform"), ("quantile", "quantile")])
def test_bins_are_those_of_scikit_learn(by: str, theirs: str) -> None:
    from sklearn.preprocessing import KBinsDiscretizer

    values = np.random.default_rng(0).gamma(2.0, 10.0, 5000)
    program = learn([{"discretize": ["x"], "bins": 7, "by": by}], {"x": values})
    other = KBinsDiscretizer(
        7, encode="ordinal", strategy=theirs, subsample=None, quantile_method="averaged_inverted_cdf"
    ).fit(values.reshape(-1, 1))
    np.testing.assert_allclose(program.steps[0].edges, other.bin_edges_[0][1:-1], rtol=1e-12)


def test_bins_of_k_means_are_those_that_scikit_learn_ends_at() -> None:
    from sklearn.cluster import KMeans

    values = np.sort(np.random.default_rng(0).gamma(2.0, 10.0, 1000))
    program = learn([{"discretize": ["x"], "bins": 4, "by": "kmeans"}], {"x": values})
    start = values[[125, 375, 625, 875]].reshape(-1, 1)
    means = np.sort(KMeans(4, init=start, n_init=1, tol=0).fit(values.reshape(-1, 1)).cluster_centers_[:, 0])
    np.testing.assert_allclose(program.steps[0].edges, (means[1:] + means[:-1]) / 2, rtol=1e-12)


def test_values_that_are_mostly_the_same_have_fewer_bins() -> None:
    program = learn([{"discretize": ["x"], "bins": 4}], {"x": [0.0, 0.0, 0.0, 0.0, 5.0]})
    assert made(program, {"x": [0.0, 4.0, 5.0]}, "x") == [0, 0, 0]
    for by in ("width", "quantile", "kmeans"):
        constant = learn([{"discretize": ["x"], "by": by}], {"x": [2.0, 2.0]})
        assert made(constant, {"x": [2.0, 3.0]}, "x") == [0, 0]


def test_texts_have_no_bins() -> None:
    with pytest.raises(TrainingError, match="numbers are needed"):
        learn([{"impute": {"columns": ["t"], "with": "most_frequent"}}, {"discretize": ["t"]}], {"t": ["1", "2"]})


def test_a_frequency_is_the_share_of_all_training_rows() -> None:
    program = learn([{"frequency": ["t"]}], {"t": ["b", "a", "b", None, "b", "c", None, "b"]})
    asked = {"t": ["a", "b", "c", "unseen", None]}
    assert made(program, asked, "t") == [0.125, 0.5, 0.125, 0.0, 0.0]
    numbers = learn([{"frequency": ["n"]}], {"n": [1, 1, 2, None]})
    assert made(numbers, {"n": [1, 2, 3, None]}, "n") == [0.5, 0.25, 0.0, 0.0]
    assert numbers.compile().one({"n": 1.0}) == [0.5]
    assert program.compile().one({}) == [0.0]


def test_a_category_hashes_alike_in_every_process_and_is_known_without_a_training_row() -> None:
    program = learn([{"hashed": ["t"], "buckets": 1000}], {"t": ["a"]})
    # by `echo -n a | b2sum --length 64`, modulo 1,000
    assert made(program, {"t": ["a", "Köln", "", None]}, "t") == [343, 424, 876, -1]
    assert program.categorical == ("t",)
    numbers = learn([{"hashed": ["n"], "buckets": 1000}], {"n": [7]})
    assert numbers.compile().one({"n": 7.0}) == numbers.compile().one({"n": "7"})
    assert program.compile().one({}) == [-1.0]


@pytest.mark.slow
def test_hashed_categories_are_spread_evenly() -> None:
    program = learn([{"hashed": ["t"], "buckets": 16}], {"t": ["a"]})
    codes = made(program, {"t": [f"{number:04d}-2024" for number in range(16_000)]}, "t")
    assert set(codes) == set(range(16))
    assert max(map(codes.count, range(16))) < 1150  # 1,000 each, and five deviations


def test_an_instant_lies_on_circles_of_its_own_time_zone() -> None:
    when = [datetime(2024, 3, 31, 4, tzinfo=UTC), datetime(2023, 12, 31, 20, tzinfo=UTC), None]
    declared = {"cyclic": "when", "parts": ["hour", "weekday", "month", "day_of_year"], "timezone": "Europe/Paris"}
    program = learn([declared], {"when": when})
    assert program.features[:3] == ("when_hour_sin", "when_hour_cos", "when_weekday_sin")
    found = made(program, {"when": when})
    root = math.sqrt(0.5)
    sunday, march, day = (2 * math.pi * share for share in (6 / 7, 2 / 12, 90 / 366))
    places = [1, 0, *((f(angle)) for angle in (sunday, march, day) for f in (math.sin, math.cos))]
    assert found[0] == pytest.approx(places, abs=1e-15)  # six in the morning of the day the clock changes
    assert found[1][:2] == pytest.approx([-root, root])  # and three hours before midnight of another: UTC+1
    assert np.isnan(found[2]).all()
    assert program.compile().one({"when": "2024-03-31T06:00:00+02:00"}) == found[0]


def test_what_follows_on_a_clock_lies_close_together_however_the_numbers_differ() -> None:
    hours = [datetime(2024, 1, 1, hour, tzinfo=UTC) for hour in range(24)]
    program = learn([{"cyclic": "when", "parts": ["hour"]}], {"when": hours})
    places = np.array(made(program, {"when": hours}))
    steps = np.linalg.norm(places - np.roll(places, 1, axis=0), axis=1)
    np.testing.assert_allclose(steps, 2 * math.sin(math.pi / 24))


def test_a_day_is_a_holiday_where_its_country_keeps_it() -> None:
    written = ["2024-01-05T22:30", "2024-01-05T23:30", "2024-12-24T12:00", "2024-12-26T12:00", "2022-12-31T12:00"]
    when = [datetime.fromisoformat(each).replace(tzinfo=UTC) for each in written]
    parts = ["holiday", "days_to_holiday", "days_since_holiday"]
    declared = {"holidays": "when", "country": "DE", "timezone": "Europe/Berlin", "parts": parts}
    whole, bavaria = (learn([declared | part], {"when": when}) for part in ({}, {"subdivision": "BY"}))
    assert whole.features == ("when_holiday", "when_days_to_holiday", "when_days_since_holiday")
    assert made(bavaria, {"when": when}) == [[0, 1, 4], [1, 0, 0], [0, 1, 39 + 14], [1, 0, 0], [0, 1, 5]]
    assert made(whole, {"when": when})[1] == [0, 83, 5]  # Epiphany: of Bavaria, and in Berlin's time
    gone = [datetime(2020, 12, 31, tzinfo=UTC), datetime(2035, 1, 1, tzinfo=UTC), None]
    assert np.isnan(made(whole, {"when": gone})).all()
    assert made(whole, {"when": [datetime(2034, 12, 25, tzinfo=UTC)]}) == [[1, 0, 0]]
    assert whole.compile().one({"when": "2024-12-25T00:30:00+01:00"}) == [1, 0, 0]


def test_before_all_holidays_that_are_known_none_is() -> None:
    old = [datetime(1850, 1, 1, tzinfo=UTC), None]
    program = learn([{"holidays": "when", "country": "DE", "parts": ["holiday", "days_to_holiday"]}], {"when": old})
    assert np.isnan(made(program, {"when": [*old, datetime(2024, 1, 1, tzinfo=UTC)]})).all()


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ({"country": "XX"}, "no holidays of the country 'XX'"),
        ({"country": "HM"}, "HM keeps no holidays"),
        ({"country": "DE", "subdivision": "XX"}, "DE has no holidays of a part 'XX': there are BB, BE, BW, BY"),
    ],
)
def test_a_country_without_known_holidays_is_refused(declared: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        learn([{"holidays": "when", **declared}], {"when": [datetime(2024, 1, 1, tzinfo=UTC)]})


def test_a_text_has_characters_and_words() -> None:
    program = learn([{"text_length": ["t"]}], {"t": ["a"]})
    assert program.features == ("t_characters", "t_words")
    asked = {"t": ["Grüße, Welt!", "", " \t", "don't", "日本 語", None]}
    expected = [[12, 2], [0, 0], [2, 0], [5, 2], [4, 2], [NAN, NAN]]
    np.testing.assert_array_equal(made(program, asked), expected)


@pytest.mark.parametrize(("of", "theirs", "sizes"), [("words", "word", [1, 2]), ("characters", "char", [3, 4])])
def test_pieces_are_those_of_scikit_learn_counted_by_their_hash(of: str, theirs: str, sizes: list[int]) -> None:
    from sklearn.feature_extraction.text import CountVectorizer

    texts = ["The cat sat on the mat", "the cat", "a  mat\n and a cat, and ünder it nothing", "", "x"]
    program = learn([{"ngrams": ["t"], "of": of, "sizes": sizes, "buckets": 7}], {"t": texts})
    words = {"token_pattern": r"(?u)\b\w+\b"} if of == "words" else {}
    counter = CountVectorizer(analyzer=theirs, ngram_range=(sizes[0], sizes[-1]), **words)
    counts = counter.fit_transform(texts).toarray()
    expected = np.zeros((len(texts), 7))
    for place, piece in enumerate(counter.get_feature_names_out()):
        expected[:, zlib.crc32(piece.encode()) % 7] += counts[:, place]
    np.testing.assert_array_equal(made(program, {"t": texts}), expected)
    assert made(program, {"t": [None]}) == [[0.0] * 7]
    assert program.features[0] == f"t_{of}_{sizes[0]}-{sizes[1]}_0"


def test_weights_of_words_are_those_of_scikit_learn() -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = ["the cat sat on the mat", "The cat, the cat", "a dog and a cat", "the dog sat", "a cat", ""]
    program = learn([{"tfidf": ["t"], "words": 5}], {"t": [*texts, None]})
    assert program.features == ("t_tfidf_a", "t_tfidf_cat", "t_tfidf_dog", "t_tfidf_sat", "t_tfidf_the")
    theirs = TfidfVectorizer(vocabulary=["a", "cat", "dog", "sat", "the"], token_pattern=r"(?u)\b\w+\b").fit(texts)
    asked = ["the THE dog", "nothing known", "a cat a mat", *texts]
    np.testing.assert_allclose(made(program, {"t": asked}), theirs.transform(asked).toarray(), rtol=1e-14)
    assert made(program, {"t": [None]}) == [[0.0] * 5]
    assert program.compile().one({}) == [0.0] * 5
    with pytest.raises(TrainingError, match="words to learn"):
        learn([{"tfidf": ["t"]}], {"t": ["", "?!"]})


def test_what_two_categories_are_together_is_one_category() -> None:
    rows = {"t": ["b", "a", "a", "b", "b", None, "a"], "n": [1, 2, 1, 1, 2, 1, 2]}
    program = learn([{"cross": ["t", "n"], "name": "both"}], rows)
    assert program.features == program.categorical == ("both",)
    assert made(program, rows, "both") == [2, 1, 0, 2, 3, -1, 1]  # (a, 1), (a, 2), (b, 1), (b, 2)
    assert made(program, {"t": ["a", "c", "a"], "n": [3, 1, None]}, "both") == [-1, -1, -1]
    assert program.compile().one({"t": "b", "n": 2.0}) == [3.0]
    assert program.compile().one({"t": "b"}) == [-1.0]
    often = learn([{"cross": ["t", "n"], "name": "both", "max_categories": 2}], rows)
    assert made(often, rows, "both") == [1, 0, -1, 1, -1, -1, 0]


def test_texts_that_read_alike_in_a_row_are_told_apart() -> None:
    rows = {"a": ["x,y", "x", "x,y", "x"], "b": ["z", "y,z", "", "y,z"]}
    program = learn([{"cross": ["a", "b"], "name": "both"}], rows)
    assert made(program, rows, "both") == [2, 0, 1, 0]
    with pytest.raises(ValidationError, match="crossed with itself"):
        learn([{"cross": ["a", "a"], "name": "both"}], rows)


def test_principal_components_are_those_of_scikit_learn() -> None:
    from sklearn.decomposition import PCA

    random = np.random.default_rng(0)
    values = random.normal(size=(500, 2)) @ random.normal(size=(2, 4)) + 0.1 * random.normal(size=(500, 4)) + 7
    rows = {name: [*column, None] for name, column in zip("abcd", values.T.tolist(), strict=True)}
    program = learn([{"numeric": [*"abcd"]}, {"principal_components": [*"abcd"], "count": 2}], rows)
    assert program.features == ("component_1", "component_2")
    theirs = PCA(2).fit(values)
    np.testing.assert_allclose(made(program, rows)[:-1], theirs.transform(values), atol=1e-12)
    np.testing.assert_array_equal(made(program, {"a": [1.0], "b": [None], "c": [1.0], "d": [1.0]}), [[NAN, NAN]])


def test_what_has_no_components_is_said() -> None:
    declared = {"principal_components": ["x", "y"], "count": 2}
    with pytest.raises(TrainingError, match="at least 2 training rows with all of x, y; found 1"):
        learn([declared], {"x": [1.0, None, 2.0], "y": [1.0, 2.0, None]})
    with pytest.raises(TrainingError, match="too large"):
        learn([declared], {"x": [1.7e308, 1.7e308], "y": [1.0, 2.0]})
    with pytest.raises(ValidationError, match="2 columns have no 3 components"):
        learn([{**declared, "count": 3}], {"x": [1.0], "y": [1.0]})


def test_of_all_features_those_stay_that_tell_most_of_the_label() -> None:
    random = np.random.default_rng(0)
    noise, line, valley = random.normal(size=(3, 2000))
    code = random.integers(0, 40, 2000)
    label = pl.Series((line + 2 * np.abs(valley) + (code % 2) > 2).astype(float))
    rows = {"noise": noise, "line": line, "valley": valley, "code": code.astype(str)}
    steps = [{"numeric": ["noise", "line", "valley"]}, {"encode": ["code"]}]
    known = FitContext(label, "binary_classification", classes=("no", "yes"))
    most = learn([*steps, {"select": "all", "keep": 3}], rows, known)
    assert most.features == ("line", "valley", "code")
    assert most.categorical == ("code",)
    best = learn([*steps, {"select": "all", "keep": 1}], rows, known)
    assert best.features == ("valley",)  # which no line shows
    declared = {"select": ["noise", "line", "valley"], "keep": 1, "by": "correlation"}
    assert learn([*steps, declared], rows, known).features == ("line", "code")
    assert learn([declared], rows, known).features == ("line",)


def test_what_is_missing_tells_something_too() -> None:
    label = pl.Series([float(row % 2) for row in range(200)])
    rows = {"x": [float(row) for row in range(200)], "y": [1.0 if row % 2 else None for row in range(200)]}
    assert learn([{"select": ["x", "y"], "keep": 1}], rows, FitContext(label)).features == ("y",)


def test_a_variance_needs_no_label_and_of_equally_good_ones_the_first_stays() -> None:
    rows = {"a": [1.0, 2.0, 3.0], "b": [0.0, 5.0, 0.0], "c": [0.0, 5.0, None], "d": [4.0, 4.0, 4.0]}
    for keep, expected in ((1, ("c",)), (2, ("b", "c")), (9, ("a", "b", "c", "d"))):
        assert learn([{"select": [*"abcd"], "keep": keep, "by": "variance"}], rows).features == expected
    equal = {"a": [1.0, 2.0], "b": [2.0, 1.0]}
    label = FitContext(pl.Series([0.0, 1.0]))
    assert learn([{"select": ["b", "a"], "keep": 1, "by": "correlation"}], equal, label).features == ("b",)


def test_information_is_that_of_scikit_learn_less_its_bias() -> None:
    from sklearn.metrics import mutual_info_score

    random = np.random.default_rng(0)
    left, noise = random.integers(0, 5, 300), random.integers(0, 3, 300)
    right = (left + noise) % 4
    for one, other, cells in ((left, right, 15), (right, left, 15)):
        expected = mutual_info_score(one, other) - (cells - 5 - 4 + 1) / 600
        assert mutual_information(one, other) == pytest.approx(expected, rel=1e-12)
    chance = [mutual_information(random.integers(0, 9, 500), random.integers(0, 2, 500)) for _ in range(500)]
    assert np.mean(chance) == pytest.approx(0, abs=4 * np.std(chance) / math.sqrt(500))


def test_what_nothing_can_be_selected_by_is_said() -> None:
    rows = {"x": [1.0, 2.0, 3.0], "t": ["a", "b", "a"]}
    label = pl.Series([0.0, 1.0, 2.0])
    with pytest.raises(TrainingError, match="features to select from"):
        learn([{"select": "all", "keep": 1}, {"numeric": ["x"]}], rows)
    with pytest.raises(TrainingError, match="a label to compare"):
        learn([{"select": ["x"], "keep": 1}], rows)
    of_classes = FitContext(label, "multiclass_classification", classes=("a", "b", "c"))
    with pytest.raises(TrainingError, match="found 3 classes"):
        learn([{"select": ["x"], "keep": 1, "by": "correlation"}], rows, of_classes)
    with pytest.raises(TrainingError, match="codes of categories in t"):
        learn([{"encode": ["t"]}, {"select": "all", "keep": 1, "by": "variance"}], rows)
    with pytest.raises(TrainingError, match="numbers are needed"):
        learn([{"impute": {"columns": ["t"], "with": "most_frequent"}}, {"select": "all", "keep": 1}], rows)


def test_outliers_lie_outside_quantiles_of_the_training_rows() -> None:
    rows = {"x": [*(float(row) for row in range(101)), None]}
    asked = {"x": [-1e300, 9.99, 10.0, 50.0, 90.0, 90.5, 1e300, None]}
    bound = learn([{"outliers": ["x"], "quantiles": [0.1, 0.9]}], rows)
    np.testing.assert_array_equal(made(bound, asked, "x"), [10, 10, 10, 50, 90, 90, 90, NAN])
    gaps = learn([{"outliers": ["x"], "quantiles": [0.1, 0.9], "to": "missing"}], rows)
    np.testing.assert_array_equal(made(gaps, asked, "x"), [NAN, NAN, 10, 50, 90, NAN, NAN, NAN])
    usual = learn([{"outliers": ["x"]}], rows)
    np.testing.assert_array_equal(made(usual, asked, "x"), [1, 9.99, 10, 50, 90, 90.5, 99, NAN])
    with pytest.raises(ValidationError, match=r"quantile 0\.9 is not below quantile 0\.1"):
        learn([{"outliers": ["x"], "quantiles": [0.9, 0.1]}], rows)


def test_an_outlier_of_a_filled_column_is_missing_again() -> None:
    steps = [{"impute": {"columns": ["x"], "with": 0}}, {"outliers": ["x"], "quantiles": [0, 0.5], "to": "missing"}]
    program = learn(steps, {"x": [0.0, 0.0, 0.0, 5.0]})
    np.testing.assert_array_equal(made(program, {"x": [5.0, None]}, "x"), [NAN, 0])


@pytest.mark.parametrize("way", ["interpolation", "last"])
def test_what_is_made_of_rows_around_is_refused_with_the_reason(way: str) -> None:
    """A request carries one row: what training could do, the service could not."""
    with pytest.raises(
        ValidationError, match=f"{way} is made of the rows around, and a request carries one.*Fill it in"
    ):
        STEPS.validate_json(json.dumps([{"impute": {"columns": ["x"], "with": way}}]))


def test_a_text_of_its_own_stands_where_one_is_missing() -> None:
    steps = [{"impute": {"columns": ["t", "n"], "with": {"text": "none"}}}, {"encode": ["t", "n"]}]
    rows = {"t": ["z", None, "a"], "n": [7, None, 8]}
    program = learn(steps, rows)
    assert made(program, rows) == [[2, 0], [1, 2], [0, 1]]
    assert made(program, {"t": ["none", "b"], "n": [None, 9]}) == [[1, 2], [-1, -1]]
    assert program.compile().one({}) == [1, 2]
    with pytest.raises(TrainingError, match="Put this step before that one"):
        learn([{"encode": ["t"]}, {"impute": {"columns": ["t"], "with": {"text": "none"}}}], rows)


@pytest.mark.parametrize("classes", [(), ("no", "yes"), ("a", "b", "c", "d")])
def test_importance_sees_what_features_tell_together(
    classes: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(0)
    first, second, noise = random.normal(size=(3, 2000))
    code = random.integers(0, 40, 2000)
    label = ((first > 0) ^ (second > 0)).astype(float) + (2 * (code % 2) if len(classes) == 4 else 0)
    rows = {"noise": noise, "first": first, "second": second, "code": [*map(str, code[:-1]), None]}
    steps = [{"numeric": ["noise", "first", "second"]}, {"encode": ["code"]}]
    keep = 3 if len(classes) == 4 else 2
    known = FitContext(pl.Series(label), classes=classes)
    expected = ("first", "second", "code")[:keep]
    assert learn([*steps, {"select": "all", "keep": keep, "by": "importance"}], rows, known).features == expected
    assert capfd.readouterr().out == ""
    with pytest.raises(TrainingError, match="a label to compare"):
        learn([*steps, {"select": "all", "keep": 1, "by": "importance"}], rows)


def test_what_is_not_selected_is_neither_asked_for_nor_computed() -> None:
    rows = pl.DataFrame({"a": [1.0, 2.0, 3.0, 4.0], "b": [1.0, 1.0, 1.0, 2.0], "t": ["x y", "y", "z", "x"]})
    steps = [{"numeric": ["a", "b"]}, {"scale": ["a", "b"]}, {"tfidf": ["t"]}, {"one_hot": ["t"]}]
    program = learn([*steps, {"select": ["a", "b"], "keep": 1, "by": "variance"}], rows)
    assert {each.name for each in program.inputs} == {"a", "b", "t"} - ({"a", "b"} - set(program.features))
    alone = learn([*steps[:2], {"select": "all", "keep": 1, "by": "variance"}], rows)
    assert [each.name for each in alone.inputs] == list(alone.features)
    assert len(alone.steps) == 1
    one = rows.select(alone.features)
    place = ["a", "b"].index(alone.features[0])
    np.testing.assert_array_equal(alone.transform(one), learn(steps[:2], rows).transform(rows)[:, [place]])


def test_few_rows_are_selected_by_importance_too() -> None:
    label = pl.Series([0.0, 1.0] * 15)
    rows = pl.DataFrame({"b": [5.0] * 30, "a": label})
    known = FitContext(label, "binary_classification", 0, ("no", "yes"))
    steps = [{"numeric": ["b", "a"]}, {"select": "all", "keep": 1, "by": "importance"}]
    assert learn(steps, rows, known).features == ("a",)
    with pytest.raises(TrainingError, match="that trees gain something by"):
        learn([{"numeric": ["b"]}, {"select": "all", "keep": 1, "by": "importance"}], rows, known)
