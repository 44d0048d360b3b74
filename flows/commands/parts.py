"""`driftwheel parts`: what a use case may name."""

from __future__ import annotations

import sys
from typing import Any

import click
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from expectations.named_parts import Slot
from expectations.slots import SLOTS
from flows.commands.shared import print_json, print_table


@click.command()
@click.argument("slot", required=False, type=click.Choice([*SLOTS]))
@click.option("--check", is_flag=True, help="Hold each against the laws of its kind; yours too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with fields and defaults.")
@click.option("--reference", is_flag=True, help="Print the page docs/parts.md, of those that are built in.")
def parts(slot: str | None, check: bool, as_json: bool, reference: bool) -> None:
    """List the parts that a use case may name, those of installed packages too."""
    if reference:
        click.echo(write_reference(), nl=False)
        return
    if check:
        _check([slot] if slot else list(SLOTS))
        return
    found = []
    for name in [slot] if slot else SLOTS:
        for part_name in SLOTS[name].names():
            part = SLOTS[name].find(part_name)
            if part is None:
                continue
            fields = {field.alias or key: _written(field.default) for key, field in part.model_fields.items()}
            found.append({"slot": name, "name": part_name, "summary": part.summary(), "fields": fields})
    if as_json:
        print_json(found)
    else:
        rows: list[tuple[str, ...]] = [(str(each["slot"]), str(each["name"]), str(each["summary"])) for each in found]
        print_table("Parts", ("slot", "name", "what for"), rows)


def _written(default: object) -> object:
    """Return a default as it would be written; None where a field has none."""
    if isinstance(default, BaseModel):
        return default.model_dump(mode="json")
    return None if default is PydanticUndefined else default


def _check(slots: list[str]) -> None:
    from expectations.errors import PartError
    from flows.commands.shared import console
    from tasks.checking import check_part

    broken = 0
    for slot in slots:
        for name in SLOTS[slot].names():
            try:
                check_part(slot, name)
            except PartError as error:
                broken += 1
                console().print(f"✗ {slot} {name}: {error}", soft_wrap=True)
            else:
                console().print(f"✓ {slot} {name}")
    if broken:
        sys.exit(1)


_BY_NAME = frozenset({"sources", "columns", "personal"})
"""Slots that a use case fills with mappings: of the names of its sources, or of columns."""


def _how_to_add(slot: Slot[Any]) -> str:
    if slot.closed:
        return f"Packages cannot add {slot.one}: {slot.closed}."
    return f"Packages add {slot.one} by an entry point in the group `{slot.group}`."


def write_reference() -> str:
    """Write the reference of the parts that are built in, as Markdown."""
    import yaml

    lines = ["# Parts", "", "What a use case may name. `driftwheel parts --reference` writes this page."]
    for key, slot in SLOTS.items():
        lines += ["", f"## `{key}`", "", _how_to_add(slot)]
        for name in slot.built_in:
            part = slot.find(name)
            if part is None:
                continue
            lines += ["", f"### {name}", "", part.summary(), "", "```yaml"]
            lead = "name: " if key in _BY_NAME else "- "
            lines += [
                yaml.safe_dump(dict(e)).strip()
                if key == "task"
                else f"{lead}{yaml.safe_dump(dict(e), default_flow_style=True, width=1000).strip()}"
                for e in part.examples
            ]
            lines += ["```"]
    return "\n".join(lines) + "\n"
