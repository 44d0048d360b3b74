from datetime import UTC, datetime

import pytest

from expectations.durations import Duration, spoken


def at(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


@pytest.mark.parametrize(
    ("span", "start", "times", "expected"),
    [
        ("1mo", at(2013, 1, 31), 1, at(2013, 2, 28)),
        ("1mo", at(2013, 3, 31), -1, at(2013, 2, 28)),
        ("1y", at(2012, 2, 29), 1, at(2013, 2, 28)),
        ("1q", at(2013, 11, 1), 1, at(2014, 2, 1)),
        ("36h", at(2013, 1, 1), 2, at(2013, 1, 4)),
        ("2w", at(2013, 1, 1), 1, at(2013, 1, 15)),
    ],
)
def test_a_span_later(span: str, start: datetime, times: int, expected: datetime) -> None:
    assert Duration.parse(span).after(start, times) == expected


@pytest.mark.parametrize(
    ("span", "moment", "expected"),
    [
        ("1mo", at(2013, 5, 17, 3), at(2013, 5, 1)),
        ("1q", at(2013, 5, 17), at(2013, 4, 1)),
        ("1y", at(2013, 5, 17), at(2013, 1, 1)),
        ("1d", at(2013, 5, 17, 23, 59), at(2013, 5, 17)),
        ("1w", at(2013, 5, 17), at(2013, 5, 13)),  # a Monday
        ("6h", at(2013, 5, 17, 13), at(2013, 5, 17, 12)),
    ],
)
def test_windows_start_at_the_same_instants_for_everybody(span: str, moment: datetime, expected: datetime) -> None:
    assert Duration.parse(span).floor(moment) == expected


@pytest.mark.parametrize(
    "text", ["", "1", "d", "1.5d", "-1d", "1 fortnight", "1M", "9" * 5000 + "d", "101y", "99999999d"]
)
def test_what_is_no_span_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a duration is"):
        Duration.parse(text)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (5, "5 s"), (119, "119 s"), (119.6, "2 min"), (150, "2 min"), (5400, "90 min"), (7170, "2 h"),
     (7300, "2 h 2 min"), (11 * 3600 + 60, "11 h"), (47 * 3600, "47 h"), (48 * 3600 - 20, "2 days"),
     (59 * 86400, "59 days"), (95 * 86400, "3 months"), (800 * 86400, "2 years")],
)  # fmt: skip
def test_spans_read_as_a_person_says_them(seconds: float, words: str) -> None:
    assert spoken(seconds) == words
