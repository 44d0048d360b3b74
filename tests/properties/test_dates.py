"""Texts of a declared format mean the same read by column as read one by one, whatever they hold."""

from __future__ import annotations

from datetime import datetime

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.collection import clocks
from tasks.collection.clocks import read_texts
from tasks.preprocessing.instants import parse_instant

BY_COLUMN = [
    *(date + time for date in ("%d/%m/%Y", "%m-%d-%Y", "%Y.%m.%d") for time in ("", " %H:%M", " %I:%M:%S %p")),
    "%Y%m%d",
    "%Y%m%d%H%M%S",
    "%H:%M:%S, %d.%m.%Y",
    "%Y/%m/%d %H:%M:%S.%f",
]
ONE_BY_ONE = ["%d %b %Y", "%d/%m/%y %H:%M", "%Y-%m-%dT%H:%M:%S%z", "%Y/%m", "%d/%m/%Y %H", "%Y-%m-%d%%", "%Y/%m/%d %f"]
FORMS = st.sampled_from(BY_COLUMN + ONE_BY_ONE)


def written(form: str) -> st.SearchStrategy[str]:
    """Texts of a format, and some that nearly are: another figure, sign or letter in a place, or one less or more."""
    moments = st.datetimes()
    exact = moments.map(lambda moment: moment.strftime(form))
    changed = st.tuples(exact, st.integers(0, 20), st.integers(0, 2), st.text("0129٣/:. -+apmZ\n", max_size=2))
    return exact | changed.map(lambda parts: parts[0][: parts[1]] + parts[3] + parts[0][parts[1] + parts[2] :])


@given(FORMS.flatmap(lambda form: st.tuples(st.just(form), st.lists(written(form), max_size=20))))
def test_by_column_is_as_one_by_one(drawn: tuple[str, list[str]]) -> None:
    form, texts = drawn
    local, absolute = read_texts(pl.Series("at", texts, dtype=pl.String), form)
    for text, here, there in zip(texts, local, absolute, strict=True):
        try:
            expected = parse_instant(text, form)
        except ValueError:
            assert (here, there) == (None, None), text
            continue
        assert (here if expected.tzinfo is None else there) == expected, text


@pytest.mark.parametrize("form", BY_COLUMN)
def test_python_reads_none_that_polars_can(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(text: str, form: str | None) -> datetime:
        raise AssertionError(f"{text} of {form} is read alone")

    monkeypatch.setattr(clocks, "parse_instant", refused)
    moment = datetime.fromisoformat("2024-02-29")
    assert read_texts(pl.Series("at", [moment.strftime(form), None]), form)[0].to_list() == [moment, None]
