"""What each kind of finding is in plain words: what usually causes it, what was done about it, what a person can do.

Those of `KINDS` are no alert rules: what stops the loop, changes who answers or is a fault of the platform itself must
not be turned off. The others are rules (`expectations.alert_rules`), which a use case can turn off or set.
"""

from __future__ import annotations

from typing import Any

from expectations.alert_rules import Kind
from expectations.alerts import Severity
from expectations.slots import ALERT_RULES
from tasks.stores.findings import Found

_KEPT = "the champion stays"
_BRING_BACK = (
    "Damaged or lost: `driftwheel deploy USECASE --version N` brings it back from MLflow. "
    "Other inputs: let clients send them, then `driftwheel deploy USECASE --new-signature`"
)
KINDS: dict[str, Kind] = {
    "held": Kind(
        "the newest data broke its expectations",
        "a source changed, or the suite is wrong",
        "nothing was trained on that data and nothing is decided by it",
        "Correct the source, or the suite if it is wrong; the next collection takes corrected rows",
    ),
    "late": Kind(
        "rows came later than the lookback",
        "a source delivered a backlog",
        "they were taken; windows and models from before are without them",
        "If that is usual, set a longer collection.lookback",
        settles=True,
    ),
    "lost": Kind(
        "rows without an event time were not taken",
        "the clock column of the source is empty",
        "they are left out, the others were taken",
        "Correct the source: the next collection takes them",
    ),
    "stale": Kind(
        "a source brings nothing new",
        "whatever fills it stopped, or writes elsewhere",
        "what it holds was taken; models and windows see nothing newer",
        "Look at what fills it; if it is slower than that, set a longer `expect_every`",
        settles=True,
    ),
    "failed": Kind(
        "a flow failed",
        "",
        "what was committed before stays",
        "Read the flow run's log in Prefect, correct what it names; the next run goes on",
    ),
    "refused": Kind(
        "a challenger was no better than the champion",
        "there was nothing to gain from newer data",
        _KEPT,
        "Nothing",
    ),
    "undecided": Kind(
        "a gate could not judge a challenger",
        "a metric is not defined on the holdout",
        _KEPT,
        "See `driftwheel why`: the holdout may hold one class alone, or too few rows",
    ),
    "promoted": Kind("a new version answers", "", "it was proved in the service and released", "Nothing"),
    "withdrawn": Kind(
        "a release was withdrawn",
        "a guardrail broke, or there was too little traffic to judge by",
        _KEPT,
        "Read the steps in `driftwheel why --json`",
    ),
    "approval": Kind(
        "a version waits for a person",
        "the policy asks for an approval before each release",
        "the deploy flow is paused",
        "Open the flow run it names in Prefect, resume it, and say yes or no",
    ),
    "rollback": Kind(
        "a release turned out worse than the version before it",
        "",
        "the version before answers again, unless the first line says otherwise",
        "Read the trial behind it in `driftwheel why --trials`",
    ),
    "not-taken-back": Kind(
        "a worse release could not be rolled back",
        "",
        "it still answers, and is not rolled back again by itself",
        "Run `driftwheel rollback` or `driftwheel promote` by hand",
    ),
    "not-released": Kind(
        "the service would not take a version",
        "its files are damaged, or it needs other inputs",
        _KEPT,
        _BRING_BACK,
    ),
    "not-compared": Kind(
        "a release is not compared with the version before it",
        "the bundle of the version before is lost or damaged",
        "the release answers; were it worse, nothing would show it",
        "Watch its metric; `driftwheel deploy USECASE --version N` brings a lost bundle back",
    ),
    "undrawn": Kind(
        "a report could not be drawn",
        "",
        "what was measured and decided stands",
        "See the window in `driftwheel why --json`",
        settles=True,
    ),
    "course": Kind(
        "the course of the windows could not be written for Evidently",
        "",
        "what was measured and decided stands",
        "Correct what it names; the next run of monitor writes all of it",
        settles=True,
    ),
    "stalled": Kind(
        "a turn was given up",
        "its stage fails before it can say why, or nothing runs it",
        "the turn ended; the champion stays",
        "Look at the logs of its flow runs in Prefect; is the runner up? Then `driftwheel run loop USECASE`",
    ),
    "bundle-refused": Kind(
        "the service refuses a bundle",
        "it is damaged, or needs other inputs",
        "what was served before is served on",
        _BRING_BACK,
    ),
    "unwatched": Kind(
        "a release was given up in the middle",
        "the process that watched it was killed",
        "the champion answers alone again",
        "Run the deployment again, or `driftwheel promote USECASE --version N` of the champion to forget the candidate",
    ),
    "unreadable": Kind(
        "the service cannot read what it should serve",
        "the releases folder is away or damaged",
        "what was served before is served on; the service tries again by itself",
        "Repair the disk or the mount",
    ),
    "unlogged": Kind(
        "the service cannot log predictions",
        "its disk is full or away",
        "the service answers no predictions that it cannot log, unless it was set to",
        "Free the disk; the service recovers by itself within a second",
    ),
    "unharvested": Kind(
        "parts of a journal cannot be kept in their table",
        "a disk failed, or the task was changed under one name",
        "they are kept, all others were taken",
        "Give a changed task another name, else more comes; once what it names is looked at and moved away this ends",
    ),
    "left-out": Kind(
        "the use case cannot be read",
        "",
        "none of its flows runs; the flows of others do",
        "Correct the lines it names, then `driftwheel add NAME` (in containers `docker compose up register`)",
    ),
    "undelivered": Kind(
        "a target takes no messages",
        "its address is wrong, its variable is not set, or it is away",
        "its messages wait; they are tried again, at least every hour",
        "`driftwheel alert test USECASE` says what each target answers",
    ),
    "unready": Kind(
        "the service does not pass its health check",
        "it is down, its disk is full, or it cannot load what it should serve",
        "it is asked again each minute",
        "See `driftwheel status` and the service's log",
    ),
    "errors": Kind(
        "many requests fail at once",
        "a client sends what the model does not take, or the service itself fails; its causes are named above",
        "such requests got an error, no prediction",
        "See the causes on the page; the service's log names the column, or has the trace",
        settles=True,
    ),
    "behind": Kind(
        "the service looks back at rows that are not collected yet",
        "collections fail, a batch is held, the source brings nothing, or `known_after` is shorter than rows take",
        "requests are answered by the earlier rows that are there, and not as the model learnt it",
        "See the collect runs in Prefect; where they come often enough, lengthen `known_after` under `history`",
        settles=True,
    ),
    "unmonitored": Kind(
        "monitoring does not run",
        "the flow server or the runner is away, or each run ends early",
        "nothing is measured or decided meanwhile; what was missed is made up by one run",
        "See `driftwheel status` and the monitor runs in Prefect",
    ),
}
SETTLED_BY_RELEASE = ("withdrawn", "rollback", "not-taken-back", "not-released", "refused", "undecided", "approval")
"""Kinds that another champion ends."""


def words_of(kind: str) -> Kind:
    """Return the words about a kind of finding, or of the alert rule of that name.

    Raises
    ------
    KeyError
        If there is no such kind.
    """
    rule = None if kind in KINDS else ALERT_RULES.find(kind)
    return KINDS[kind] if rule is None else rule.words


def describe(
    usecase: str,
    kind: str,
    severity: Severity,
    summary: str,
    evidence: dict[str, Any] | None = None,
    *,
    key: str | None = None,
    title: str | None = None,
) -> Found:
    """Make a finding of a kind: what was found, and the words that go with it.

    Parameters
    ----------
    summary : str
        What was found, and how bad it is.
    key : str, optional
        The kind's name where not given.
    title : str, optional
        The kind's own where not given.
    """
    words = words_of(kind)
    lines = [
        f"{summary[:1].upper()}{summary[1:].rstrip('.')}.",
        *([f"Likely cause: {words.cause}."] if words.cause else []),
        f"What was done: {words.done}.",
        f"What you can do: {words.advice[:1].lower()}{words.advice[1:]}.",
    ]
    return Found(
        usecase, key or kind, kind, severity, title or words.title, "\n".join(lines), evidence or {}, words.settles
    )
