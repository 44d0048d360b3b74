"""Looks at the service each minute: whether it passes its health check, what it did, and if that needs a person."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import httpx
import msgspec

from expectations.alerts import Severity, worse
from expectations.errors import DriftwheelError
from flows.history_watch import BEHIND, judge_behind
from infra.settings import Settings
from tasks.stores.finding_kinds import describe
from tasks.stores.findings import Finding, Found
from tasks.stores.releases import Releases
from tasks.stores.service import ServiceClient
from tasks.stores.service_history import KEPT, Counted, Outage, Probe, Replica, ServiceHistory, total

_MINUTE = timedelta(minutes=1)
FAILED_PROBES = 3
"""Health checks in a row that are not passed before that is a finding: fewer are a restart."""
_NEWEST, _BEFORE = timedelta(minutes=5), timedelta(hours=24)
_MIN_ERRORS, _MIN_SHARE = 10, 0.05
_SURE, _LASTS = math.log(1e6), math.log(20)
"""A burst by chance alone is less likely than one in a million at each look: at one a minute, once in two years.

It lasts until what is left of it may be chance, one time in twenty."""
_PRIOR_ERRORS, _PRIOR_REQUESTS = 1, 100
"""Added to what was before, so that a service that never failed, or was never asked, has a share to be held against."""
_KINDS = ("unready", "errors", BEHIND)
"""Kinds of findings that are opened and ended here."""
_UNWATCHED = timedelta(minutes=10)
"""Without a health check for so long nobody looks at the service: another process may know its address."""
_NO_ADDRESS = "nobody looks at the service any more, as its address is not set (`driftwheel up`, or DRIFTWHEEL_SERVICE)"
_NOT_OURS = ("bad_feedback", "bad_explain")
"""Causes of errors that are of no request for a prediction."""
_FAULTS = ("internal", "journal", "busy")
"""Causes that lie with the service, not with who asks."""


class _VersionAnswer(msgspec.Struct, frozen=True):
    """What is read of `/version`; one of before that was said has counted nothing."""

    instance: str
    started: float
    counted: dict[str, Counted] = {}


class ServiceWatch:
    """Looks once a minute, whoever of several processes comes first.

    Parameters
    ----------
    settings : Settings
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._without: datetime | None = None

    def look(self, registered: Iterable[str], now: datetime) -> None:
        """Keep what the service did, and open or end what that says of each use case; nothing where none is up.

        Raises
        ------
        DriftwheelError
            If the platform database cannot be read or written.
        """
        places = self._settings.places()
        history = ServiceHistory(self._settings.platform().url)
        minute = now.astimezone(UTC).replace(second=0, microsecond=0)
        if not places.service:
            self._end_unwatched(history, minute)
            return
        if history.is_probed(minute):
            return
        with ServiceClient(places.service, places.service_key) as service:
            probe, replicas = probed(service, minute), counted(service)
        if history.note(probe, replicas):
            releases = Releases(self._settings.folder / "releases")
            names = list(registered)
            found = self._settings.platform().open_findings()
            standing = {(each.usecase, each.key): each for each in found if each.kind in _KINDS}
            served = {name: _is_served(releases, name) for name in {*names, *(usecase for usecase, _ in standing)}}
            for usecase, key in standing:
                if served[usecase] is False:  # nobody looks at it again
                    self._settings.platform().end(usecase, [key], "it is not served any more", minute)
            self._judge(history, [name for name in names if served[name]], probe, standing, replied=bool(replicas))

    def _end_unwatched(self, history: ServiceHistory, minute: datetime) -> None:
        """End what was found of a service that nobody looks at any more, as no process knows its address."""
        if self._without is not None and minute - self._without < _UNWATCHED:
            return  # it takes so long that it is unwatched
        self._without = minute
        database = self._settings.platform()
        standing = [each for each in database.open_findings() if each.kind in _KINDS]
        if standing and not history.probes(minute - _UNWATCHED):
            for each in standing:
                database.end(each.usecase, [each.key], _NO_ADDRESS, minute)

    def _judge(
        self,
        history: ServiceHistory,
        served: Sequence[str],
        probe: Probe,
        standing: Mapping[tuple[str, str], Finding],
        *,
        replied: bool,
    ) -> None:
        database, minute = self._settings.platform(), probe.minute
        known = (_known_outage(each) for each in standing.values() if each.kind == "unready")
        outage = self._outage(history, probe, [each for each in known if each is not None])
        for name in served:
            found = [] if outage is None else [_unready(name, outage)]
            if not probe.why and (name, "unready") in standing:
                database.end(name, ["unready"], "the service passes its health check", minute)
            stands = standing.get((name, "errors"))
            newest = total(each for _, each in history.minutes(name, minute - _NEWEST + _MINUTE))
            burst = self.burst(history, name, newest, minute, stands)
            found += [burst] if burst else []
            if burst is None and stands is not None and replied and _passed(history, minute):
                database.end(name, ["errors"], "no more requests fail than by chance, or than one in twenty", minute)
            found += judge_behind(database, name, newest, minute, stands=(name, BEHIND) in standing)
            if found:
                with database.transaction() as connection:
                    for each in found:
                        database.record(connection, each, minute, once=True)

    def _outage(self, history: ServiceHistory, probe: Probe, known: Sequence[Outage]) -> Outage | None:
        """Return the outage that goes on; None where the service passed its check in one of the newest minutes."""
        minute = probe.minute
        if not probe.why or not is_unready(history.probes(minute - FAILED_PROBES * _MINUTE), minute):
            return None
        return history.newest_outage(minute, max(known, key=lambda each: each.last, default=None))

    def burst(
        self, history: ServiceHistory, name: str, newest: Counted, minute: datetime, stands: Finding | None
    ) -> Found | None:
        """Return that many requests fail at once; None where no more do than usual, or only a few.

        Parameters
        ----------
        newest : Counted
            What the service did for the use case in the five minutes that are looked at.
        minute : datetime
            The last of them.
        stands : Finding or None
            What an earlier look opened: it is held against the day before that.
        """
        if not _are_many(newest, stands=stands is not None):
            return None  # as ever: what was before is not read
        before = _held_against(stands) or self._day_before(history, name, minute - _NEWEST + _MINUTE, stands)
        if not is_burst(newest, before, stands=stands is not None):
            return None
        errors = _of_predictions(newest)
        ordered = sorted(errors.items(), key=lambda each: -each[1])
        causes = ", ".join(f"{kind} {count:,}" for kind, count in ordered)
        summary = (
            f"{sum(errors.values()):,} of {_tried(newest):,} requests in the five minutes to "
            f"{minute + _MINUTE:%H:%M} UTC were refused or failed ({causes}); in the day before "
            f"{sum(_of_predictions(before).values()):,} of {_tried(before):,}"
        )
        ours = sum(errors.get(kind, 0) for kind in _FAULTS)
        severity: Severity = "failure" if 2 * ours >= sum(errors.values()) else "warning"
        if stands is not None and worse(stands.severity, severity):
            severity = stands.severity  # a mixture that turns to and fro is no news
        kept = {"before": {"errors": _of_predictions(before), "requests": before.requests}}
        return describe(name, "errors", severity, summary, {"errors": errors, "requests": newest.requests} | kept)

    @staticmethod
    def _day_before(history: ServiceHistory, name: str, since: datetime, stands: Finding | None) -> Counted:
        """Return what was done in the day before a burst, or in the oldest day that is kept where that is gone."""
        until = since if stands is None else min(since, stands.opened - _NEWEST + _MINUTE)  # not held against itself
        first = max(until - _BEFORE, since - KEPT)
        return total(each for _, each in history.minutes(name, first, first + _BEFORE))


def _passed(history: ServiceHistory, minute: datetime) -> bool:
    """Whether the service passed each check of the minutes that a burst is looked for in: else few asked it."""
    return not any(each.why for each in history.probes(minute - _NEWEST + _MINUTE))


def _is_served(releases: Releases, name: str) -> bool | None:
    """Whether a use case has a champion; None where that cannot be read, which the service itself says louder."""
    try:
        desired = releases.desired(name)
    except DriftwheelError:
        return None
    if desired is None and releases.are_away():
        return None
    return desired is not None and desired.champion is not None


def probed(service: ServiceClient, minute: datetime) -> Probe:
    """Ask each replica whether it is ready."""
    began = time.monotonic()
    try:
        service.ask_once("GET", "/readyz")
    except httpx.HTTPStatusError as error:
        return Probe(minute, f"it answers {error.response.status_code}", time.monotonic() - began)
    except httpx.TimeoutException:
        return Probe(minute, "it does not answer in time")
    except (httpx.HTTPError, httpx.InvalidURL):
        return Probe(minute, "it does not answer")
    return Probe(minute, "", time.monotonic() - began)


def counted(service: ServiceClient) -> list[Replica]:
    """Ask each replica what it did since it began; none where one does not say."""
    try:
        answers = service.ask_once("GET", "/version")
        versions = [msgspec.convert(each, _VersionAnswer) for each in answers]
    except (httpx.HTTPError, httpx.InvalidURL, msgspec.ValidationError):
        return []
    return [Replica(each.instance, each.started, each.counted) for each in versions]


def is_unready(probes: Sequence[Probe], minute: datetime) -> bool:
    """Whether the service passed its health check in none of the newest minutes.

    Parameters
    ----------
    probes : sequence of Probe
        Of the newest minutes at least, oldest first.
    minute : datetime
        Of the newest one.
    """
    newest = [each for each in probes if each.minute >= minute - FAILED_PROBES * _MINUTE][-FAILED_PROBES:]
    return len(newest) == FAILED_PROBES and all(each.why for each in newest)


def _unready(name: str, outage: Outage) -> Found:
    said = f"the service has not passed its health check since {outage.first:%Y-%m-%d %H:%M} UTC: {outage.why}"
    return describe(name, "unready", "failure", said, {"since": outage.first.isoformat()})


def _held_against(finding: Finding | None) -> Counted | None:
    """Return what was done before a burst, as its finding keeps it; None where it does not."""
    before = finding.evidence.get("before") if finding is not None else None
    return Counted(before["requests"], errors=before["errors"]) if before else None


def _known_outage(finding: Finding) -> Outage | None:
    """Return the outage that a finding is of, as it was when it was seen last; None where it does not say so."""
    since = finding.evidence.get("since")
    return Outage(datetime.fromisoformat(since), finding.last_seen, "") if since else None


def is_burst(newest: Counted, before: Counted, *, stands: bool = False) -> bool:
    """Whether more requests fail than can be chance, by what was before.

    At least ten, and one in twenty; and a share of errors as before would give so many with a probability below one in
    a million, by Chernoff's bound on the binomial tail (Hoeffding 1963, theorem 1): ``exp(-n KL(k/n, p))``.

    Parameters
    ----------
    newest, before : Counted
        Of five minutes, and of the day before them; of a burst that stands, of the day before that began.
    stands : bool
        Whether it was a burst a minute ago: it is one until fewer than one in twenty fail, or no more than chance gives
        one time in twenty.

    Examples
    --------
    >>> is_burst(Counted(100, errors={"internal": 30}), Counted(10_000, errors={"bad_request": 50}))
    True
    >>> is_burst(Counted(100, errors={"bad_request": 30}), Counted(10_000, errors={"bad_request": 2_900}))
    False
    """
    if not _are_many(newest, stands=stands):
        return False
    failed, tried = sum(_of_predictions(newest).values()), _tried(newest)
    usual = (sum(_of_predictions(before).values()) + _PRIOR_ERRORS) / (_tried(before) + _PRIOR_REQUESTS)
    return tried * _divergence(failed / tried, usual) > (_LASTS if stands else _SURE)


def _are_many(newest: Counted, *, stands: bool) -> bool:
    """Whether so many fail that it could be a burst, whatever was before."""
    failed = sum(_of_predictions(newest).values())
    return failed >= max(_MIN_SHARE * _tried(newest), 1 if stands else _MIN_ERRORS)


def _of_predictions(counted: Counted) -> dict[str, int]:
    return {kind: count for kind, count in counted.errors.items() if kind not in _NOT_OURS}


def _tried(counted: Counted) -> int:
    return max(counted.requests, sum(_of_predictions(counted).values()))


def _divergence(share: float, usual: float) -> float:
    """Return Kullback and Leibler's divergence of two shares in nats; 0 where the first is not the greater."""
    if share <= usual:
        return 0.0
    rest = (1 - share) * math.log((1 - share) / (1 - usual)) if share < 1 else 0.0
    return share * math.log(share / usual) + rest
