"""How often a worse model is ever released in a life of challengers, and how soon a better one is.

    PYTHONPATH=. python tests/benchmarks/lives.py [--lives 200] [--draws 200]

A life is 100 challengers, each compared with its champion by the area under the ROC curve on rows of its own, in 20
days that share their causes: how much of either model's score is noise of its own differs from day to day; nine tenths
of the noise are common to both, as they learnt from mostly the same rows. Challengers of the lives are as good as the
champion: what is released has gained nothing. Beside the budget stand the gate that judges each challenger by itself
(the block bootstrap at 95 %, `evaluation.confidence`), and each at a hundredth of the budget.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np

from expectations.metrics import Array, Scored
from tasks.evaluation.error_budget import BudgetTest, interval_at, next_test
from tasks.evaluation.interval import paired_gain
from tasks.evaluation.metrics import score

BUDGET, CHALLENGERS, DAYS, POSITIVE = 0.05, 100, 20, 0.3
_RESAMPLES = 500


def scored(random: np.random.Generator, rows: int, signals: tuple[float, float]) -> tuple[Scored, Scored, Array]:
    """Draw the rows of one comparison.

    Parameters
    ----------
    signals : tuple of float
        How far the classes lie apart in either model's score, in deviations of its noise.

    Returns
    -------
    challenger, champion : Scored
    blocks : ndarray of shape (rows,)
    """
    blocks = np.arange(rows) * DAYS // rows
    label = (random.random(rows) < POSITIVE).astype(np.float64)
    shared = random.normal(size=rows)
    scores = []
    for signal in signals:
        own = random.normal(size=rows) * np.exp(0.3 * random.normal(size=DAYS))[blocks]
        scores.append(1 / (1 + np.exp(-(signal * label + np.sqrt(0.9) * shared + np.sqrt(0.1) * own))))
    return Scored(label, scores[0], 0.5), Scored(label, scores[1], 0.5), blocks


def _gain(drawn: tuple[Scored, Scored, Array], seed: int) -> Array:
    challenger, champion, blocks = drawn
    return paired_gain(
        "roc_auc",
        challenger,
        champion,
        blocks.astype(np.int64),
        greater_is_better=True,
        resamples=_RESAMPLES,
        seed=seed,
    )


def ever_released(
    random: np.random.Generator, rows: int, test: Callable[[Array, BudgetTest | None], BudgetTest]
) -> bool:
    """Whether any challenger of a life is released that is no better."""
    last = None
    for number in range(CHALLENGERS):
        last = test(_gain(scored(random, rows, (1.0, 1.0)), number), last)
        if last.won:
            return True
    return False


def by_budget(gain: Array, last: BudgetTest | None) -> BudgetTest:
    """Test a challenger at the level that the budget leaves."""
    test = next_test(BUDGET, last)
    return test.tested(won=interval_at(gain, test.level, DAYS).lower >= 0)


def by_itself(gain: Array, last: BudgetTest | None) -> BudgetTest:
    """Test a challenger by the percentile of the bootstrap at 95 %, as where no budget is declared."""
    del last
    return BudgetTest(1, 0.025, BUDGET, bool(np.quantile(gain[1:], 0.025) >= 0))


def divided(gain: Array, last: BudgetTest | None) -> BudgetTest:
    """Test a challenger at a hundredth of the budget."""
    del last
    level = BUDGET / CHALLENGERS
    return BudgetTest(1, level, BUDGET, interval_at(gain, level, DAYS).lower >= 0)


def _gained(rows: int, signal: float) -> float:
    random = np.random.default_rng(1)
    drawn = [scored(random, rows, (signal, 1.0))[:2] for _ in range(40)]
    return float(np.mean([score("roc_auc", challenger) - score("roc_auc", champion) for challenger, champion in drawn]))


def signal_for(gain: float) -> float:
    """Return how far apart the classes lie in a challenger that gains so much, by bisection on many rows."""
    low, high = 1.0, 2.0
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if _gained(20_000, middle) < gain else (low, middle)
    return (low + high) / 2


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lives", type=int, default=200, help="lives by the budget; a tenth, 20 at least, of others")
    parser.add_argument("--draws", type=int, default=200, help="better challengers a cell")
    asked = parser.parse_args()
    print(f"| no challenger of {CHALLENGERS} is better | 500 labels each | 5,000 labels each |")
    print("|---|---|---|")
    for words, test in (
        ("each by itself, at 95 %", by_itself),
        ("a hundredth of the budget", divided),
        ("error_budget", by_budget),
    ):
        cells, count = [], asked.lives if test is by_budget else max(asked.lives // 10, 20)
        for rows in (500, 5000):
            random = np.random.default_rng(rows)
            cells.append(f"{np.mean([ever_released(random, rows, test) for _ in range(count)]):.1%}")
        print(f"| {words}, {count} lives | {' | '.join(cells)} |", flush=True)
    signal = signal_for(0.02)
    print(
        f"\n| gains 0.02, 5,000 labels, {asked.draws} draws | comparison 1 | 5 | 20 | 100 | after three releases, 4 |"
    )
    print("|---|---|---|---|---|---|")
    random = np.random.default_rng(7)
    gains = [_gain(scored(random, 5000, (signal, 1.0)), number) for number in range(asked.draws)]
    levels = [_level(number) for number in (1, 5, 20, 100)] + [_level(4, won=True)]
    found = [f"{np.mean([interval_at(each, level, DAYS).lower >= 0 for each in gains]):.0%}" for level in levels]
    alone = np.mean([np.quantile(each[1:], 0.025) >= 0 for each in gains])
    print(f"| error_budget | {' | '.join(found)} |")
    print(f"| each by itself | {alone:.0%} | | | | |")


def _level(number: int, *, won: bool = False) -> float:
    test = next_test(BUDGET, None)
    for _ in range(number - 1):
        test = next_test(BUDGET, test.tested(won=won))
    return test.level


if __name__ == "__main__":
    main()
