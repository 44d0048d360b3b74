"""CONTRIBUTING says how each kind of part is added: what it names is there, and one module and one line are enough."""

from __future__ import annotations

import json
import re
import shutil
from importlib import import_module
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydantic import TypeAdapter

from expectations import slots
from expectations.usecase import UseCase
from flows.cli import main
from tasks.checking import check_part

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PATH = re.compile(r"`((?:expectations|tasks|infra|flows|tests)/[\w/.]+)`")
EXTENDS = re.compile(r"`(\w+)`(?: or `(\w+)`)? of\s+`((?:expectations|tasks)/[\w/]+)\.py`")
PARTS = [
    ("SOURCES", "sources", "acme.shifts", "Shifts"),
    ("FEATURES", "features", "halve", "Halve"),
    ("FAMILIES", "candidates", "acme.line", "Line"),
    ("METRICS", "metrics", "acme.worst", "WorstMistake"),
    ("POLICIES", "policies", "acme.impatient", "Impatient"),
    ("DRIFT_SCORES", "drift_scores", "acme.hellinger", "Hellinger"),
    ("ALERT_RULES", "alert_rules", "acme.busy", "Busy"),
]


def test_what_it_names_is_there() -> None:
    paths = PATH.findall(TEXT)
    assert [path for path in paths if not (ROOT / path).exists()] == []
    named = [(one, module) for *names, module in EXTENDS.findall(TEXT) for one in names if one]
    absent = [(name, module) for name, module in named if not hasattr(import_module(module.replace("/", ".")), name)]
    assert absent == []
    assert len(paths) > 20
    assert {"FeatureStep", "CleaningStep", "Source", "Family", "Metric", "Gate", "Policy", "Problem"} <= {
        name for name, _ in named
    }


def test_it_says_how_to_add_a_part_of_each_slot() -> None:
    tables = [name for name, value in vars(slots).items() if value in slots.SLOTS.values()]
    assert [table for table in tables if f"`{table}`" not in TEXT] == []


@pytest.mark.slow
@pytest.mark.parametrize(("table", "key", "name", "part"), PARTS)
def test_one_module_and_one_line_are_a_part(
    table: str, key: str, name: str, part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(ROOT / "tests" / "packages" / "acme-driftwheel" / "acme_driftwheel.py", tmp_path / "one_module.py")
    monkeypatch.syspath_prepend(tmp_path)
    slot = getattr(slots, table)
    assert slot.find(name) is None

    monkeypatch.setitem(slot.built_in, name, f"one_module:{part}")  # the line

    check_part(key, name)
    listed = json.loads(CliRunner().invoke(main, ["parts", key, "--json"]).output)
    assert next(each["summary"] for each in listed if each["name"] == name).endswith(".")
    if key != "metrics":  # of a metric a use case writes the name alone
        titles = json.dumps(TypeAdapter(UseCase).json_schema())
        assert part in titles
