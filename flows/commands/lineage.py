"""`driftwheel lineage` and `driftwheel prove`."""

from __future__ import annotations

from typing import Any

import click

from flows.commands.shared import print_json, read_settings

_usecase = click.option("--usecase", help="Whose it is; looked for in all where not given.")


@click.command()
@click.argument("what")
@_usecase
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with everything.")
def lineage(what: str, usecase: str | None, as_json: bool) -> None:
    """Follow WHAT back to its rows, sources and commit, and forward to what came of it.

    WHAT is the id of a prediction, the hash of a bundle, a run in MLflow, or, with --usecase, a version's number. For a
    replay, --usecase USECASE-replay.
    """
    from flows.lineage import trace

    found = trace(read_settings(), what, usecase)
    if as_json:
        print_json(found)
        return
    for line in _lines(found):
        click.echo(line)


def _lines(found: dict[str, Any]) -> list[str]:
    lines = [f"use case   {found['usecase']}"]
    if "answer" in found:
        answer = found["answer"]
        lines.append(f"answer     {answer['prediction']} for {answer['event_time']}, id {answer['id']}")
        lines.append("row        " + ", ".join(f"{name}={value}" for name, value in found["row"].items()))
        lines += [
            f"window     {each['start'][:16]} to {each['end'][:16]}: {each['status']}" for each in found["windows"]
        ]
    lines.append(f"bundle     {found['bundle']}")
    if "lost" in found:
        lines.append(f"lost       {found['lost']}")
    else:
        data = found["data"]
        lines.append(f"model      {found['model']['family']}, commit {found['model']['commit'] or 'unknown'}")
        lines.append(f"data       {data['rows']:,} rows up to {data['until']}, table clean version {data['version']}")
        lines.append(f"hash       {data['hash']}")
        lines.append(f"parent     {found['parent'] or 'none: it was the first'}")
        if found["recalibrated_from"]:
            again = f"only the calibration behind it was learnt again, from rows up to {data['calibrated_until']}"
            lines.append(f"model of   {found['recalibrated_from']}: {again}")
    lines += [f"run        {each}" for each in found["runs"]]
    lines += [f"ledger     {each['kind']} {each['action']}: {each['entry']}" for each in found["ledger"]]
    if "forward" in found:
        after = found["forward"]
        lines.append(f"forward    {after['answers']:,} answers, {len(after['windows'])} windows")
        lines += [f"decision   {each['action']}: {each['entry']}" for each in after["decisions"][-5:]]
        lines += [f"challenger {each}" for each in after["challengers"]]
    return lines


@click.command()
@click.argument("answer")
@_usecase
def prove(answer: str, usecase: str | None) -> None:
    """Derive the answer of an id again, from the bundle and the row that are kept, and compare bit by bit."""
    from expectations.errors import DriftwheelError
    from flows.lineage import prove_answer

    found = prove_answer(read_settings(), answer, usecase)
    bundle = found.answered.content["bundle"]
    if not found.same:
        raise DriftwheelError(
            f"{found.logged} again, as bundle {bundle[:12]} answered {answer}",
            f"{found.again}, a difference of {found.difference:g}",
            "Compare the versions of libraries, and the processor, with those of the service that answered",
        )
    said = ", ".join(f"{value!r}" for value in found.again)
    click.echo(f"{said}: the same bits as {answer} had, by bundle {bundle[:12]} ({found.by})")
