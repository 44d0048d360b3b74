"""Does the default policy decide better than a calendar? On the pasts of open data sets.

    python tests/benchmarks/policies.py --wheels FOLDER [NAME:WINDOW …] [--shipped flights …] [--json FILE]

For each past: what retraining every window would gain; then for policies the releases, the share of that gain that they
kept, and by how much it lies above the curve of every k-th window (mean over phases) at as many releases; the share of
random placements of as many that they beat; their share of the best placement of as many in hindsight.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from expectations.deciding import Trial
from expectations.loading import load_use_case
from flows.backtest import past_of
from tasks.backtesting.advice import policy_of
from tasks.backtesting.models import UnpackedModel
from tasks.backtesting.placements import (
    beaten_placements,
    best_placement,
    charge_of,
    excess,
    on_curve,
    schedule_curve,
    triangle,
)
from tasks.backtesting.walking import Walk, walk
from tasks.deciding.gaps import loss_is_certain
from tasks.training.learning import fit_recipe
from tasks.training.trying import try_challenger
from tests.benchmarks.open_sets import HISTORIES, build

RELEASE = 0.4
"""What a release costs, in windows of relative loss: the default."""
DOUBT = 2.0
"""Deviations of its trial by which a challenger has to be better to be so beyond doubt."""
WORTH = 0.03
"""Share of the loss that retraining every window has to save for there to be something to gain."""

POLICIES: dict[str, dict[str, Any]] = {
    "trial 0.4 (the default)": {"trigger": "trial"},
    "trial 0.4, twin": {"trigger": "trial", "challenger": "twin"},
    "trial 0.1": {"trigger": "trial", "release_cost": 0.1},
    "trial 0.4, alerts only": {"trigger": "trial", "dry_run": True},
    "drop of the metric, 1 of 1": {"trigger": "performance", "violations": 1, "of": 1},
    "drop of the metric, 2 of 3": {"trigger": "performance", "violations": 2, "of": 3},
}


def study(usecase: str) -> dict[str, Any]:
    """Walk the policies through one past."""
    loaded, began = load_use_case(usecase), time.perf_counter()
    with past_of(loaded, b"benchmark") as past:
        windows = len(past.windows)
        table = triangle(lambda model, window: past.loss(past.blind(model), window), windows)
        curve = schedule_curve(table)
        never, every = curve[0][1], 0.0
        worth = -np.expm1(-never)
        found: dict[str, Any] = {
            "usecase": loaded.name,
            "windows": windows,
            "gain of every window": worth,
            "years": (past.windows[-1].end - past.windows[0].start).total_seconds() / (365.25 * 86_400),
            "regret of the best schedule": min(windows * each + RELEASE * releases for releases, each in curve)
            - best_placement(table, RELEASE)[0],
            "policies": {},
        }
        for name, spec in POLICIES.items():
            done = walk(past, policy_of(spec))
            found["policies"][name] = tell(done, past, table, curve, never - every)
        found["seconds"] = time.perf_counter() - began
    return found


def tell(done: Walk, past: Any, table: Any, curve: Any, whole: float) -> dict[str, Any]:
    """Say how good a walk was."""
    windows = len(table)
    by_window = np.nan_to_num(np.array(done.losses(past)) - np.diagonal(table))
    lost, releases = float(by_window.mean()), sum(window < windows for window in done.released)
    _, placed = best_placement(table, 0.0, releases)
    best = float(excess(table, charge_of(windows, placed)).mean())
    worse = 0
    for window in done.released:
        if window < windows:
            before, after = done.charge[window - 1], done.charge[window]
            until = range(window, next((later for later in done.released if later > window), windows))
            worse += float(np.nansum([past.loss(after, at) - past.loss(before, at) for at in until])) > 0
    ahead = range(windows - 1)  # what the champion of a window would have lost in the next
    gaps = [past.loss(done.charge[at], at + 1) - past.loss(past.blind(at + 1), at + 1) for at in ahead]
    told = np.array(done.alerts[:-1])
    beyond = [at for at, each in enumerate(done.tried) if each is not None and each.gap > DOUBT * each.variance**0.5]
    stands = [
        done.tried[at] is not None and loss_is_certain(trials_until(done, at)) for at in ahead
    ]  # told once, till then
    answered = sum(not {at + 1, at + 2}.isdisjoint(done.released) for at in beyond)
    return {
        "releases": releases,
        "regret": windows * lost + RELEASE * releases - best_placement(table, RELEASE)[0],
        "windows beyond doubt": len(beyond),
        "answered in time": answered,
        "gain": (curve[0][1] - lost) / whole if whole else 0.0,
        "schedule": (curve[0][1] - on_curve(curve, releases)) / whole if whole else 0.0,
        "beaten": beaten_placements(table, releases, lost),
        "of the best": (curve[0][1] - lost) / (curve[0][1] - best) if curve[0][1] > best else 1.0,
        "worse than the one before": worse,
        "alerts": sum(done.alerts),
        "windows without loss": int(np.sum(np.array(gaps) <= 0.0)),
        "alerts without loss": int(np.sum(told & (np.array(gaps) <= 0.0))),
        "windows over 10 %": int(np.sum(np.array(gaps) > 0.1)),
        "alerts over 10 %": int(np.sum(told & (np.array(gaps) > 0.1))),
        "alert stands without loss": int(np.sum(np.array(stands) & (np.array(gaps) <= 0.0))),
        "alert stands over 10 %": int(np.sum(np.array(stands) & (np.array(gaps) > 0.1))),
        "lost beside never, %": 100 * float(np.expm1(lost - curve[0][1])),
        "trials": done.trials,
        "rollbacks": done.rollbacks,
    }


def summed(found: list[dict[str, Any]]) -> Iterator[str]:
    """Say what comes of all pasts together: where there is something to gain, and where there is nothing."""
    worth = [each for each in found if each["gain of every window"] >= WORTH]
    for name in POLICIES:
        told = [each["policies"][name] for each in worth]
        if not told:
            break
        total = {key: sum(each[key] for each in told) for key in told[0]}
        best = sum(each["regret of the best schedule"] for each in worth)
        years = sum(each["years"] for each in worth)
        yield (
            f"{name}: regret {total['regret']:.2f}, {total['regret'] / best:.2f} times that of the best schedule; "
            f"{total['answered in time']} of {total['windows beyond doubt']} windows beyond doubt answered in time; "
            f"{total['alerts']} alerts in {years:.1f} years; an alert stood in {total['alert stands without loss']} of "
            f"{total['windows without loss']} windows without loss, {total['alert stands over 10 %']} of "
            f"{total['windows over 10 %']} over 10 %"
        )
    for each in found:
        if each["gain of every window"] < WORTH:
            told = each["policies"][next(iter(POLICIES))]
            yield (
                f"{each['usecase']}, nothing to gain: {told['releases']} releases in {each['windows']} windows, "
                f"{told['lost beside never, %']:+.2f} % lost beside never, {told['alerts']} alerts"
            )


def twin_share(usecase: str) -> str:
    """Say what a trial by twins costs beside a full training of the dearest candidate, in CPU time from a cold start.

    The champion of the trial learnt the rows known two windows before.
    """
    loaded = load_use_case(usecase)
    spec, taken = loaded.spec, []
    dear = next(each for each in spec.model.candidates if each.dear)
    with past_of(loaded, b"benchmark") as past:
        rows, older = past.known(len(past.windows)), past.known(len(past.windows) - 2)

        def timed(work: Callable[[], Any]) -> Any:
            began = time.process_time()
            done = work()
            taken.append(time.process_time() - began)
            return done

        champion = UnpackedModel(0, fit_recipe(older, spec, dear), older[spec.time_column].max(), len(older))
        timed(lambda: try_challenger(rows, spec, past.windows[-1], champion, "twin"))
        timed(lambda: fit_recipe(rows, spec, dear))
    twins, full = taken
    return (
        f"{loaded.name}: {len(rows):,} rows, {dear.family} {full:.1f} s of CPU time, a trial by twins {twins:.2f} s, "
        f"{twins / full:.1%}"
    )


def trials_until(done: Walk, at: int) -> list[Trial]:
    """Return the trials of the model in charge of a window, up to that window's."""
    own = (each for model, each in zip(done.charge[: at + 1], done.tried, strict=False) if model is done.charge[at])
    return [each for each in own if each is not None]


def main() -> None:
    """Study pasts one after the other, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("histories", nargs="*", default=list(HISTORIES), help="sets with their windows, elecdemand:1w")
    parser.add_argument("--wheels", type=Path, help="folder of the wheels that the sets lie in")
    parser.add_argument("--shipped", nargs="*", default=[], help="use cases by name or folder")
    parser.add_argument("--twin", help="use case with a dear candidate: what do its twins cost?")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    if asked.twin:
        print(twin_share(asked.twin))
        return
    found = []
    print(
        f"{'past':<18}{'windows':>8}{'worth':>7}  {'policy':<28}{'releases':>9}{'gain':>7}{'calendar':>9}"
        f"{'random':>8}{'of best':>8}{'worse':>6}{'alerts':>7}"
    )
    with tempfile.TemporaryDirectory() as folder:
        for name in [*asked.shipped, *(asked.histories if asked.wheels else [])]:
            path = name if name in asked.shipped else str(build(name, asked.wheels, Path(folder)))
            one = study(path)
            found.append(one)
            for place, (policy, told) in enumerate(one["policies"].items()):
                lead = f"{name:<18}{one['windows']:>8}{one['gain of every window']:>7.1%}" if not place else " " * 33
                print(
                    f"{lead}  {policy:<28}{told['releases']:>9}{told['gain']:>7.0%}{told['schedule']:>9.0%}"
                    f"{told['beaten']:>8.0%}{told['of the best']:>8.2f}{told['worse than the one before']:>6}"
                    f"{told['alerts']:>4}/{told['alerts without loss']}"
                )
            sys.stdout.flush()
    for line in summed(found):
        print(line)
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
