"""driftwheel from Python: load a use case, check it, fit it, replay it, read why it decided.

>>> import driftwheel
>>> bikes = driftwheel.load_use_case("bikes")
>>> bikes.spec.label.column
'bikers'

What needs no server is done in this process, and keeps nothing: `check`, `fit`, `backtest`, and a bundle's `predict`
and `explain`. `replay` starts the local stack for as long as it lasts where none is up. The bases of parts are here
for packages that add their own (``check_part`` holds one against the laws of its kind). `docs/notebook.ipynb` has it
all in a use case.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import expectations.errors as errors
from expectations.data import Source
from expectations.deciding import Policy
from expectations.errors import DriftwheelError
from expectations.families import Family
from expectations.gates import Gate
from expectations.loading import LoadedUseCase
from expectations.metrics import Metric
from expectations.parts import CleaningStep, FeatureStep
from tasks.bundles.bundle import Bundle

if TYPE_CHECKING:
    from flows.backtest import Backtest
    from flows.checking import CheckResult
    from flows.fitting import FitResult
    from flows.replay_story import Story
    from tasks.stores.ledger import Entry

__all__ = [
    "Bundle",
    "CleaningStep",
    "DriftwheelError",
    "Family",
    "FeatureStep",
    "Gate",
    "LoadedUseCase",
    "Metric",
    "Policy",
    "Source",
    "backtest",
    "check",
    "check_part",
    "errors",
    "fit",
    "load_use_case",
    "replay",
    "why",
]


def load_use_case(reference: str | Path) -> LoadedUseCase:
    """Load a use case by its name, where it is registered or shipped, or by its folder.

    Raises
    ------
    UseCaseError, UseCaseNotFoundError
        If it is not valid, or there is none.

    Examples
    --------
    >>> load_use_case("flights").spec.task
    'binary_classification'
    """
    from infra.settings import Settings

    return Settings().use_case(str(reference))


def check(usecase: LoadedUseCase | str | Path) -> list[CheckResult]:
    """Try all of a use case on what its sources hold, as `driftwheel check` does.

    Returns
    -------
    list of CheckResult
        What was tried, whether it is good, and what was found.

    Examples
    --------
    >>> all(each.good for each in check("pumps"))  # doctest: +SKIP
    True
    """
    from flows.checking import check_use_case
    from infra.settings import Settings

    return list(check_use_case(Settings(), _reference(usecase)))


def fit(usecase: LoadedUseCase | str | Path, folder: str | Path, as_of: datetime | None = None) -> FitResult:
    """Fit a first model on all that was known at an instant, judge it, and write its bundle.

    Parameters
    ----------
    folder : str or Path
        Where the bundle goes; it must not be there yet.
    as_of : datetime, optional
        With its time zone; now, where not given.

    Returns
    -------
    FitResult
        With `bundle` and `judgement` (metrics on the holdout, gates).

    Raises
    ------
    InstantError
        If the instant has no time zone, or has not come yet.
    SourceError
        If there are no rows, or the suite holds them.
    TrainingError
        If there are too few rows, or the model does not pass its gates.
    StorageError
        If the folder is there already, or cannot be written to.

    Examples
    --------
    >>> fitted = fit("pumps", "pumps-model")  # doctest: +SKIP
    >>> fitted.judgement.outcome, fitted.bundle.manifest.label  # doctest: +SKIP
    ('passed', 'stops_next_hour')
    """
    import secrets

    from flows.fitting import fit as fit_bundle
    from flows.instants import refuse_future
    from infra.environment import commit
    from infra.settings import Settings

    instant = datetime.now(UTC) if as_of is None else _in_utc(as_of)
    refuse_future(instant)
    settings = Settings()
    # a home's key is made where something is kept: without one the hashes are of this fit alone
    kept = (settings.folder / "privacy.key").exists()
    secret = settings.places().secret if kept else secrets.token_bytes(32)
    return fit_bundle(_loaded(usecase), Path(folder), instant, secret, commit())


def backtest(usecase: LoadedUseCase | str | Path, policies: Mapping[str, Mapping[str, Any]] | None = None) -> Backtest:
    """Walk policies through a use case's whole past; see `driftwheel backtest`.

    Parameters
    ----------
    policies : mapping of str to mapping, optional
        By name, as written under `monitoring.policy`; some fifty where not given.

    Examples
    --------
    >>> found = backtest("bikes", {"every third": {"trigger": "schedule", "windows": 3}})  # doctest: +SKIP
    >>> [each.name for each in found.policies]  # doctest: +SKIP
    ['yours', 'every third']
    """
    import secrets

    from flows.backtest import backtest as walk
    from flows.backtest import past_of

    with past_of(_loaded(usecase), secrets.token_bytes(32)) as past:
        return walk(past, policies)


def replay(usecase: LoadedUseCase | str | Path, start: datetime | None = None, end: datetime | None = None) -> Story:
    """Walk a use case's history through the real loop; servers are started where none is up.

    Parameters
    ----------
    start, end : datetime, optional
        Of the first window, and of the last, with their time zones.

    Returns
    -------
    Story
        The metric of loop and frozen model by window, with every decision.

    Raises
    ------
    InstantError
        If an instant has no time zone.

    Examples
    --------
    >>> replay("flights").mean  # doctest: +SKIP
    {'frozen': 0.676, 'loop': 0.702}
    """
    from flows import replay as replaying
    from flows.commands.shared import servers
    from flows.local_runs import quietly
    from infra.settings import Settings

    begin, until = (None if each is None else _in_utc(each) for each in (start, end))
    settings = Settings()
    with servers(settings, stages=False):
        story: Story = quietly(replaying.replay)(_reference(usecase), begin, until)
    return story


def why(usecase: str, last: int = 10) -> Sequence[Entry]:
    """Read the ledger: what was decided, when, and why; oldest first.

    Examples
    --------
    >>> why("nothing-was-decided-here")
    []
    """
    from infra.settings import Settings

    return Settings().platform().entries(usecase, last=last)


def check_part(slot: str, name: str) -> None:
    """Hold an installed part against the laws of its kind, as `driftwheel parts --check` does.

    Raises
    ------
    PartError
        If there is no such part, or it breaks one.

    Examples
    --------
    >>> check_part("features", "one_hot")
    """
    from tasks.checking import check_part as hold

    hold(slot, name)


def _in_utc(instant: datetime) -> datetime:
    if instant.tzinfo is None:
        raise errors.InstantError("an instant with its time zone", f"{instant!r}", "Write datetime(…, tzinfo=UTC)")
    return instant.astimezone(UTC)


def _loaded(usecase: LoadedUseCase | str | Path) -> LoadedUseCase:
    return usecase if isinstance(usecase, LoadedUseCase) else load_use_case(usecase)


def _reference(usecase: LoadedUseCase | str | Path) -> str:
    return str(usecase.folder if isinstance(usecase, LoadedUseCase) else usecase)
