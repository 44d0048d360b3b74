"""The recorder of alert rules: writes what they find into the ledger and as findings, and resolves what is over."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from functools import partial

import msgspec
from sqlalchemy import Connection

from expectations.alert_rules import (
    AlertRule,
    Condition,
    Conditions,
    DecisionRule,
    FeedbackRule,
    LossRule,
    MeasuredWindow,
    MonitorRun,
    RunRule,
    Silence,
    Strays,
    WindowRule,
)
from expectations.alert_views import DecisionMade, LossByHour, UnmatchedLabels
from expectations.production import Monitoring
from expectations.slots import ALERT_RULES
from tasks.bundles.feedback import Unmatched
from tasks.bundles.manifest import Manifest
from tasks.monitoring.saying import say_fairness, say_slices
from tasks.monitoring.watermarks import AskedWindows
from tasks.stores.finding_kinds import KINDS, describe
from tasks.stores.ledger import Entry
from tasks.stores.measurements import Measurement
from tasks.stores.places import Job

_log = logging.getLogger("driftwheel.tasks")


def rules_of(monitoring: Monitoring) -> list[AlertRule]:
    """Return the rules in force: those that always are, with what is declared of them, and the others declared.

    Those that are turned off are not among them.
    """
    parts = {name: ALERT_RULES.released(name) for name in ALERT_RULES.built_in}
    rules = {name: part.model_validate({"rule": name}) for name, part in parts.items() if part.always}
    rules |= {each.rule: each for each in monitoring.alert_rules}
    return [each for each in rules.values() if each.enabled and each.in_force(monitoring)]


def note_run(job: Job, strays: Sequence[Strays], asked: AskedWindows) -> None:
    """Record what rules find of a run before it measures."""
    silence = None
    if asked.runs:
        grid = job.usecase.spec.grid
        last = grid.after(asked.runs[-1][1])
        silence = Silence(last, grid.between(last, job.as_of), asked.longest(grid), grid.every)
    run = MonitorRun(job.as_of, tuple(strays), silence)
    _note(job, ((rule, partial(rule.look, run)) for rule in _rules(job) if isinstance(rule, RunRule)))


def note_window(job: Job, champion: str, found: Measurement, manifest: Manifest) -> None:
    """Record what rules find of a window that was measured.

    Parameters
    ----------
    champion : str
        The bundle that answers now.
    manifest : Manifest
        Of the bundle that answered most of the window.
    """
    window = _view(job, champion, found, manifest)
    looks = ((rule, partial(rule.look, window)) for rule in _rules(job) if isinstance(rule, WindowRule))
    _note(job, looks, window)


def note_decision(job: Job, connection: Connection, decision: DecisionMade) -> None:
    """Record what rules find of a decision, in its transaction."""
    looks = ((rule, partial(rule.look, decision)) for rule in _rules(job) if isinstance(rule, DecisionRule))
    _note(job, looks, connection=connection)


def note_loss(job: Job, connection: Connection, loss: LossByHour) -> None:
    """Record what rules find of a look at the loss by the hour, in the transaction that keeps where it stopped."""
    looks = ((rule, partial(rule.look, loss)) for rule in _rules(job) if isinstance(rule, LossRule))
    _note(job, looks, connection=connection)


def note_unmatched(job: Job, unmatched: Unmatched) -> None:
    """Record what rules find of labels that name no prediction."""

    def seen(rule: FeedbackRule) -> UnmatchedLabels:
        known = job.database.finding(job.name, rule.rule)
        quiet = job.as_of - known.last_seen if known is not None and known.open else None
        return UnmatchedLabels(unmatched.labels, unmatched.first, unmatched.last, unmatched.senders, quiet)

    _note(job, ((rule, partial(rule.look, seen(rule))) for rule in _rules(job) if isinstance(rule, FeedbackRule)))


def _rules(job: Job) -> list[AlertRule]:
    return rules_of(job.usecase.spec.monitoring)


def _note(
    job: Job,
    looks: Iterable[tuple[AlertRule, Callable[[], Conditions | None]]],
    window: MeasuredWindow | None = None,
    connection: Connection | None = None,
) -> None:
    """Record what rules find, one after the other.

    Parameters
    ----------
    looks : iterable of (AlertRule, callable)
        Rules, and what each says.
    window, connection
        As of `_record`.
    """
    for rule, look in looks:
        _record(job, rule, _found(rule, look), window, connection)


def _found(rule: AlertRule, look: Callable[[], Conditions | None]) -> Conditions | None:
    """Return what a rule says; None where it fails, as where it cannot say: the log has why, monitoring goes on."""
    try:
        return look()
    except Exception as error:  # noqa: BLE001 - packages add rules, and they raise anything
        _log.warning("the alert rule %s failed: %s: %s", rule.rule, type(error).__name__, error, exc_info=error)
        return None


def end_undeclared(job: Job) -> None:
    """Resolve findings of rules that are not in force any more."""
    monitoring = job.usecase.spec.monitoring
    off = {each.rule for each in monitoring.alert_rules if not each.enabled}
    gone = {each.kind for each in job.database.open_findings(job.name)} - KINDS.keys()
    gone -= {each.rule for each in rules_of(monitoring)}
    for kinds, how in (
        (gone & off, "the rule is turned off"),
        (gone - off, "nothing of the kind is declared any more"),
    ):
        if kinds:
            job.database.end_all_but(job.name, kinds, (), how, job.as_of)


def end_of_others(job: Job, champion: str) -> None:
    """Resolve findings about windows of versions that answer no more."""
    kinds = {each.rule for each in _rules(job) if isinstance(each, WindowRule)}
    standing = [each for each in job.database.open_findings(job.name) if each.kind in kinds]
    kept = {each.key for each in standing if _is_of(each.key, f"{each.kind}-{champion[:12]}")}
    job.database.end_all_but(job.name, kinds, kept, "another version answers", job.as_of)


def _record(
    job: Job,
    rule: AlertRule,
    conditions: Conditions | None,
    window: MeasuredWindow | None = None,
    connection: Connection | None = None,
) -> None:
    """Write what a rule finds, and resolve what it no longer finds; nothing is written where there is neither.

    Parameters
    ----------
    window : MeasuredWindow, optional
        What it is about. Of a version that answers no more the ledger is written alone.
    connection : Connection, optional
        Of the transaction it belongs to; one of its own where not given.
    """
    if conditions is None:
        return
    answers = window is None or window.answers
    whole = rule.rule if window is None else f"{rule.rule}-{window.bundle[:12]}"
    found = {f"{whole}-{each.key}" if each.key else whole: each for each in conditions.found}
    standing = job.database.open_keys(job.name, rule.rule, connection) if answers else []
    gone = [key for key in standing if _is_of(key, whole) and key not in found]
    if not found and not gone:
        return
    with job.database.transaction() if connection is None else nullcontext(connection) as writing:
        for key, each in found.items():
            if not isinstance(rule, DecisionRule):
                job.database.write(writing, _entry(job, rule, each, window))
            if answers:
                evidence = dict(each.evidence)
                about = describe(job.name, rule.rule, each.severity, each.summary, evidence, key=key)
                job.database.record(writing, about, job.as_of)
        for key in gone:
            job.database.resolve(writing, job.name, key, conditions.over, job.as_of)


def _entry(job: Job, rule: AlertRule, found: Condition, window: MeasuredWindow | None) -> Entry:
    once = found.once
    if window is not None and not once:
        once = f"{window.window.start.isoformat()}/{window.window.end.isoformat()}"
    key = f"{job.name}/monitor/{rule.rule}/{once}"
    return Entry(key, job.name, job.as_of, "monitor", rule.rule, rule.cause, found.summary, dict(found.evidence))


def _is_of(key: str, whole: str) -> bool:
    return key == whole or key.startswith(f"{whole}-")


def _view(job: Job, champion: str, found: Measurement, manifest: Manifest) -> MeasuredWindow:
    known = {each.metric: each.value for each in found.realised}
    newest = _is_newest(job, champion, found)
    return MeasuredWindow(
        found.window,
        found.champion,
        found.version,
        found.champion == champion,
        found.rows,
        found.labelled,
        found.coverage,
        found.ripe,
        found.status,
        tuple(each.column for each in found.drifted),
        {name: value for name, value in known.items() if value is not None and math.isfinite(value)},
        manifest.label_words,
        manifest.classes,
        found.unseen,
        msgspec.structs.asdict(found.feedback),
        tuple(say_slices(found.slices)) if newest and found.slices is not None else None,
        tuple(say_fairness(found.fairness or ())) if newest else None,
        {each.column: each.unscored for each in found.drift if each.unscored},
    )


def _is_newest(job: Job, champion: str, found: Measurement) -> bool:
    """Whether it is the champion's newest window whose parts were looked at."""
    if found.champion != champion or found.slices is None:
        return False
    later = job.database.measurements(job.name, since=found.end, champion=champion)
    return all(each.slices is None for each in later)
