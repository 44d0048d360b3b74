"""Send messages to whatever address Apprise understands, each target for itself."""

from __future__ import annotations

import hashlib
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from expectations.alerts import AlertTarget, Severity
from tasks.stores.alert_pictures import CAPTION, attach, goes_with_words, takes_picture
from tasks.stores.deliveries import Deliveries, ToReport
from tasks.stores.finding_kinds import describe
from tasks.stores.message_texts import write
from tasks.stores.messages import Calendar, Message, TargetState, delivered, plan, refused

DEAD_AFTER = 3
"""Attempts in vain, one after the other, until a target is called one that takes nothing."""
MAX_SECONDS = 30.0
"""How long one target may take; Apprise gives up a silent one after 4 s, but not one that sends a byte a second."""
PATIENCE = timedelta(hours=1)
"""How long a target whose variables are not set here is left to processes that have them, before that is reported."""
_NOT_SET = "not set in the environment"
_TALKERS = ("urllib3", "requests")
"""Loggers that write addresses, whole or in part; of Slack, Teams and many more the path is the secret."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Channel:
    """A target and where it leads.

    Attributes
    ----------
    address : str
        With its variables filled in; empty where one is not set. It is a password in all but name.
    lacking : tuple of str
        Variables that are not set.
    position : int
        Where it stands under `alerts`.
    repeat : int
        How many targets before it have the same address: each is served by itself.
    """

    target: AlertTarget = field(repr=False)
    position: int
    address: str = field(repr=False)
    lacking: tuple[str, ...] = ()
    repeat: int = 0

    @property
    def name(self) -> str:
        """Stands for the address as it is written: the same for as long as that is."""
        written = f"{self.target.to}\n{self.repeat}" if self.repeat else self.target.to
        return hashlib.sha256(written.encode()).hexdigest()[:16]

    @property
    def label(self) -> str:
        """What people are shown: its place and its kind."""
        scheme, colon, _ = self.target.to.partition("://")
        kind = f" ({scheme})" if colon and re.fullmatch(r"[a-z][a-z0-9+]{0,15}", scheme) else ""
        return f"alerts.{self.position}{kind}"


@dataclass(frozen=True)
class Sent:
    """What came of a message to one target; `why` says why it was not taken, empty where it was."""

    label: str
    title: str
    why: str = ""


def deliver(
    database: Deliveries,
    usecase: str,
    channels: Sequence[Channel],
    calendar: Calendar,
    page: str = "",
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    draw: Callable[[Message], bytes | None] = lambda _: None,
) -> list[Sent]:
    """Send each target its messages that are due; what it does not take is tried again later.

    Several processes may do so at once: a target is claimed before it is sent anything.

    Parameters
    ----------
    channels : sequence of Channel
        All targets of the use case. Without any, findings stand on the page alone.
    page : str
        Base address of the page; empty where there is none.
    draw : callable
        Returns the picture of a message, as PNG; None where it has none. It is asked for messages to targets that take
        one alone, before the target is claimed: what is sent to a target that is claimed waits for nothing.
    """
    began = clock()
    sendable = database.know_targets(
        usecase,
        {each.name: each.label for each in channels},
        [each.name for each in channels if each.lacking],
        began,
    )
    standing = {_health_key(name) for name in sendable}
    database.end_all_but(usecase, ["undelivered"], standing, "its address is no longer under alerts", began)
    due: list[tuple[Channel, Message, ToReport, bytes | None]] = []
    for each in channels:
        if each.lacking and began - sendable[each.name] < PATIENCE:
            continue  # another process may have its variables
        wanted, _ = _planned(database, usecase, each, calendar, clock())
        if wanted is None:
            continue
        picture = draw(wanted) if takes_pictures([each]) else None
        if database.claim_target(usecase, each.name, clock()):
            # what was planned before the claim may have been sent by whoever had the target
            message, known = _planned(database, usecase, each, calendar, clock())
            if message is None:
                database.free_target(usecase, each.name)
            else:
                due.append((each, message, known, picture))
    sent = send_all(
        [(each, *write(message, usecase, calendar, page), message.severity, shown) for each, message, _, shown in due]
    )
    for (each, message, known, _), outcome in zip(due, sent, strict=True):
        now = clock()
        state = refused(known.state, outcome.why, now) if outcome.why else delivered(known.state, message, now)
        _note_health(database, usecase, each, state, now)
        database.note_attempt(usecase, each.name, state, message, taken=not outcome.why)
        if outcome.why:
            _log.error("%s of %s did not take a message (%s); it is sent again later", each.label, usecase, outcome.why)
    return sent


def _note_health(database: Deliveries, usecase: str, channel: Channel, state: TargetState, now: datetime) -> None:
    """Record that a target takes nothing any more, for the page and for other targets; or that it does again."""
    key = _health_key(channel.name)
    if not state.attempts:
        database.end(usecase, [key], "it took a message", now)
    elif state.attempts >= DEAD_AFTER:
        since = f"{state.attempts} messages since {state.failing_since:%Y-%m-%d %H:%M} UTC were not taken"
        summary = f"{channel.label}: {since}; {state.last_error}"
        with database.transaction() as connection:
            database.record(connection, describe(usecase, "undelivered", "warning", summary, key=key), now)


def _health_key(target: str) -> str:
    return f"undelivered-{target}"


def _planned(
    database: Deliveries, usecase: str, channel: Channel, calendar: Calendar, now: datetime
) -> tuple[Message | None, ToReport]:
    known = database.to_report(usecase, channel.name, now)
    if known.state.last_error.endswith(_NOT_SET) and not channel.lacking:  # that was another process's environment
        known = replace(known, state=replace(known.state, next_attempt=None))
    findings = [each for each in known.findings if each.key != _health_key(channel.name)]  # of itself it knows
    return plan(findings, known.reported, known.state, channel.target, now, calendar), known


def send_all(messages: Sequence[tuple[Channel, str, str, Severity, bytes | None]]) -> list[Sent]:
    """Send messages, each with its picture, side by side: none waits for a target that is slow."""
    answers: dict[int, str] = {}

    def send(number: int, channel: Channel, title: str, body: str, severity: Severity, picture: bytes | None) -> None:
        for why in _send(channel, title, body, severity, picture):
            answers[number] = why  # at once: the words have been taken, however long their picture takes

    with _silent() as muted:
        threads = [
            threading.Thread(target=send, args=(number, *each), daemon=True) for number, each in enumerate(messages)
        ]
        deadline = time.monotonic() + MAX_SECONDS
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        if any(thread.is_alive() for thread in threads):
            muted.clear()  # it still knows an address, and may say so later
    late = f"it did not answer within {MAX_SECONDS:.0f} s"
    return [
        Sent(channel.label, title, answers.get(number, late)) for number, (channel, title, *_) in enumerate(messages)
    ]


def takes_pictures(channels: Sequence[Channel]) -> bool:
    """Whether one of these targets shows a picture beside the words."""
    with _silent():
        return any(_shows(each.address) for each in channels if each.address)


def _shows(address: str) -> bool:
    import apprise

    try:
        sender = apprise.Apprise.instantiate(address)
    except Exception:  # noqa: BLE001 - services of Apprise raise anything; that it cannot be sent to is said as it is sent
        return False
    return sender is not None and takes_picture(sender)


def _send(channel: Channel, title: str, body: str, severity: Severity, picture: bytes | None) -> Iterator[str]:
    """Send one message; gives once why it was not taken, empty where it was: its words decide, its picture never does.

    Where both are one request and that fails, for whatever reason, the words are sent again, alone. Elsewhere words are
    sent first; only where they were taken the picture follows, and that it was not taken is no more than logged.
    """
    import apprise

    if channel.lacking:
        yield f"{' and '.join(channel.lacking)} {_NOT_SET}"
        return
    heard = _Heard()
    logger = logging.getLogger("apprise")
    logger.addHandler(heard)
    try:
        sender = apprise.Apprise()
        if not sender.add(channel.address):
            yield "its address is none Apprise understands; see its list of services"
            return
        said = {
            "title": title,
            "body": body,
            "notify_type": apprise.NotifyType(severity),
            "body_format": apprise.NotifyFormat.TEXT,
        }
        shown = attach(sender[0], picture) if picture is not None and takes_picture(sender[0]) else None
        together = shown is not None and goes_with_words(sender[0])
        taken = together and _takes_picture(channel, sender, said | {"attach": shown})
        taken = taken or sender.notify(**said) is True
        yield "" if taken else heard.why
        if taken and shown is not None and not together:
            _takes_picture(channel, sender, {"body": CAPTION, "notify_type": said["notify_type"], "attach": shown})
    except Exception as error:  # noqa: BLE001 - services of Apprise raise anything, and its words may hold the address
        yield f"it could not be sent: {type(error).__name__}"
    finally:
        logger.removeHandler(heard)


def _takes_picture(channel: Channel, sender: Any, said: dict[str, Any]) -> bool:  # noqa: ANN401 - Apprise has no types
    """Send what holds a picture; False, and it is logged, where that was not taken."""
    try:
        why = "" if sender.notify(**said) is True else "it was not taken"
    except Exception as error:  # noqa: BLE001 - as of words: whatever a picture does, they are sent
        why = type(error).__name__
    if why:
        _log.warning("%s showed no picture of a message (%s)", channel.label, why)
    return not why


class _Heard(logging.Handler):
    """What Apprise logs in this thread, down to what cannot hold a part of an address."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.why = "it was not taken"
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread != self._thread:
            return
        said = record.getMessage()
        code = re.search(r"error=(\d{3})(?:\d\d)?\b", said)  # ntfy's own codes are the status and two digits more
        if code:
            self.why = f"it answered {code[1]}"
        elif "Connection error" in said:
            self.why = "it cannot be reached, or did not answer in time"
        elif said.startswith("Sending email"):
            self.why = "the mail server cannot be reached, or did not take it"


@contextmanager
def _silent() -> Iterator[dict[str, int]]:
    """Let no library log that knows an address; Apprise is heard by `_Heard` alone.

    Gives the loggers that speak again afterwards, and their levels: none where that was emptied.
    """
    apprise = logging.getLogger("apprise")
    former = {name: logging.getLogger(name).level for name in _TALKERS}
    level, propagate, handlers = apprise.level, apprise.propagate, apprise.handlers[:]
    for name in _TALKERS:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    apprise.handlers[:], apprise.propagate = [logging.NullHandler()], False
    apprise.setLevel(logging.WARNING)
    try:
        yield former
    finally:
        if former:
            for name, each in former.items():
                logging.getLogger(name).setLevel(each)
            apprise.handlers[:], apprise.propagate = handlers, propagate
            apprise.setLevel(level)
