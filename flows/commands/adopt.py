"""`driftwheel adopt`: from a model that others trained, and its table, to a use case."""

from __future__ import annotations

from pathlib import Path

import click

from flows.commands.new import print_founded
from flows.commands.shared import read_settings


@click.command()
@click.argument("name")
@click.option(
    "--model",
    "file",
    required=True,
    metavar="PATH",
    type=click.Path(exists=True, path_type=Path),
    help="LightGBM's text, JSON of XGBoost (or UBJ) or CatBoost, ONNX, skops, or a folder of MLflow; never a pickle.",
)
@click.option(
    "--from", "address", required=True, metavar="ADDRESS", help="Its table, CSV or Parquet: path, glob, https, s3 …"
)
@click.option("--target", required=True, metavar="COLUMN", help="What it predicts.")
@click.option("--clock", metavar="COLUMN", help="When each row was; found where not given.")
@click.option("--key", "keys", multiple=True, metavar="COLUMN", help="Column that identifies a row (may be repeated).")
@click.option("--features", metavar="COLUMN,…", default="", help="Its features in order, where the file names none.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def adopt(
    name: str,
    file: Path,
    address: str,
    target: str,
    clock: str | None,
    keys: tuple[str, ...],
    features: str,
    as_json: bool,
) -> None:
    """Make a use case of a model that was trained elsewhere and its table: it is the first champion, and challenged."""
    from flows.founding import GivenModel, found_use_case, refuse_name
    from flows.progress import Progress
    from tasks.modelling.mlflow_folders import find_model
    from tasks.modelling.model_files import read_model
    from tasks.profiling.choosing import require_columns
    from tasks.profiling.profile import profile_table
    from tasks.profiling.reading import read_table
    from tasks.stores.files import storing

    folder = Path.cwd() / name
    refuse_name(name, folder, read_settings().platform().use_cases())
    with Progress("reading the model and the table"):
        found = find_model(file)
        with storing("read", found.path):
            content = found.path.read_bytes()
        asked = tuple(each for each in features.split(",") if each)
        given = GivenModel(read_model(content, found.name), asked or found.features)
        table = read_table(address, Path.cwd())
        require_columns(table.columns, target, clock, keys)
        profile = profile_table(table, {target, *keys, *given.features, *([clock] if clock else [])})
        profile, choices = found_use_case(folder, profile, target, clock=clock, keys=keys, given=given)
    print_founded(profile, choices, folder, as_json=as_json)
