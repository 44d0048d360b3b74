"""Tables of the terminal show texts as they are."""

from __future__ import annotations

import pytest

from flows.commands.shared import print_table


def test_brackets_and_colons_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    texts = ["driftwheel[xgboost]", "[red]x[/red]", "at :x: [/no tag]"]
    print_table("of [a]", ("[head]",), [(each,) for each in texts])
    printed = capsys.readouterr().out
    assert all(each in printed for each in ("of [a]", "[head]", *texts))
