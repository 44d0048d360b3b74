"""The site of the docs has every page of them."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_page_of_docs_is_in_the_navigation() -> None:
    sections = tomllib.loads((ROOT / ".zensical.toml").read_text())["project"]["nav"]
    named = [page for section in sections for pages in section.values() for page in pages]
    assert sorted(named) == sorted(path.name for path in (ROOT / "docs").glob("*.md"))
