"""The service runs without the trainer and the trackers, and importing anything does nothing."""

import subprocess
import sys

import pytest

# None in sys.modules makes an import fail, while a library that only asks whether another is there hears no
BLOCK = """
import sys
sys.modules.update(dict.fromkeys({names!r}))
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def test_the_service_imports_without_what_only_training_needs() -> None:
    names = {
        "prefect",
        "mlflow",
        "torch",
        "sklearn",
        "great_expectations",
        "evidently",
        "flows",
        "sqlalchemy",
        "lightgbm",
        "matplotlib",
    }
    done = run(
        BLOCK.format(names=names) + "import infra.serving.app, infra.serving.__main__; "
        "print(sorted({'pandas', 'deltalake', 'pyarrow'} & set(sys.modules)))"
    )
    assert done.stdout == "[]\n", done.stderr


def test_tables_are_read_with_what_the_image_holds() -> None:
    done = run(
        BLOCK.format(names={"pandas", "pyarrow", "deltalake", "fsspec"})
        + "import io, polars; from infra.serving.tables import TableRequest, as_json; out = io.BytesIO(); "
        "polars.DataFrame({'x': [1.5]}).write_parquet(out); "
        "print(as_json(TableRequest('parquet', ['x'], 1, 100, 0), out.getvalue()))"
    )
    assert done.stdout == '(0, b\'{"dataframe_split":{"columns":["x"],"data":[[1.5]]}}\')\n', done.stderr


@pytest.mark.parametrize("module", ["flows.cli", "expectations.loading", "infra.settings"])
def test_nothing_heavy_is_imported_by_what_must_answer_at_once(module: str) -> None:
    heavy = {
        "prefect",
        "mlflow",
        "torch",
        "sklearn",
        "great_expectations",
        "evidently",
        "pandas",
        "deltalake",
        "lightgbm",
    }
    done = run(f"import sys, {module}; print(sorted({heavy!r} & set(sys.modules)))")
    assert done.stdout == "[]\n", done.stderr


def test_only_doors_import_the_engine() -> None:
    done = run(
        "import sys, tasks.training.training_run, tasks.monitoring.watching, tasks.deployment.releasing, "
        "tasks.collection.collecting, tasks.cleaning.cleaning; print('prefect' in sys.modules)"
    )
    assert done.stdout == "False\n", done.stderr
