"""Whatever a file looks like, it is read right, or refused with words that, followed, make it right."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.torture.dirty import dirty
from tests.torture.reading import advises, try_file


@pytest.mark.slow
def test_no_dirty_file_is_silently_wrong_or_a_dead_end(tmp_path: Path) -> None:
    seen: Counter[str] = Counter()
    for seed in range(300):
        file = dirty(seed)
        found = try_file(file, tmp_path)
        assert "right" in found.what, f"seed {seed}, {file.kinds}: {found.what}: {found.why}"
        seen[found.what] += 1
    assert seen["right"] > 20
    assert seen["refused, then right"] > 100


def test_advice_counts_only_with_the_value_that_makes_the_file_right() -> None:
    said = 'declare `decimal: ","` and `signs: ["%"]` at the source'
    assert advises(said, "decimal", ",")
    assert advises(said, "signs", ["%"])
    assert not advises(said, "decimal", ".")
    assert not advises(said, "signs", ["$"])
    assert not advises(said, "thousands", ",")
    assert advises("Declare another `encoding`", "encoding", "latin-1")  # which no file shows
