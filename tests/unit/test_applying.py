"""A policy is written into a use case's YAML, however that is written, and nothing else in it changes."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from expectations.errors import DriftwheelError
from tasks.backtesting.applying import apply_policy

SPEC = {"trigger": "schedule", "windows": 2, "cooldown": "14d", "budget": None, "breaker": 3}
LINE = "policy: {trigger: schedule, windows: 2, cooldown: 14d}"

STYLES = {
    "two spaces": (
        "name: a\nmonitoring:\n  every: 1mo\n  policy: {trigger: trial}\nstart: x\n",
        f"name: a\nmonitoring:\n  every: 1mo\n  {LINE}\nstart: x\n",
    ),
    "four spaces and a comment": (
        "monitoring:\n    every: 1mo\n    policy: {trigger: trial}   # mine\n    min_rows: 5\n",
        f"monitoring:\n    every: 1mo\n    {LINE}   # mine\n    min_rows: 5\n",
    ),
    "a block with comments and blank lines": (
        "monitoring:\n  policy:  # a\n\n    # b\n    trigger: trial  # c\n# d\n    release_cost: 0.1  # e\n\n  # f\n",
        f"monitoring:\n  # a\n  # b\n  # c\n  # d\n  {LINE}  # e\n\n  # f\n",
    ),
    "a comment at column 0 in the block": (
        "monitoring:\n  every: 1mo\n# a note\n  policy: {trigger: trial}\n  min_rows: 5\n",
        f"monitoring:\n  every: 1mo\n# a note\n  {LINE}\n  min_rows: 5\n",
    ),
    "a mapping over several lines": (
        "monitoring:\n  policy: {trigger: trial,   # a #1\n    release_cost: 0.1,\n  }  # end\n  min_rows: 5\n",
        f"monitoring:\n  # a #1\n  {LINE}  # end\n  min_rows: 5\n",
    ),
    "a quoted key": (
        'monitoring:\n  "every": 1mo\n  "policy": {"trigger": "a # b"}\n',
        f'monitoring:\n  "every": 1mo\n  "{LINE.replace("policy:", "policy" + chr(34) + ":")}\n',
    ),
    "a nested block at the end": (
        "monitoring:\n  every: 1mo\n  policy:\n    trigger: trial\n    budget:\n      releases: 1\n      per: 1y\n",
        f"monitoring:\n  every: 1mo\n  {LINE}\n",
    ),
    "none yet": (
        "monitoring:   # a\n    every: 1mo   # b\n# c\n    drift: {alpha: 0.1}   # d\n\n# e\nstart: x\n",
        f"monitoring:   # a\n    every: 1mo   # b\n# c\n    drift: {{alpha: 0.1}}   # d\n    {LINE}\n\n# e\nstart: x\n",
    ),
    "none yet, after a list": (
        "monitoring:\n  performance:\n  - metric: rmse\n    drop: 5.0\nstart: x\n",
        f"monitoring:\n  performance:\n  - metric: rmse\n    drop: 5.0\n  {LINE}\nstart: x\n",
    ),
    "none yet, and no line end": ("monitoring:\n  every: 1mo", f"monitoring:\n  every: 1mo\n  {LINE}\n"),
    "all in one line": (
        "monitoring: {every: 1mo, policy: {trigger: trial}, min_rows: 5}  # short\nstart: x\n",
        f"monitoring: {{every: 1mo, {LINE}, min_rows: 5}}  # short\nstart: x\n",
    ),
    "all in one line, none yet": (
        "monitoring: {every: 1mo, }\nstart: x\n",
        f"monitoring: {{every: 1mo, {LINE}, }}\nstart: x\n",
    ),
    "a null": ("monitoring:\n  policy:\n  every: 1mo\n", f"monitoring:\n  {LINE}\n  every: 1mo\n"),
    "words beyond ASCII before it": (
        "title: Fahrräder ☂ — 😀\nmonitoring:\n  policy: {trigger: trial}\n",
        f"title: Fahrräder ☂ — 😀\nmonitoring:\n  {LINE}\n",
    ),
    "a merge": (
        "base: &base {every: 1mo, policy: {trigger: trial}}\nmonitoring:\n  <<: *base\n  min_rows: 5\n",
        f"base: &base {{every: 1mo, policy: {{trigger: trial}}}}\nmonitoring:\n  <<: *base\n  min_rows: 5\n  {LINE}\n",
    ),
}


@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("style", STYLES)
def test_a_policy_is_written_into_any_style(tmp_path: Path, style: str, newline: str) -> None:
    before, after = (text.replace("\n", newline) for text in STYLES[style])
    file = tmp_path / "usecase.yaml"
    file.write_bytes(before.encode())
    apply_policy(file, SPEC)
    if newline in before:
        assert file.read_bytes().decode() == after
    apply_policy(file, SPEC)  # once more changes nothing
    assert yaml.safe_load(file.read_bytes())["monitoring"]["policy"] == yaml.safe_load(LINE)["policy"]
    assert [each.name for each in tmp_path.iterdir()] == ["usecase.yaml"]


@pytest.mark.parametrize(
    "text",
    [
        "watch: &w {policy: {trigger: trial}}\nmonitoring: *w\n",
        "monitoring:\n  policy: &p {trigger: trial}\nother: *p\n",
        "p: &p {trigger: trial}\nmonitoring:\n  policy: *p\n",
        "monitoring:\n  ? policy\n  : trigger: trial\n",
        "monitoring: 3\n",
        "name: a\n",
        "monitoring: {policy: [\n",
    ],
)
def test_what_would_change_more_than_the_policy_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "usecase.yaml"
    file.write_text(text)
    with pytest.raises(DriftwheelError, match=r"Write it by hand.*policy: \{trigger: schedule, windows: 2"):
        apply_policy(file, SPEC)
    assert file.read_text() == text
    assert [each.name for each in tmp_path.iterdir()] == ["usecase.yaml"]


def test_links_and_permissions_stay(tmp_path: Path) -> None:
    file, link = tmp_path / "real.yaml", tmp_path / "usecase.yaml"
    file.write_text(STYLES["two spaces"][0])
    file.chmod(0o640)
    link.symlink_to(file.name)
    apply_policy(link, SPEC)
    assert link.is_symlink()
    assert file.read_text() == STYLES["two spaces"][1]
    assert file.stat().st_mode & 0o777 == 0o640
