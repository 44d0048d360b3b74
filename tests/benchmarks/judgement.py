"""How often drift is called where there is none, and how often where there is: ours beside its rivals.

    python tests/benchmarks/judgement.py [--full] [--only {null,days,power,together,speed}]

*Null*: every window has a reference of its own, drawn like it: independent rows, AR(1), a slow part under noise, a
daily cycle, heavy tails; none of these seeds was used to shape the method. An alarm is any of the columns. Rivals: the
Kolmogorov-Smirnov test by Bonferroni, plain and with the effective sample size of an AR(1), and Evidently's default for
a reference of that size (KS at 0.05 a column up to 1,000 rows, Wasserstein 0.1 beyond; a window is called where half of
the columns are, and where any is).

*Days*: whole days of 2013's flights and weather, 182 drawn at random as the reference, 1, 7 or 28 others as a window.

*Power*: faults planted in one of 20 columns. Ours is at its own threshold; KS at a threshold that gives as many false
alarms, which only a simulator knows.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.signal import lfilter
from scipy.stats import kstwobign, rankdata

from expectations.loading import load_use_case
from expectations.parts import input_kinds
from tasks.collection.joining import join_sources
from tasks.evaluation.domains import tell_apart
from tasks.evaluation.drift import judge
from tasks.evaluation.drifted import Drifted
from tasks.evaluation.pairs import Compared
from tasks.evaluation.sketches import sketch

Array = npt.NDArray[np.float64]
ALPHA = 0.05


def autoregressive(rho: float, rows: int, columns: int, random: np.random.Generator) -> Array:
    """Draw a stationary AR(1) of unit variance."""
    noise = random.normal(size=(rows, columns)) * np.sqrt(1 - rho**2)
    noise[0] = random.normal(size=columns)
    return np.asarray(lfilter([1], [1, -rho], noise, axis=0))


def _cycle(rows: int, random: np.random.Generator) -> Array:
    return np.asarray(np.sin(2 * np.pi * (np.arange(rows)[:, None] + random.integers(24)) / 24))


KINDS: dict[str, Callable[[int, int, np.random.Generator], Array]] = {
    "independent": lambda n, c, r: r.normal(size=(n, c)),
    "AR 0.9": lambda n, c, r: autoregressive(0.9, n, c, r),
    "AR 0.99": lambda n, c, r: autoregressive(0.99, n, c, r),
    "AR 0.99 + noise": lambda n, c, r: autoregressive(0.99, n, c, r) + r.normal(size=(n, c)),
    "cycle + AR 0.9": lambda n, c, r: autoregressive(0.9, n, c, r) + _cycle(n, r),
    "cycle + slow + noise": lambda n, c, r: autoregressive(0.98, n, c, r) + r.normal(size=(n, c)) + 1.2 * _cycle(n, r),
    "log-normal, AR 0.8": lambda n, c, r: np.exp(1.5 * autoregressive(0.8, n, c, r)),
}


def table(values: Array) -> pl.DataFrame:
    """Name the columns."""
    return pl.DataFrame({f"c{at}": values[:, at] for at in range(values.shape[1])})


def ours(reference: pl.DataFrame, window: pl.DataFrame) -> list[Drifted]:
    """Judge as the product does, without times."""
    return judge([Compared(sketch(reference), window)], alpha=ALPHA)


def kolmogorov(reference: Array, window: Array, *, effective: bool = False) -> Array:
    """P-values of the two-sample test by column (asymptotic, with Stephens' correction)."""
    found = []
    for one, two in zip(reference.T, window.T, strict=True):
        ordered = np.sort(one)
        both = np.concatenate([ordered, np.sort(two)])
        gap = np.searchsorted(ordered, both, "right") / len(one) - np.searchsorted(np.sort(two), both, "right") / len(
            two
        )
        sizes = [_effective(each) if effective else float(len(each)) for each in (one, two)]
        root = np.sqrt(sizes[0] * sizes[1] / (sizes[0] + sizes[1]))
        found.append(kstwobign.sf(np.abs(gap).max() * (root + 0.12 + 0.11 / root)))
    return np.array(found)


def _effective(values: Array) -> float:
    ranks = rankdata(values) - (len(values) + 1) / 2
    rho = max(0.0, min(0.999, float(ranks[:-1] @ ranks[1:] / max(ranks @ ranks, 1e-12))))
    return max(2.0, len(values) * (1 - rho) / (1 + rho))


def evidently(reference: Array, window: Array) -> Array:
    """Whether Evidently's default calls each column, by the tests it takes (its own code is slower, not another)."""
    if len(reference) <= 1000:
        return kolmogorov(reference, window) < 0.05
    found = []
    for one, two in zip(reference.T, window.T, strict=True):
        places = (np.arange(1000) + 0.5) / 1000
        distance = float(np.abs(np.quantile(one, places) - np.quantile(two, places)).mean())
        found.append(distance / max(float(np.std(one)), 0.001) >= 0.1)
    return np.array(found)


def null(windows: int, references: tuple[int, ...], sizes: tuple[int, ...], columns: int, seed: int) -> None:
    """Print the share of unchanged windows that alarm."""
    print(f"\nUnchanged windows that alarm, {columns} columns, {windows} a cell (nominal {ALPHA:.0%})\n")
    heads = ("rows", "reference", "window", "ours", "undetermined (columns)", "KS", "KS, effective size")
    print("| " + " | ".join((*heads, "Evidently, any column", "half of them")) + " |")
    print("|---|---|---|---|---|---|---|---|---|")
    level = ALPHA / columns
    for at, (kind, draw) in enumerate(KINDS.items()):
        for reference in references:
            for size in sizes:
                random = np.random.default_rng([seed, at, reference, size, columns])
                totals = np.zeros(6)
                for _ in range(windows):
                    known, seen = draw(reference, columns, random), draw(size, columns, random)
                    found = ours(table(known), table(seen))
                    called = evidently(known, seen)
                    totals += [
                        any(each.drifted for each in found),
                        np.mean([each.status == "undetermined" for each in found]),
                        kolmogorov(known, seen).min() <= level,
                        kolmogorov(known, seen, effective=True).min() <= level,
                        called.any(),
                        called.mean() >= 0.5,
                    ]
                shares = " | ".join(f"{each:.0%}" for each in totals[1:] / windows)
                print(f"| {kind} | {reference:,} | {size:,} | {totals[0] / windows:.1%} | {shares} |", flush=True)


def flights() -> tuple[pl.DataFrame, str]:
    """Read a year of flights with its weather, raw."""
    usecase = load_use_case("flights")
    clock = usecase.spec.time_column
    rows = join_sources(usecase, since=None, until=datetime(2014, 1, 1, tzinfo=UTC), secret=b"none").rows
    columns = [name for name in input_kinds(usecase.spec.features) if name != clock]
    return rows.select(clock, *columns).sort(clock), clock


def days(splits: int, seed: int) -> None:
    """Print the share of windows of whole real days that alarm."""
    zone = "America/New_York"
    rows, clock = flights()
    dates = rows[clock].dt.convert_time_zone(zone).dt.date().alias("day")
    by_day = {day[0]: frame for day, frame in rows.group_by(dates)}
    every = sorted(by_day)
    columns = [name for name in rows.columns if name != clock]
    print(f"\nWhole days of flights and weather, {len(columns)} columns, 182 days as reference, {splits * 5} windows\n")
    print("| days | ours | undetermined (columns) | Evidently, any column |")
    print("|---|---|---|---|")
    numbers = [name for name in columns if rows[name].dtype.is_numeric()]
    for length in (1, 7, 28):
        alarms = told = theirs = 0.0
        for split in range(splits):
            random = np.random.default_rng([seed, split, length])
            mixed = random.permutation(len(every))
            known = pl.concat([by_day[every[at]] for at in sorted(mixed[:182])])
            reference = sketch(known.select(columns), known[clock], timezone=zone)
            for _ in range(5):
                seen = pl.concat(
                    [by_day[every[at]] for at in sorted(random.choice(mixed[182:], length, replace=False))]
                )
                found = judge([Compared(reference, seen.select(columns), seen[clock])], alpha=ALPHA)
                alarms += any(each.drifted for each in found)
                told += float(np.mean([each.status == "undetermined" for each in found]))
                theirs += any(each.score is not None and each.score >= 0.1 for each in found if each.column in numbers)
        count = splits * 5
        print(f"| {length} | {alarms / count:.1%} | {told / count:.0%} | {theirs / count:.0%} |", flush=True)


def _gone(values: Array, share: float, random: np.random.Generator) -> Array:
    return np.where(random.random(len(values)) < share, np.nan, values)


NUMBER_FAULTS: dict[str, Callable[[Array, np.random.Generator], Array]] = {
    "place + 0.1 sd": lambda x, r: x + 0.1,
    "place + 0.25 sd": lambda x, r: x + 0.25,
    "place + 0.5 sd": lambda x, r: x + 0.5,
    "spread x 1.3": lambda x, r: x * 1.3,
    "spread x 2": lambda x, r: x * 2,
    "another unit (x 1.8 + 32)": lambda x, r: x * 1.8 + 32,
    "another scale (x 1,000)": lambda x, r: x * 1000,
    "constant": lambda x, r: np.zeros_like(x),
    "stuck for the last half": lambda x, r: np.where(np.arange(len(x)) < len(x) / 2, x, x[len(x) // 2]),
    "1 % missing": lambda x, r: _gone(x, 0.01, r),
    "10 % missing": lambda x, r: _gone(x, 0.1, r),
    "50 % missing": lambda x, r: _gone(x, 0.5, r),
    "empty": lambda x, r: np.full_like(x, np.nan),
}
SHARES: dict[str, list[float]] = {
    "a category + 10 points": [0.5, 0.2, 0.2, 0.1, 0.0],
    "a new category (3 %)": [0.4, 0.3, 0.2, 0.07, 0.03],
}


def power(windows: int, seed: int) -> None:
    """Print the share of planted faults that are called, in one of 20 columns."""
    print(f"\nPlanted faults called in one of 20 columns, {windows} windows a cell: ours / KS at equal false alarms\n")
    cells = ((100, 1000), (2000, 200), (20_000, 1000))
    kinds = ("independent", "AR 0.9")
    heads = [f"{kind}, {reference:,} / {size:,}" for kind in kinds for reference, size in cells]
    print("| fault | " + " | ".join(heads) + " |")
    print("|---|" + "---|" * len(heads))
    rows: dict[str, list[str]] = {name: [] for name in (*NUMBER_FAULTS, *SHARES)}
    for kind in kinds:
        for reference, size in cells:
            random = np.random.default_rng([seed, reference, size, len(kind)])
            plain = [kolmogorov(KINDS[kind](reference, 20, random), KINDS[kind](size, 20, random)) for _ in range(100)]
            level = float(np.quantile([each.min() for each in plain], ALPHA))
            for name, fault in NUMBER_FAULTS.items():
                hits = np.zeros(2)
                for _ in range(windows):
                    known, seen = KINDS[kind](reference, 20, random), KINDS[kind](size, 20, random)
                    seen[:, 0] = fault(seen[:, 0], random)
                    found = {each.column: each for each in ours(table(known), table(seen).fill_nan(None))}
                    left = seen[np.isfinite(seen[:, 0]), :1]
                    hits += [found["c0"].drifted, len(left) > 0 and kolmogorov(known[:, :1], left)[0] <= level]
                rows[name].append(f"{hits[0] / windows:.0%} / {hits[1] / windows:.0%}")
            for name, shares in SHARES.items():
                hits = np.zeros(1)
                for _ in range(windows):
                    known, seen = (table(KINDS[kind](count, 19, random)) for count in (reference, size))
                    before = _texts(KINDS[kind](reference, 1, random)[:, 0], [0.4, 0.3, 0.2, 0.1, 0.0])
                    after = _texts(KINDS[kind](size, 1, random)[:, 0], shares)
                    found = {
                        each.column: each
                        for each in ours(known.with_columns(before.alias("t")), seen.with_columns(after.alias("t")))
                    }
                    hits += found["t"].drifted
                rows[name].append(f"{hits[0] / windows:.0%} / -")
    for name, cells_of in rows.items():
        print(f"| {name} | " + " | ".join(cells_of) + " |", flush=True)


def _texts(values: Array, shares: list[float]) -> pl.Series:
    """Cut normal values into categories of these shares, so that they depend on each other as the values do."""
    from scipy.special import ndtr

    edges = np.cumsum(shares)[:-1]
    return pl.Series(np.array(list("abcde"))[np.searchsorted(edges, ndtr(values / max(values.std(), 1e-9)), "right")])


def _tied(values: Array, rho: float, random: np.random.Generator) -> Array:
    """Let the second column go with the first, each as it was by itself (of normal ones)."""
    del random
    tied = values.copy()
    tied[:, 1] = rho * values[:, 0] + np.sqrt(1 - rho**2) * values[:, 1]
    return tied


def together(windows: int, seed: int) -> None:
    """Print how often a window is told by all columns together, where nothing changed and where two go together now."""
    print(f"\nAll of 8 columns together, {windows} windows a cell: called; undetermined; KS; Evidently, any column\n")
    heads = ["unchanged", "correlation 0 to 0.5", "correlation 0 to 0.9", "its columns named", "CPU s"]
    print("| rows | reference | window | " + " | ".join(heads) + " |")
    print("|---" * (3 + len(heads)) + "|")
    for kind in ("independent", "AR 0.9", "AR 0.99 + noise"):
        for reference, size in ((300, 1000), (2000, 200), (20_000, 1000), (20_000, 10_000)):
            cells, named, hits, spent = [], 0, 0, 0.0
            for rho in (0.0, 0.5, 0.9):
                called = unknown = ks = theirs = 0
                for at in range(windows):
                    random = np.random.default_rng([seed, reference, size, len(kind), at])
                    one, two = (KINDS[kind](rows, 8, random) for rows in (reference, size))
                    two = _tied(two, rho, random) if rho else two
                    begun = time.process_time()
                    found = tell_apart(table(one), None, Compared(sketch(table(one)), table(two)), alpha=ALPHA, seed=at)
                    spent += time.process_time() - begun
                    called += found.status == "drifted"
                    unknown += found.status == "undetermined"
                    if rho and found.columns:
                        hits, named = hits + 1, named + ({*found.columns} <= {"c0", "c1"})
                    ks += kolmogorov(one, two).min() <= ALPHA / 8
                    theirs += bool(evidently(one, two).any())
                cells.append(" ; ".join(f"{each / windows:.0%}" for each in (called, unknown, ks, theirs)))
            cells += [f"{named} of {hits}", f"{spent / (3 * windows):.2f}"]
            print(f"| {kind} | {reference:,} | {size:,} | " + " | ".join(cells) + " |", flush=True)


def speed() -> None:
    """Print processor seconds, beside Evidently's preset on the same rows."""
    import warnings

    random = np.random.default_rng(1)
    print("\nProcessor seconds\n\n| rows x columns | sketch | window and judgement |\n|---|---|---|")
    for rows, columns in ((1_000_000, 20), (1000, 1000), (10_000, 1000)):
        frame = table(random.normal(size=(rows, columns)))
        begun = time.process_time()
        reference = sketch(frame)
        middle = time.process_time()
        judge([Compared(reference, frame)], alpha=ALPHA)
        ended = time.process_time()
        print(f"| {rows:,} x {columns:,} | {middle - begun:.2f} | {ended - middle:.2f} |", flush=True)
    frame = table(random.normal(size=(100_000, 20)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from evidently import DataDefinition, Dataset, Report
        from evidently.presets import DataDriftPreset

        definition = DataDefinition(numerical_columns=frame.columns)
        sets = [Dataset.from_pandas(frame.to_pandas(), data_definition=definition) for _ in range(2)]
        begun = time.process_time()
        Report([DataDriftPreset(num_method="wasserstein")]).run(*sets)
        theirs = time.process_time() - begun
    begun = time.process_time()
    judge([Compared(sketch(frame), frame)], alpha=ALPHA)
    mine = time.process_time() - begun
    print(f"\n100,000 x 20, both sides: {mine:.2f} s, Evidently's preset {theirs:.2f} s: {theirs / mine:.0f} x")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="1,000 windows a cell and all cells: hours")
    parser.add_argument("--only", choices=["null", "days", "power", "together", "speed"])
    parser.add_argument("--seed", type=int, default=20261129)
    options = parser.parse_args()

    def parts() -> Iterator[tuple[str, Callable[[], None]]]:
        full, seed = options.full, options.seed
        sizes = (50, 200, 1000, 10_000) if full else (50, 1000)
        references = (30, 100, 300, 2000, 20_000) if full else (30, 300, 2000, 20_000)
        yield "null", lambda: null(1000 if full else 30, references, sizes, 20, seed)
        if full:
            yield "null", lambda: null(100, (300, 2000), (200, 1000), 1000, seed)
        yield "days", lambda: days(100 if full else 8, seed)
        yield "power", lambda: power(400 if full else 10, seed)
        yield "together", lambda: together(200 if full else 20, seed)
        yield "speed", speed

    for name, run in parts():
        if options.only in (None, name):
            run()


if __name__ == "__main__":
    main()
