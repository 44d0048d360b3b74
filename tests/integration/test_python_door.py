"""What `import driftwheel` opens, and the notebook that shows it."""

from __future__ import annotations

import ast
import contextlib
import inspect
import io
import json
import subprocess
import sys
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebook.ipynb"


def test_every_name_is_there_typed_and_with_an_example() -> None:
    import driftwheel

    public = {name for name, each in vars(driftwheel).items() if inspect.isroutine(each) and not name.startswith("_")}
    assert public <= set(driftwheel.__all__)
    assert sorted(driftwheel.__all__, key=str.lower) == sorted(set(driftwheel.__all__), key=str.lower)
    for name in driftwheel.__all__:
        assert getattr(driftwheel, name).__doc__
    for name in public:
        assert ">>>" in getattr(driftwheel, name).__doc__, name
        assert "return" in getattr(driftwheel, name).__annotations__
    assert (Path(driftwheel.__file__).parent / "py.typed").exists()


@pytest.mark.slow
def test_opening_the_door_loads_nothing_heavy() -> None:
    heavy = ["prefect", "mlflow", "torch", "sklearn", "pandas", "lightgbm", "great_expectations", "evidently"]
    code = f"import driftwheel, sys; print(sorted(set({heavy!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


def test_an_instant_without_a_zone_or_that_has_not_come_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    import driftwheel

    naive = datetime(2011, 6, 1)  # noqa: DTZ001 - what is refused
    for call in (
        lambda: driftwheel.fit("nothing-of-this-name", tmp_path / "bundle", naive),
        lambda: driftwheel.replay("nothing-of-this-name", naive),
        lambda: driftwheel.replay("nothing-of-this-name", None, naive),
    ):
        with pytest.raises(driftwheel.errors.InstantError, match=r"with its time zone; found datetime.*tzinfo=UTC"):
            call()
    with pytest.raises(driftwheel.errors.InstantError, match="an instant that has come"):
        driftwheel.fit("nothing-of-this-name", tmp_path / "bundle", datetime(2999, 1, 1, tzinfo=UTC))


@pytest.mark.slow
def test_the_notebook_prints_what_stands_in_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DRIFTWHEEL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            assert run("".join(cell["source"]), namespace) == shown(cell["outputs"])


def run(source: str, namespace: dict[str, Any]) -> str:
    """Run a cell as Jupyter does, and return what it prints and what its last line gives."""
    tree, said, value = ast.parse(source), io.StringIO(), None
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    with contextlib.redirect_stdout(said):
        exec(compile(tree, "cell", "exec"), namespace)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), "cell", "eval"), namespace)
    return said.getvalue() + ("" if value is None else repr(value))


def shown(outputs: list[dict[str, Any]]) -> str:
    return "".join("".join(each["text"] if "text" in each else each["data"]["text/plain"]) for each in outputs)


@pytest.mark.process
def test_a_wheel_holds_the_door_once(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", tmp_path, NOTEBOOK.parents[1]], check=True)
    (wheel,) = tmp_path.glob("driftwheel-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "driftwheel/__init__.py" in names
    assert not [name for name in names if name.startswith("flows/python")]
