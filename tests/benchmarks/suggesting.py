"""Does `suggest` propose what faults break and sound deliveries do not? A sound year, and faults planted into it.

    python tests/benchmarks/suggesting.py [--every 1w] [--json FILE]

The deliveries of the year's first half are put into a lake, expectations are suggested from them alone (without the use
case's own suite), and each delivery of the second half is held against them, as it is and with a fault. A sound one
that is held is a false hold. A fault is found where the delivery is held, or at least half of the rows it touched are
set apart, and neither was without it. Beside it stands the suite of a person who writes down least and most values, the
texts, and where none was missing. Faults are planted into what was read: columns that are absent are missing there, and
texts in numbers were refused by the reader before.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl

from expectations.loading import ExpectationSpec, LoadedUseCase, load_use_case
from flows.replay_windows import read_history
from tasks.cleaning.column_history import ColumnHistory, learn
from tasks.cleaning.suggesting import suggest
from tasks.cleaning.suite import Outcome, validate
from tasks.stores.lake import Lake
from tasks.stores.lake_tables import BATCH, COLLECTED

Fault = Callable[[pl.DataFrame], pl.DataFrame]
SEED = 1


def some(share: float, value: pl.Expr, column: str) -> Fault:
    """Put a value into a share of the rows."""
    chosen = pl.int_range(pl.len()).shuffle(SEED) < share * pl.len()
    return lambda rows: rows.with_columns(pl.when(chosen).then(value).otherwise(pl.col(column)).alias(column))


def each(value: pl.Expr, column: str) -> Fault:
    """Put a value into every row."""
    return lambda rows: rows.with_columns(value.cast(rows.schema[column]).alias(column))


def swapped(one: str, other: str) -> Fault:
    """Give two columns each other's values."""
    return lambda rows: rows.with_columns(
        pl.col(other).cast(rows.schema[one]).alias(one), pl.col(one).cast(rows.schema[other]).alias(other)
    )


def times(count: int, key: str) -> Fault:
    """Deliver the rows several times, with keys of their own (a number or an instant, moved)."""

    def repeated(rows: pl.DataFrame) -> pl.DataFrame:
        moved = (
            pl.col(key) + pl.duration(seconds=pl.lit(1)) * pl.col("_copy")
            if rows.schema[key].is_temporal()
            else pl.col(key) + 10_000 * pl.col("_copy")
        )
        copies = [rows.with_columns(pl.lit(copy).alias("_copy")).with_columns(moved) for copy in range(count)]
        return pl.concat(copies).drop("_copy")

    return repeated


def half(rows: pl.DataFrame) -> pl.DataFrame:
    """Lose every second row."""
    return rows.gather_every(2)


def third(rows: pl.DataFrame) -> pl.DataFrame:
    """Lose two of three rows."""
    return rows.gather_every(3)


def col(name: str) -> pl.Expr:
    """Name a column as a number."""
    return pl.col(name).cast(pl.Float64)


def faults(name: str) -> Iterator[tuple[str, str, Fault]]:
    """Yield kind, what is planted, and how: 25 for each set."""
    null = pl.lit(None)
    if name == "flights":
        yield "column gone", "carrier", each(null, "carrier")
        yield "column gone", "weather_temp", each(null, "weather_temp")
        yield "column gone", "plane_seats", each(null, "plane_seats")
        yield "values missing", "5 % of origin", some(0.05, null, "origin")
        yield "values missing", "20 % of plane_year", some(0.2, null, "plane_year")
        yield "values missing", "50 % of weather_humid", some(0.5, null, "weather_humid")
        yield "other unit", "distance in metres (× 1609)", each(col("distance") * 1609, "distance")
        yield "other unit", "weather_temp °F to °C", each((col("weather_temp") - 32) / 1.8, "weather_temp")
        yield "other unit", "weather_pressure hPa to inHg", each(col("weather_pressure") / 33.864, "weather_pressure")
        yield (
            "other unit",
            "weather_wind_speed mph to m/s",
            each(col("weather_wind_speed") / 2.237, "weather_wind_speed"),
        )
        yield "scale", "weather_humid as a share", each(col("weather_humid") / 100, "weather_humid")
        yield "scale", "distance × 1000", each(col("distance") * 1000, "distance")
        yield "decimals moved", "weather_pressure × 10", each(col("weather_pressure") * 10, "weather_pressure")
        yield "sign", "distance negative", each(-col("distance"), "distance")
        yield "swapped", "origin and dest", swapped("origin", "dest")
        yield "swapped", "weather_temp and weather_humid", swapped("weather_temp", "weather_humid")
        yield (
            "stuck",
            "weather_temp at its first value",
            each(pl.col("weather_temp").drop_nulls().first(), "weather_temp"),
        )
        yield "stuck", "carrier at UA", each(pl.lit("UA"), "carrier")
        yield "stuck", "distance at 0", each(pl.lit(0), "distance")
        yield "spelling", "carrier in lower case", each(pl.col("carrier").str.to_lowercase(), "carrier")
        yield "spelling", "10 % of origin as 'Newark'", some(0.1, pl.lit("Newark"), "origin")
        yield "cut off", "dest to two letters", each(pl.col("dest").str.head(2), "dest")
        yield "rows", "two of three lost", third
        yield "rows", "ten times", times(10, "flight")
        yield "clock", "three hours late", each(pl.col("time_hour") + pl.duration(hours=3), "time_hour")
        return
    yield "column gone", "temp", each(null, "temp")
    yield "column gone", "weathersit", each(null, "weathersit")
    yield "values missing", "5 % of hum", some(0.05, null, "hum")
    yield "values missing", "20 % of windspeed", some(0.2, null, "windspeed")
    yield "values missing", "50 % of workingday", some(0.5, null, "workingday")
    yield "other unit", "temp in °C (× 41)", each(col("temp") * 41, "temp")
    yield "other unit", "windspeed in km/h (× 67)", each(col("windspeed") * 67, "windspeed")
    yield "scale", "hum × 100", each(col("hum") * 100, "hum")
    yield "scale", "atemp × 1000", each(col("atemp") * 1000, "atemp")
    yield "decimals moved", "temp / 10", each(col("temp") / 10, "temp")
    yield "decimals moved", "hum / 10", each(col("hum") / 10, "hum")
    yield "sign", "atemp negative", each(-col("atemp"), "atemp")
    yield "swapped", "temp and hum", swapped("temp", "hum")
    yield "swapped", "windspeed and hum", swapped("windspeed", "hum")
    yield "stuck", "temp at its first value", each(pl.col("temp").first(), "temp")
    yield "stuck", "windspeed at 0", each(pl.lit(0), "windspeed")
    yield "stuck", "workingday at 0", each(pl.lit(0), "workingday")
    yield "stuck", "hum at 0.5", each(pl.lit(0.5), "hum")
    yield "spelling", "weathersit in upper case", each(pl.col("weathersit").str.to_uppercase(), "weathersit")
    yield "spelling", "10 % of weathersit as 'sunny'", some(0.1, pl.lit("sunny"), "weathersit")
    yield "cut off", "weathersit to four letters", each(pl.col("weathersit").str.head(4), "weathersit")
    yield "codes", "-999 in 5 % of temp", some(0.05, pl.lit(-999.0), "temp")
    yield "rows", "half lost", half
    yield "rows", "ten times", times(10, "time")
    yield "clock", "three days late", each(pl.col("time") + pl.duration(days=3), "time")


def by_hand(usecase: LoadedUseCase, rows: pl.DataFrame, late: set[str]) -> LoadedUseCase:
    """Write the suite of a person: least and most, the texts, and no missing value where there was none."""
    seen: dict[str, ColumnHistory] = {}
    learn(seen, rows)
    suite = []

    def say(kind: str, **kwargs: object) -> None:
        suite.append(ExpectationSpec(kind, kwargs, {}))

    for name, column in seen.items():
        if name not in late and column.present == column.rows:
            say("expect_column_values_to_not_be_null", column=name)
        if column.kind == "text" and column.values:
            say("expect_column_values_to_be_in_set", column=name, value_set=sorted(column.values))
        elif column.kind in ("whole", "number") and column.least <= column.most:
            say("expect_column_values_to_be_between", column=name, min_value=column.least, max_value=column.most)
    return replace(usecase, suite=tuple(suite))


def found(sound: list[Outcome], faulty: list[Outcome], touched: int) -> bool:
    """Whether the delivery is held, or half of the touched rows are set apart, that were not before."""
    if any(outcome.holds for outcome in faulty):
        return not any(outcome.holds for outcome in sound)
    apart, before = (len(set().union(*(outcome.failing.tolist() for outcome in each))) for each in (faulty, sound))
    return touched > 0 and apart - before >= touched / 2


def measure(name: str, every: str, work: Path) -> dict[str, object]:
    """Hold sound and faulty deliveries of a use case against what was suggested, and against a person's suite."""
    usecase = replace(load_use_case(name), suite=())
    clock = usecase.spec.time_column
    world = read_history(usecase, b"benchmark").unique([*usecase.spec.keys], keep="last", maintain_order=True)
    world = world.with_columns(pl.col(clock).dt.truncate(every).alias("_when"))
    deliveries = [rows.drop("_when") for _, rows in world.group_by("_when", maintain_order=True)]
    deliveries = deliveries[1:-1]  # the first and the last are cut off
    lake, split = Lake(str(work), name), len(deliveries) // 2
    for number, rows in enumerate(deliveries[:split], 1):
        stamps = pl.lit(number, pl.Int64).alias(BATCH), pl.lit(datetime.now(UTC)).alias(COLLECTED)
        lake.append("raw", rows.with_columns(stamps), transactions={"collect": number})
    began = time.perf_counter()
    proposed = suggest(usecase, lake)
    spent = time.perf_counter() - began
    chosen = tuple(ExpectationSpec(one.type, one.kwargs, {}) for one in proposed.suggested)
    late = {*usecase.spec.forbidden, usecase.spec.label.column}
    suites = {
        "suggest": replace(usecase, suite=chosen),
        "by hand": by_hand(usecase, pl.concat(deliveries[:split]), late),
    }
    later = deliveries[split:]
    sound = {suite: [validate(loaded, rows) for rows in later] for suite, loaded in suites.items()}
    picks = np.random.default_rng(SEED).permutation(len(later))
    plants = []
    for index, (kind, what, plant) in enumerate(faults(name)):
        place = int(picks[index % len(picks)])
        rows = later[place]
        faulty = plant(rows)
        same = faulty.height == rows.height
        touched = int((~faulty.hash_rows().eq(rows.hash_rows())).sum()) if same else 0
        assert touched or not same, (name, what)
        plants.append(
            {"kind": kind, "what": what}
            | {suite: found(sound[suite][place], validate(loaded, faulty), touched) for suite, loaded in suites.items()}
        )
    held = {suite: [[one.name for one in each if one.holds] for each in sound[suite]] for suite in suites}
    return {
        "name": name,
        "expectations": {suite: len(loaded.suite) for suite, loaded in suites.items()},
        "later": len(later),
        "held": {suite: sum(map(bool, each)) for suite, each in held.items()},
        "by": {suite: sorted({one for each in names for one in each}) for suite, names in held.items()},
        "seconds": round(spent, 1),
        "plants": plants,
    }


def main() -> None:
    """Print false holds, and faults found by kind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", default="1w", help="what a delivery holds, as Polars writes durations")
    parser.add_argument("--only", nargs="*", default=["flights", "bikes"])
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    all_found, kinds = [], defaultdict(list)
    for name in asked.only:
        with tempfile.TemporaryDirectory() as work:
            result = measure(name, asked.every, Path(work))
        all_found.append(result)
        for suite, held in result["held"].items():
            print(
                f"{name}, {suite}: {result['expectations'][suite]} expectations, "
                f"{held} of {result['later']} sound deliveries held {' '.join(result['by'][suite])[:300]}"
            )
        for plant in result["plants"]:
            kinds[plant["kind"]].append(plant)
            if not plant["suggest"]:
                print(f"  missed: {plant['kind']}, {plant['what']}")
    print(f"\n{'fault':18}{'suggest':>10}{'by hand':>10}")
    for kind, plants in [*kinds.items(), ("all", [plant for each in kinds.values() for plant in each])]:
        counts = [f"{sum(plant[suite] for plant in plants)} of {len(plants)}" for suite in ("suggest", "by hand")]
        print(f"{kind:18}{counts[0]:>10}{counts[1]:>10}")
    if asked.json:
        asked.json.write_text(json.dumps(all_found, indent=1))


if __name__ == "__main__":
    main()
