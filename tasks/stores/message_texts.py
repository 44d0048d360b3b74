"""The words of a message: its title and its text."""

from __future__ import annotations

from collections.abc import Sequence

from expectations.alerts import SEVERITIES, Severity
from expectations.durations import spoken
from tasks.stores.findings import Finding
from tasks.stores.messages import Calendar, Message

MAX_CHARACTERS = 3500
"""Of a message: ntfy takes 4,096 bytes, Telegram as many characters."""
_IN_FULL = 5
"""Findings that a message has in full; of more it has the titles."""
_TITLES = 15
_SIGNS: dict[Severity, str] = {"info": "note", "warning": "warning", "failure": "failure"}


def write(message: Message, usecase: str, calendar: Calendar, page: str) -> tuple[str, str]:
    """Write a message: its title and its text.

    Parameters
    ----------
    page : str
        Base address of the page; empty where there is none.
    """
    standing = sorted(message.standing, key=lambda each: -SEVERITIES.index(each.severity))
    lines: list[str] = []
    for each in standing[:_IN_FULL]:
        began = calendar.local(each.opened)
        seen = f", seen {each.times_seen} times" if each.times_seen > 1 else ""
        lines += [
            f"{_SIGNS[each.severity].upper()}: {each.title}",
            f"Since {began:%Y-%m-%d %H:%M} {began.tzname()}{seen}.",
            each.body,
            *([address(page, each)] if page else []),
            "",
        ]
    lines += [f"{_SIGNS[each.severity]}: {each.title}" for each in standing[_IN_FULL : _IN_FULL + _TITLES]]
    if len(standing) > _IN_FULL + _TITLES:
        lines.append(f"and {len(standing) - _IN_FULL - _TITLES} more")
    if standing[_IN_FULL:]:
        lines.append("")
    for each in message.over[:_TITLES]:
        lines.append(f"RESOLVED: {each.title} ({_lasted(each)}): {each.resolved_how}")
    if len(message.over) > _TITLES:
        lines.append(f"and {len(message.over) - _TITLES} more resolved")
    if message.still:
        lines.append(
            f"{_count(message.still, 'finding')} more {'stands' if message.still == 1 else 'stand'} as before."
        )
    if page:
        lines.append(f"All of it: {page}/usecases/{usecase}")
    text = "\n".join(lines).strip()
    if len(text) > MAX_CHARACTERS:
        where = f"; see {page}/usecases/{usecase}" if page else f"; see `driftwheel alert list {usecase}`"
        text = f"{text[: MAX_CHARACTERS - len(where) - 4]} …{where}"
    return f"{usecase}: {_headline(message, standing)}", text


def address(page: str, finding: Finding) -> str:
    """Return a finding's address on the page."""
    return f"{page.rstrip('/')}/usecases/{finding.usecase}/findings/{finding.key}"


def _headline(message: Message, standing: Sequence[Finding]) -> str:
    counts = []
    for severity in reversed(SEVERITIES):
        found = sum(each.severity == severity for each in standing)
        if found:
            counts.append(_count(found, _SIGNS[severity]))
    if message.over:
        counts.append(f"{len(message.over)} resolved")
    said = ", ".join(counts)
    if message.digest:
        return f"{message.digest} digest: {said}"
    if len(message.findings) == 1:
        return f"{'resolved: ' if message.over else ''}{message.findings[0].title}"
    return said


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _lasted(finding: Finding) -> str:
    if finding.resolved is None or finding.resolved <= finding.opened:
        return "at once"
    return f"after {spoken((finding.resolved - finding.opened).total_seconds())}"
