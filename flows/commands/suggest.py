"""`driftwheel suggest`."""

from __future__ import annotations

import os

import click

from flows.commands.shared import print_json, print_table, read_settings


@click.command()
@click.argument("usecase")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with those that are left out.")
@click.option("--write", "written", is_flag=True, help="Write them at the end of suite.yaml; what is there stays.")
def suggest(usecase: str, as_json: bool, written: bool) -> None:
    """Propose expectations from what was collected, with how often each would have been wrong.

    They are learnt on the older part of the rows and held against the newer part: only those are proposed that hold at
    most 1 % of its batches and set at most 1 % of its rows apart. For a replay, USECASE-replay.
    """
    from expectations.contradictions import REPLAY
    from expectations.errors import StorageError
    from expectations.loading import SUITE
    from flows.progress import Progress
    from tasks.cleaning.suggesting import Suggestion
    from tasks.cleaning.suggesting import suggest as propose
    from tasks.cleaning.suite_writing import add_to_suite
    from tasks.stores.lake import Lake

    settings = read_settings()
    replayed = usecase.endswith(REPLAY) and not os.path.exists(usecase)  # noqa: PTH110 - any text
    loaded = settings.use_case(usecase.removesuffix(REPLAY) if replayed else usecase)
    loaded = loaded.renamed(loaded.name + REPLAY) if replayed else loaded
    file = loaded.folder / SUITE
    if written and not os.access(file.resolve().parent, os.W_OK):  # said now, not in minutes
        raise StorageError(f"to write expectations to {file}", "a folder that is read-only", "Leave --write out")
    with Progress("holding expectations against what was collected"):
        found = propose(loaded, Lake(settings.lake or str(settings.folder / "lake"), loaded.name))
    if written and found.suggested:
        add_to_suite(file, found.suggested)

    def flat(each: Suggestion) -> dict[str, object]:
        return {**vars(each), "false_holds": each.false_holds, "false_rows": each.false_rows}

    if as_json:
        print_json(
            {
                **vars(found),
                "suggested": list(map(flat, found.suggested)),
                "left_out": list(map(flat, found.left_out)),
            }
        )
        return
    if found.suggested:
        print_table(
            f"{loaded.name}: learnt on {found.learnt_on} older {found.history}, held against {found.measured_on} newer",
            ("expectation", "with", "false holds", "rows apart"),
            [
                (each.name, _arguments(each.kwargs), f"{each.held} of {each.parts}", f"{each.apart:,} of {each.rows:,}")
                for each in found.suggested
            ],
        )
    else:
        click.echo("nothing to propose that the suite does not have")
    if found.left_out:
        click.echo("left out, as they are wrong too often:")
    for each in found.left_out:
        click.echo(f"  {each.name} (held {each.held} of {each.parts}, set {each.apart:,} of {each.rows:,} rows apart)")
    if written and found.suggested:
        click.echo(
            f"{len(found.suggested)} expectations are at the end of {file} now; run `driftwheel check {usecase}`"
        )


def _arguments(kwargs: dict[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in kwargs.items() if name not in ("column", "mostly"))
