"""The recorder of alert rules: writes what they find into the ledger and as findings, and resolves what is over."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from functools import partial

import msgspec

from expectations.alert_rules import (
    AlertRule,
    Condition,
    Conditions,
    MeasuredWindow,
    MonitorRun,
    RunRule,
    Silence,
    Strays,
    WindowRule,
)
from expectations.production import Monitoring
from expectations.slots import ALERT_RULES
from tasks.bundles.manifest import Manifest
from tasks.monitoring.findings import note
from tasks.monitoring.saying import say_fairness, say_slices
from tasks.monitoring.watermarks import AskedWindows
from tasks.stores.finding_kinds import KINDS
from tasks.stores.ledger import Entry
from tasks.stores.measurements import Measurement
from tasks.stores.places import Job

_log = logging.getLogger("driftwheel.tasks")


def rules_of(monitoring: Monitoring) -> list[AlertRule]:
    """Return the rules in force: those that always are, with what is declared of them, and the others declared."""
    parts = {name: ALERT_RULES.released(name) for name in ALERT_RULES.built_in}
    rules = {name: part.model_validate({"rule": name}) for name, part in parts.items() if part.always}
    rules |= {each.rule: each for each in monitoring.alert_rules}
    return [each for each in rules.values() if each.in_force(monitoring)]


def note_run(job: Job, strays: Sequence[Strays], asked: AskedWindows) -> None:
    """Record what rules find of a run before it measures."""
    silence = None
    if asked.runs:
        grid = job.usecase.spec.grid
        last = grid.after(asked.runs[-1][1])
        silence = Silence(last, grid.between(last, job.as_of), asked.longest(grid), grid.every)
    run = MonitorRun(job.as_of, tuple(strays), silence)
    for rule in rules_of(job.usecase.spec.monitoring):
        if isinstance(rule, RunRule):
            _record(job, rule, _found(rule, partial(rule.look, run)))


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
    for rule in rules_of(job.usecase.spec.monitoring):
        if isinstance(rule, WindowRule):
            _record(job, rule, _found(rule, partial(rule.look, window)), window)


def _found(rule: AlertRule, look: Callable[[], Conditions | None]) -> Conditions | None:
    """Return what a rule says; None where it fails, as where it cannot say: the log has why, monitoring goes on."""
    try:
        return look()
    except Exception as error:  # noqa: BLE001 - packages add rules, and they raise anything
        _log.warning("the alert rule %s failed: %s: %s", rule.rule, type(error).__name__, error, exc_info=error)
        return None


def end_undeclared(job: Job) -> None:
    """Resolve findings of rules that are not in force any more."""
    in_force = {each.rule for each in rules_of(job.usecase.spec.monitoring)}
    kinds = {each.kind for each in job.database.open_findings(job.name)} - in_force - KINDS.keys()
    if kinds:
        job.database.end_all_but(job.name, kinds, (), "nothing of the kind is declared any more", job.as_of)


def end_of_others(job: Job, champion: str) -> None:
    """Resolve findings about windows of versions that answer no more."""
    kinds = {each.rule for each in rules_of(job.usecase.spec.monitoring) if isinstance(each, WindowRule)}
    standing = [each for each in job.database.open_findings(job.name) if each.kind in kinds]
    kept = {each.key for each in standing if _is_of(each.key, f"{each.kind}-{champion[:12]}")}
    job.database.end_all_but(job.name, kinds, kept, "another version answers", job.as_of)


def _record(job: Job, rule: AlertRule, conditions: Conditions | None, window: MeasuredWindow | None = None) -> None:
    if conditions is None:
        return
    whole = rule.rule if window is None else f"{rule.rule}-{window.bundle[:12]}"
    kept = set()
    for each in conditions.found:
        once = each.once
        if window is not None and not once:
            once = f"{window.window.start.isoformat()}/{window.window.end.isoformat()}"
        ledger, key = f"{rule.rule}/{once}", f"{whole}-{each.key}" if each.key else whole
        kept.add(key)
        if window is not None and not window.answers:
            _write(job, rule, ledger, each)
        else:
            note(
                job,
                ledger,
                rule.rule,
                each.summary,
                rule.rule,
                kind="monitor",
                severity=each.severity,
                evidence=dict(each.evidence),
                finding=key,
            )
    if window is not None and not window.answers:
        return
    standing = [each.key for each in job.database.open_findings(job.name) if each.kind == rule.rule]
    gone = [key for key in standing if _is_of(key, whole) and key not in kept]
    job.database.end(job.name, gone, conditions.over, job.as_of)


def _write(job: Job, rule: AlertRule, key: str, found: Condition) -> None:
    """Write into the ledger alone: of a version that answers no more."""
    entry = Entry(
        f"{job.name}/monitor/{key}",
        job.name,
        job.as_of,
        "monitor",
        rule.rule,
        "monitor",
        found.summary,
        dict(found.evidence),
    )
    with job.database.transaction() as connection:
        job.database.write(connection, entry)


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
