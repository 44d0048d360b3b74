"""A use case's page as one file: what it shows now, without servers, scripts and links."""

from __future__ import annotations

import re
from datetime import datetime

from flows.page.known import UseCases
from flows.page.rendering import HERE, environment
from flows.page.use_case_values import Asked, page_values, read_kept
from flows.page.views import MAX_WINDOWS
from infra.settings import Settings

_LINK = re.compile(r'<a [^>]*href="(?:/|\?)[^"]*"[^>]*>(.*?)</a>', re.DOTALL)
_TIME = re.compile(r'(<time [^>]*title="([^"]*)"[^>]*>)[^<]*(</time>)')


def page_alone(settings: Settings, name: str, now: datetime) -> str | None:
    """Return the page of a use case as one file of HTML; None where there is none of that name."""
    kept = read_kept(settings, UseCases(settings), settings.platform(), name, now, MAX_WINDOWS)
    if kept is None:
        return None
    css = (HERE / "static" / "page.css").read_text(encoding="utf-8")
    values = page_values(name, kept, Asked()) | {"alone": True, "made": now, "css": css}
    text = environment().get_template("use_case.html").render(values)
    return _TIME.sub(r"\1\2\3", _LINK.sub(r"\1", text))  # how long ago something was is soon wrong in a file
