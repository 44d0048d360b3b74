"""How numbers are written: what is said to declare, and what is a number at all where nobody declared anything."""

import polars as pl
import pytest

from tasks.collection.numbers import Notation


@pytest.mark.parametrize(
    ("texts", "advice"),
    [
        (["1,234.5 kg", "12.5 kg", "-"], 'declare `thousands: ","` and `signs: ["kg"]` at the source'),
        (["5%", "7 %"], 'declare `signs: ["%"]` at the source: 5% is then 5'),
        (["1,234", "2,345"], 'these numbers have commas: declare `thousands: ","` or `decimal: ","` at the source'),
        (["1.234,5", "n/a"], 'declare `decimal: ","` and `thousands: "."` at the source'),
        (["soon", "later"], ""),
    ],
)
def test_what_is_said_to_declare_makes_most_of_the_texts_numbers(texts: list[str], advice: str) -> None:
    assert Notation().advice(pl.Series("x", texts)) == advice


@pytest.mark.parametrize("texts", [["1.10", "1.1"], ["+1", "1"], ["1e3", "1000"], ["inf"], ["007"]])
def test_what_tells_rows_apart_is_a_number_only_where_no_text_changes(texts: list[str]) -> None:
    assert Notation().guess(pl.Series("x", texts), (), exact=True).to_list() == texts
    assert Notation().guess(pl.Series("x", ["1.5", "NA", "-2.0"]), ("NA",), exact=True).to_list() == [1.5, None, -2.0]
