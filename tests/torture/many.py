"""Read many dirty files, and say how many were right: as a use case reads them, and by pandas and Polars untold."""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl

from tests.torture.dirty import Dirty, dirty
from tests.torture.reading import NUMBERS, try_file


def by_pandas(path: Path) -> Mapping[str, list[Any]]:
    """Read a file with the defaults of pandas."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frame = pd.read_json(path, lines=True) if ".jsonl" in path.name else pd.read_csv(path)
    return {str(name): values.tolist() for name, values in frame.items()}


def by_polars(path: Path) -> Mapping[str, list[Any]]:
    """Read a file with the defaults of Polars."""
    frame = pl.read_ndjson(path) if ".jsonl" in path.name else pl.read_csv(path)
    return {values.name: values.to_list() for values in frame}


def judge(file: Dirty, read: Callable[[Path], Mapping[str, list[Any]]], folder: Path) -> str:
    """Say whether a reader is right, fails, or is wrong and says nothing; instants may be texts."""
    try:
        found = read(folder / file.name)
    except Exception:  # noqa: BLE001 - whatever it raises, it said something
        return "error"
    for name, truth in file.truth.items():
        values = [None if each is None or each is pd.NaT else each for each in found.get(name, [])]
        values = [None if isinstance(each, float) and math.isnan(each) else each for each in values]
        if name in NUMBERS:
            right = not any(isinstance(each, str) for each in values) and values == truth
        elif name == "time":
            right = [str(each) for each in values] == file.texts[name] or len(values) == len(truth)
        else:
            right = [None if each is None else str(each) for each in values] == truth
        if not right:
            return "silently wrong"
    return "right"


def main() -> int:
    """Read them; 1 where one was wrong or a dead end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--beside", action="store_true", help="pandas and Polars, too")
    options = parser.parse_args()
    ours: Counter[str] = Counter()
    beside: dict[str, Counter[str]] = {"pandas": Counter(), "Polars": Counter()}
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(options.files):
            file = dirty(seed)
            found = try_file(file, Path(folder))
            ours[found.what] += 1
            if "right" not in found.what:
                sys.stdout.write(f"seed {seed}, {file.kinds}: {found.what}: {found.why}\n")
            if options.beside:
                beside["pandas"][judge(file, by_pandas, Path(folder))] += 1
                beside["Polars"][judge(file, by_polars, Path(folder))] += 1
            (Path(folder) / file.name).unlink()
    sys.stdout.write(f"{options.files:,} files in {time.monotonic() - begun:.0f} s: {dict(ours)}\n")
    if options.beside:
        for name, counts in beside.items():
            sys.stdout.write(f"{name}: {dict(counts)}\n")
    return int(any("right" not in what for what in ours))


if __name__ == "__main__":
    sys.exit(main())
