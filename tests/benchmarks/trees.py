"""Trees as bit vectors against LightGBM's own code, in one thread, on rows nobody learnt from.

    python tests/benchmarks/trees.py [--usecase flights] [--trees 100,400,1000] [--leaves 15,31,31] [--rounds 15]

For each model both predict the same rows in turn, round after round; shown are processor time a row (the best round of
each, as a busy machine only ever adds) and the median of the rounds' ratios. Answers are compared bit by bit.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np

from expectations.loading import load_use_case
from infra.serving.models import make_ready
from tasks.modelling.native_trees import NativeTrees
from tasks.modelling.predictors import processor_seconds
from tasks.modelling.quickscorer import QuickScorer
from tests.benchmarks.training import some_rows, train

SIZES = (1, 10, 100, 2000)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--usecase", default="flights")
    parser.add_argument("--learn-until", default="2013-03-01")
    parser.add_argument("--ask-until", default="2013-04-01")
    parser.add_argument("--trees", default="100,400,1000")
    parser.add_argument("--leaves", default="15,31,31")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    usecase = load_use_case(options.usecase)
    print("| trees x leaves | rows at once | LightGBM, µs a row | bit vectors, µs a row | times as fast |")
    print("|---|---|---|---|---|")
    for trees, leaves in zip(options.trees.split(","), options.leaves.split(","), strict=True):
        with tempfile.TemporaryDirectory() as folder:
            bundle = train(usecase, options.learn_until, Path(folder), "lightgbm", int(trees), int(leaves))
            text = (Path(folder) / "model.txt").read_text(encoding="utf-8")
            rows = some_rows(usecase, bundle, options.ask_until)
            ready = make_ready(bundle, len(rows))
            read, _ = ready.reader.read(json.dumps({"dataframe_records": rows}).encode())
            matrix = ready.executor.matrix(read)
        native, quick = NativeTrees(text), QuickScorer.of(text)
        if quick is None:
            sys.exit("these trees are of a kind LightGBM alone runs")
        if not np.array_equal(native.predict(matrix), quick.predict(matrix)):
            sys.exit("the answers differ")
        for size in SIZES:
            _compare(f"{trees} x {leaves}", native, quick, matrix, size, options.rounds)


def _compare(name: str, native: NativeTrees, quick: QuickScorer, matrix: np.ndarray, size: int, rounds: int) -> None:
    parts = [matrix[start : start + size] for start in range(0, len(matrix) - size + 1, max(size, 20))]
    singly = [part[0].tolist() for part in parts]

    def run(model: NativeTrees | QuickScorer) -> None:
        if size == 1:
            for row in singly:
                model.predict_row(row)
        else:
            for part in parts:
                model.predict(part)

    taken = [
        (processor_seconds(lambda: run(native)), processor_seconds(lambda: run(quick)))  # in turn
        for _ in range(rounds)
    ]
    best = [min(each[side] for each in taken) / len(parts) / size * 1e6 for side in (0, 1)]
    ratio = statistics.median(theirs / ours for theirs, ours in taken)
    print(f"| {name} | {size:,} | {best[0]:.2f} | {best[1]:.2f} | {ratio:.1f} |", flush=True)


if __name__ == "__main__":
    main()
