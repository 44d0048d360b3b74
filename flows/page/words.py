"""Instants, spans and sentences as the page writes them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from markupsafe import Markup, escape

from expectations.durations import spoken


def now() -> datetime:
    """Return the instant that ages count to."""
    return datetime.now(UTC)


def exact(moment: datetime) -> str:
    """Write an instant in full.

    Examples
    --------
    >>> exact(datetime(2013, 6, 2, tzinfo=UTC))
    '2013-06-02 00:00 UTC'
    """
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def span(time: timedelta) -> str:
    """Write how long something is."""
    return spoken(time.total_seconds())


def ago(moment: datetime) -> str:
    """Write an instant by how long ago it was, or is to come."""
    apart = now() - moment
    if abs(apart) < timedelta(seconds=2):
        return "now"
    return f"{span(apart)} ago" if apart > timedelta() else f"in {span(-apart)}"


def worded(text: str) -> Markup:
    """Show what a text has between backticks as code.

    Examples
    --------
    >>> str(worded("run `a < b`"))
    'run <code>a &lt; b</code>'
    """
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped just now


def sentence(text: str) -> str:
    """Let a text begin with a capital letter and end with a full stop."""
    text = text.strip()
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '!', '?', '`')) else '.'}" if text else ""
