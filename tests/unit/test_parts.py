"""Parts by name: each is what its examples say, and is read without what is heavy; those of others plug in."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, get_args

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner
from pydantic import TypeAdapter, ValidationError

from expectations.column_types import ColumnType
from expectations.errors import BundleError, PartError, TrainingError, UseCaseError
from expectations.loading import load_use_case
from expectations.named_parts import Slot
from expectations.parts import FeatureStep, FitContext
from expectations.slots import CLEANING, COLUMN_TYPES, FEATURES, SLOTS
from tasks.checking import check_part
from tasks.preprocessing.fitting import fit_program
from tasks.preprocessing.program import FeatureProgram
from tests.conftest import needs_torch

NAMES = [(key, name) for key, slot in SLOTS.items() for name in slot.built_in]
STEPS = TypeAdapter(tuple[Annotated[FeatureStep, FEATURES], ...])
HEAVY = [
    "torch",
    "sklearn",
    "prefect",
    "mlflow",
    "evidently",
    "great_expectations",
    "lightgbm",
    "xgboost",
    "tokenizers",
]


def needed(name: str) -> pytest.MarkDecorator | tuple[()]:
    """Return what leaves out the part that learns by torch, where that may not be there."""
    return needs_torch if "torch" in name else ()


@pytest.mark.slow
@pytest.mark.parametrize(("key", "name"), [pytest.param(*each, marks=needed(each[1])) for each in NAMES])
def test_a_part_keeps_the_laws_of_its_kind(key: str, name: str) -> None:
    check_part(key, name)


def test_parts_of_another_package_are_held_against_the_same(package: Path) -> None:
    assert package.exists()
    for key, name in (
        ("sources", "acme.shifts"),
        ("features", "halve"),
        ("candidates", "acme.line"),
        ("policies", "acme.impatient"),
        ("drift_scores", "acme.hellinger"),
        ("alert_rules", "acme.busy"),
    ):
        check_part(key, name)


WRONG = """
import polars as pl
from acme_driftwheel import Halve, Halved
from expectations.parts import Learnt

class Rounded(Halved):
    def row(self, out):
        name = out.variable(self.column)
        out.line(f"if {name} is not None: {name} = round({name} * 0.5, 6)")

class Shifted(Halved):
    def frame(self, frame):
        return frame.with_columns(pl.col(self.column) - pl.col(self.column).mean())
    def row(self, out):
        name = out.variable(self.column)
        out.line(f"if {name} is not None: {name} = {name} * 1.0")

class Wrong(Halve):
    '''Halve numbers, wrongly.'''
    def fit(self, frame, context):
        return Learnt([FITTED(column) for column in self.halve])
"""


@pytest.mark.parametrize("fitted", ["Rounded", "Shifted"])
def test_a_step_that_breaks_a_law_is_said_to(package: Path, monkeypatch: pytest.MonkeyPatch, fitted: str) -> None:
    (package / f"acme_{fitted.lower()}.py").write_text(WRONG.replace("FITTED", fitted))
    monkeypatch.setitem(FEATURES.built_in, "halve", f"acme_{fitted.lower()}:Wrong")
    with pytest.raises(PartError, match="halve to keep this: rows are treated as a frame is"):
        check_part("features", "halve")


@pytest.mark.slow
def test_parts_are_read_without_what_is_heavy() -> None:
    blocked = "".join(f"sys.modules[{name!r}] = None; " for name in HEAVY)
    found = "[slot.find(name) for slot in SLOTS.values() for name in slot.built_in]"
    script = f"import sys; {blocked}from expectations.slots import SLOTS; {found}"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_parts_are_listed() -> None:
    from flows.cli import main

    listed = CliRunner().invoke(main, ["parts", "features", "--json"])
    found = {each["name"]: each for each in json.loads(listed.output)}
    assert set(FEATURES.built_in) <= set(found)
    assert found["encode"]["slot"] == "features"
    assert found["encode"]["fields"] == {"encode": None, "max_categories": 1000}
    assert "encode" in CliRunner().invoke(main, ["parts"]).output


def test_a_part_is_called_with_its_article() -> None:
    assert [SLOTS[key].one for key in ("sources", "alert_rules")] == ["a source", "an alert rule"]
    with pytest.raises(PartError, match="an alert rule 'nosuch'"):
        check_part("alert_rules", "nosuch")


def test_the_reference_is_of_these_parts() -> None:
    from flows.commands.parts import write_reference

    page = Path(__file__).parents[2] / "docs" / "parts.md"
    assert page.read_text() == write_reference(), "write it anew: driftwheel parts --reference >docs/parts.md"


def test_a_training_row_is_not_shown_its_own_label() -> None:
    rows = 400
    label = pl.Series([float(row % 2) for row in range(rows)])
    frame = pl.DataFrame({"id": [str(row) for row in range(rows)], "kind": ["ab"[row % 2] for row in range(rows)]})
    declared = STEPS.validate_json('[{"target": ["id", "kind"], "smoothing": 0.5}]')
    program, train = fit_program(declared, frame, context=FitContext(label))
    served = program.transform(frame)
    assert abs(np.corrcoef(served[:, 0], label)[0, 1]) == pytest.approx(1.0)  # an id tells its own label
    np.testing.assert_allclose(train[:, 0], 0.5)  # and nothing of others
    assert np.corrcoef(train[:, 1], label)[0, 1] > 0.99  # what rows share, it learns
    with pytest.raises(TrainingError, match="a label"):
        fit_program(declared, frame)


def test_names_that_depend_on_the_rows_are_features_and_what_they_come_from_is_none() -> None:
    frame = pl.DataFrame({"t": ["b", "a", "b", None, "c"]})
    program, train = fit_program(STEPS.validate_json('[{"encode": ["t"]}, {"one_hot": ["t"]}]'), frame)
    assert program.features == ("t=-1", "t=0", "t=1", "t=2")
    assert program.categorical == ()
    assert train.sum(axis=1).tolist() == [1.0] * 5


@pytest.fixture
def package(another_package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package that pip installed, with two entries that are wrong."""
    shutil.copytree(another_package, tmp_path, dirs_exist_ok=True)
    with next(tmp_path.glob("*.dist-info/entry_points.txt")).open("a") as entries:
        entries.write("[driftwheel.cleaning_steps]\nnone = acme_driftwheel:Halved\ngone = acme_gone:Gone\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("acme_driftwheel", None)  # where it is not installed it is not known


def test_a_step_of_another_package_is_declared_learnt_and_served(package: Path) -> None:
    frame = pl.DataFrame({"x": [1.0, 3.0, None]})
    program = fit_program(STEPS.validate_json('[{"halve": ["x"]}]'), frame).program
    again = FeatureProgram.from_json(program.to_json())
    assert again == program
    np.testing.assert_array_equal(again.transform(frame)[:, 0], [0.5, 1.5, np.nan])
    np.testing.assert_array_equal(again.compile().matrix(frame.to_dicts())[:, 0], [0.5, 1.5, np.nan])
    sys.path.remove(str(package))
    with pytest.raises(BundleError, match="halve"):
        FeatureProgram.from_json(program.to_json())


def test_what_is_no_part_is_said_to_be_none(package: Path) -> None:
    assert package.exists()
    with pytest.raises(PartError, match="acme-driftwheel"):
        CLEANING.find("none")
    with pytest.raises(ValidationError, match=r"a feature step starts with one of: numeric, .*halve"):
        STEPS.validate_json('[{"impude": ["x"]}]')


def test_a_name_that_two_packages_have_is_taken_from_neither(package: Path) -> None:
    other = package / "other-1.0.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (other / "entry_points.txt").write_text("[driftwheel.feature_steps]\nhalve = other:Halve\n")
    with pytest.raises(PartError, match=r"one feature step 'halve'; found 2: acme_driftwheel:Halve, other:Halve"):
        FEATURES.find("halve")


def test_a_package_that_cannot_be_imported_is_a_problem_with_a_line(
    package: Path, make_use_case: Callable[..., Path]
) -> None:
    assert package.exists()
    folder = make_use_case(changes={"cleaning": [{"gone": ["temperature"]}]})
    with pytest.raises(UseCaseError, match=r"(?s)usecase.yaml:\d+: cleaning.0.*acme-driftwheel.*acme_gone"):
        load_use_case(str(folder))
    program = {"format": 2, "inputs": [], "repairs": [{"step": "gone"}], "steps": [], "features": [], "categorical": []}
    with pytest.raises(BundleError, match="acme_gone"):
        FeatureProgram.from_json(json.dumps(program))


def test_column_types_are_those_that_a_use_case_may_write_and_packages_add_none(package: Path) -> None:
    with next(package.glob("*.dist-info/entry_points.txt")).open("a") as entries:
        entries.write("[driftwheel.column_types]\nsound = acme_driftwheel:Halved\n")
    assert COLUMN_TYPES.names() == get_args(ColumnType)
    assert COLUMN_TYPES.find("sound") is None


@pytest.mark.parametrize("slot", SLOTS.values())
def test_a_name_that_nothing_has_is_none(slot: Slot) -> None:
    assert slot.find("nothing") is None
    assert slot.part_of({slot.tag or "nothing": "nothing"}) is None
    assert slot.part_of({slot.tag: ["file"]} if slot.tag else {7: 1}) is None


def test_the_program_of_the_format_before_is_read() -> None:
    before = {
        "format": 1,
        "inputs": [{"name": "x", "kind": "number"}, {"name": "t", "kind": "text"}],
        "steps": [
            {"column": "x", "low": 0.0, "high": None, "step": "bound"},
            {"column": "t", "spellings": ["A"], "agreed": ["a"], "step": "replace"},
            {"column": "x", "value": 2.0, "step": "fill"},
            {"column": "t", "categories": ["a", "b"], "step": "ordinal"},
        ],
        "features": ["x", "t"],
        "categorical": ["t"],
    }
    program = FeatureProgram.from_json(json.dumps(before))
    assert [step.step for step in program.repairs] == ["clip", "map"]
    assert [step.step for step in program.steps] == ["impute", "encode"]
    assert program.compile().one({"x": -1.0, "t": "A"}) == [0.0, 0.0]
    assert program.compile().one({"x": None, "t": "b"}) == [2.0, 1.0]


def test_a_slot_looks_among_its_own_names_first() -> None:
    slot = Slot("x", FEATURES.base, {"numeric": FEATURES.built_in["numeric"]}, "driftwheel.none")
    assert slot.part_of({"unknown": 1, "numeric": ["x"]}) is FEATURES.find("numeric")
    assert slot.part_of({"unknown": 1}) is None
    assert slot.part_of(["numeric"]) is None


CLEANS = """
from collections.abc import Sequence
from typing import ClassVar
import polars as pl
from expectations.fields import Columns
from expectations.parts import CleaningStep, Repaired

class Alone(CleaningStep):
    '''Say that it looks at its own columns alone, and look at others.'''
    own_columns: ClassVar = True
    examples: ClassVar = ({"alone": ["x"]},)
    alone: Columns

    def reads(self):
        return self.alone

    def repair(self, rows, keys):
        return rows.HOW, Repaired("alone", 0)
"""


@pytest.mark.parametrize(
    ("name", "how", "found"),
    [
        ("names", "filter(pl.col('t') != 'a')", r"after this: the same rows .*unable to find column .t"),
        ("adds", "with_columns(more=pl.col('x') * 2)", "keep this: it looks at no columns but those it reads"),
        ("misses", "drop_nulls()", "keep this: it looks at no columns but those it reads"),
        ("compares", "unique(maintain_order=True)", "keep this: it looks at no columns but those it reads"),
    ],
)
def test_a_cleaning_step_that_looks_at_more_than_it_says_is_said_to(
    package: Path, monkeypatch: pytest.MonkeyPatch, name: str, how: str, found: str
) -> None:
    (package / f"acme_{name}.py").write_text(CLEANS.replace("HOW", how))
    monkeypatch.setitem(CLEANING.built_in, "alone", f"acme_{name}:Alone")
    with pytest.raises(PartError, match=found):
        check_part("cleaning", "alone")
