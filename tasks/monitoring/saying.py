"""What was measured of parts of a window, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def say_parts(content: Mapping[str, Any]) -> list[str]:
    """Say of a measurement which slices got worse and which bounds between groups are broken, beyond doubt."""
    said = []
    for each in content.get("slices", ()):
        for metric in each["worse"]:
            now, before = each["metrics"][metric], each["before"][metric]
            said.append(
                f"{metric} of {each['words']} is {now['value']:.4g} ({now['low']:.4g} to {now['high']:.4g}, "
                f"{each['rows']} rows), {before['value']:.4g} on the holdout"
            )
    for each in content.get("fairness", ()):
        for name in each["broken"]:
            value = each["measures"][name]
            said.append(
                f"{name.replace('_', ' ')} by {each['column']}: a difference of {value['value']:.3g} "
                f"({value['low']:.3g} to {value['high']:.3g}), at most {each['bounds'][name]:g} is declared"
            )
    return said


def say_measures(content: Mapping[str, Any]) -> list[str]:
    """Say what a window was held against, where that is declared, and what the declared measures found."""
    held = content.get("reference")
    if held is None:
        said = []
    elif held.get("why"):
        said = [f"inputs were held against nothing: {held['why']}"]
    else:
        spans = " and ".join(f"{since[:10]} to {until[:10]}" for since, until in held.get("spans", ()))
        said = [f"inputs were held against {held['of']}" + (f": {spans}, {held['rows']:,} rows" if spans else "")]
    return said + [each["words"] for each in (content.get("measures") or {}).values() if each.get("words")]
