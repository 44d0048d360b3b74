"""The nearest name is named in one way, and what a library said is one line of bounded length."""

from __future__ import annotations

from expectations.wording import nearest, one_line, suggestion, suggestion_behind


def test_the_nearest_name_is_named_and_nothing_where_none_is_near() -> None:
    known = {"numeric": 1, "encode": 2}
    assert nearest("numerik", known) == "numeric"
    assert suggestion("numerik", known) == "did you mean 'numeric'?"
    assert suggestion_behind("numerik", known) == " (did you mean 'numeric'?)"
    assert (nearest("xyz", known), suggestion("xyz", known), suggestion_behind("xyz", [])) == (None, "", "")


def test_what_a_library_said_is_one_line_of_bounded_length() -> None:
    assert one_line(ValueError("a\n  b\t c ")) == "a b c"
    assert one_line(ValueError("a " * 400)) == ("a " * 150)
    assert one_line(ValueError("abcdef"), 3) == "abc"
    assert one_line(ValueError("\n\na\nb\n\nwhat was run")) == "a b"
    assert one_line(ValueError(" \n")) == "ValueError", "not an index error over lines that are not there"
