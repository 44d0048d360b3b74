"""A value of another kind than its key wants: what was expected, what was found, and how to write it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from expectations.errors import UseCaseError
from expectations.loading import load_use_case

Make = Callable[..., Path]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("evaluation.effects", "temp", "expected a list; found the text 'temp' (write [temp])"),
        ("evaluation.error_budget", "5%", "expected a number; found the text '5%' (write 0.05)"),
        ("evaluation.error_budget", 7, "expected a number less than 0.5; found the number 7"),
        ("evaluation.resamples", 20.5, "expected a whole number; found the number 20.5"),
        ("title", 2013, 'expected a text; found the number 2013 (write "2013")'),
        ("title", None, "expected a text; found nothing"),
        ("title", True, 'expected a text; found true (write "true")'),
        ("keys", "time", "expected a list; found the text 'time' (write [time])"),
        ("features", "numeric", "expected a list; found the text 'numeric'"),
        ("features", {"numeric": ["temp"]}, "expected a list; found keys and values"),
        ("clock", ["time"], "expected keys and values (known: column, timezone, format); found a list"),
        (
            "model.window",
            "10x",
            "expected 'expanding' or 'auto', or keys and values (known: last); found the text '10x'",
        ),
        ("columns", {"temp": {"type": "nmber"}}, "found the text 'nmber' (did you mean 'number'?)"),
        ("keys", [], "expected at least 1; found 0"),
        ("alerts", [""], "expected a text of at least 1 character(s); found a text"),
        ("evaluation.resamples", -1, "found the number -1"),
        ("start", "yesterday", "'yesterday' is no instant; write for example 2013-05-01 or 2013-05-01T06:00Z"),
        ("start", "0001-01-01T00:00+14:00", "is no instant; write for example 2013-05-01 or 2013-05-01T06:00Z"),
        ("start", [1], "expected an instant, as a text; write for example 2013-05-01 or 2013-05-01T06:00Z"),
        (
            "monitoring.reference",
            {"of": "period", "since": "May", "until": "2011-06-01"},
            "expected a day (such as 2024-01-31); found the text 'May'",
        ),
        ("title", "x" * 50_000, None),
        ("evaluation.effects", "x" * 50_000, "expected a list; found a text of 50,000 characters"),
    ],
)
def test_a_value_of_another_kind_is_said_with_what_was_found(
    make_use_case: Make, path: str, value: Any, message: str | None
) -> None:
    folder = make_use_case(changes={path: value})
    if message is None:
        load_use_case(str(folder))
        return
    with pytest.raises(UseCaseError) as caught:
        load_use_case(str(folder))
    (problem,) = caught.value.problems
    assert problem.message.endswith(message)
    assert problem.line


@pytest.mark.parametrize("written", ["2011-03-01", "2011-03-01T00:00:00", "2011-03-01T01:00+01:00"])
def test_a_replay_begins_at_an_instant_as_it_is_written_elsewhere(make_use_case: Make, written: str) -> None:
    """A date was refused, and an instant without its zone failed once it was compared with rows."""
    spec = load_use_case(str(make_use_case(changes={"start": written}))).spec
    assert spec.start == datetime(2011, 3, 1, tzinfo=UTC)
    assert spec.start.utcoffset() == timedelta(0)


def test_what_is_wrong_inside_a_list_is_said_alone(make_use_case: Make) -> None:
    """An entry that cannot be read is left out before entries are counted, and the list then seems empty."""
    with pytest.raises(UseCaseError) as caught:
        load_use_case(str(make_use_case(changes={"keys": [["time"]]})))
    assert [(each.path, each.message) for each in caught.value.problems] == [
        ("keys.0", "expected a text; found a list")
    ]


def test_what_may_hold_a_secret_is_not_repeated(make_use_case: Make) -> None:
    source = {"kind": "http", "url": "https://h/x", "headers": "Key: 7f3a"}
    folder = make_use_case(changes={"sources.rentals": source})
    with pytest.raises(UseCaseError) as caught:
        load_use_case(str(folder))
    said = str(caught.value)
    assert "headers: expected keys and values; found a text" in said
    assert "7f3a" not in said
