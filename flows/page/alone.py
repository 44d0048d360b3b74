"""A use case's page as one file: what it shows now, without servers, scripts and links."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from flows.page.known import UseCases
from flows.page.records import read_findings, read_ledger
from flows.page.rendering import HERE, environment
from flows.page.states import SEVERITY_TONES
from flows.page.views import MAX_WINDOWS, by_column, read_view
from flows.page.walked import read_walked
from infra.settings import Settings

_LINK = re.compile(r'<a [^>]*href="(?:/|\?)[^"]*"[^>]*>(.*?)</a>', re.DOTALL)
_TIME = re.compile(r'(<time [^>]*title="([^"]*)"[^>]*>)[^<]*(</time>)')


def page_alone(settings: Settings, name: str, now: datetime) -> str | None:
    """Return the page of a use case as one file of HTML; None where there is none of that name."""
    database = settings.platform()
    view = read_view(UseCases(settings), database, name, now, MAX_WINDOWS)
    if view is None:
        return None
    lines, older = read_ledger(database, name)
    values: dict[str, Any] = {
        "name": name,
        "card": view.live.card,
        "stages": view.live.stages,
        "view": view,
        "walked": read_walked(settings.folder, name),
        "lines": lines,
        "older": older,
        "found": read_findings(database, name),
        "tones": SEVERITY_TONES,
        "drift_columns": by_column(view.windows),
        "made": now,
        "css": (HERE / "static" / "page.css").read_text(encoding="utf-8"),
    }
    nothing: dict[str, Any] = {
        "latest": {}, "seconds": {}, "errands": [], "going": False, "runs": [], "deployed": {}, "coming": None,
        "counts": None, "pace": [], "backtest": False, "errors": {}, "kind": "", "kinds": (),
        "addresses": {}, "away": {}, "home": "", "stamp": "", "model": lambda _: "", "tracking": lambda _: "",
    }  # fmt: skip
    text = environment().get_template("use_case.html").render(**nothing, **values, alone=True)
    return _TIME.sub(r"\1\2\3", _LINK.sub(r"\1", text))  # how long ago something was is soon wrong in a file
