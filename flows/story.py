"""The story of a replay as a picture, as JSON and as a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from expectations.windows import Window
from flows.replay_story import Story
from tasks.stores.files import storing
from tasks.stores.plain import to_json

if TYPE_CHECKING:
    from rich.table import Table

    from flows.backtest import Backtest
    from tasks.backtesting.advice import WalkedPolicy

_FROZEN, _LOOP, _QUIET = "#9aa0a8", "#1f6feb", "#c9ced6"
_MARKS = {
    "retrain": ("v", "#1a7f37"),
    "recalibrate": ("v", "#1f6feb"),
    "hold": ("X", "#cf222e"),
    "warn": (".", "#bf8700"),
    "rollback": ("^", "#cf222e"),
}


def draw(story: Story) -> Figure:
    """Draw the frozen model's metric against the loop's, drift below, decisions as marks."""
    figure = Figure(figsize=(9.5, 5.4), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    places = range(len(story.windows))
    frozen = [record["static"] for record in story.windows]
    loop = [record["loop"] for record in story.windows]
    top.plot(places, frozen, "o--", color=_FROZEN, label=f"frozen model (mean {story.mean['static']:.3f})")
    top.plot(places, loop, "o-", color=_LOOP, label=f"the loop (mean {story.mean['loop']:.3f})")
    top.fill_between(places, frozen, loop, color=_LOOP, alpha=0.08)
    for place, record in zip(places, story.windows, strict=True):
        if record["promoted"]:
            top.axvline(place + 0.5, color="#1a7f37", linewidth=1, linestyle=":")
            top.annotate(
                f"v{record['promoted']}",
                (place + 0.5, 1),
                xycoords=("data", "axes fraction"),
                ha="center",
                va="bottom",
                fontsize=8,
                color="#1a7f37",
            )
        if record["decision"] in _MARKS:
            marker, colour = _MARKS[record["decision"]]
            bottom.plot(
                place, len(record["drifted_columns"]), marker, color=colour, markersize=9, clip_on=False, zorder=3
            )
    bottom.bar(places, [len(record["drifted_columns"]) for record in story.windows], color=_QUIET, width=0.6)
    top.set_ylabel(story.metric)
    top.set_title(f"{story.usecase}: a frozen model and the loop", loc="left", pad=16)
    top.legend(frameon=False, loc="best")
    bottom.set_ylabel("columns\ndrifted")
    bottom.set_xticks(list(places), _ticks([Window.of(record) for record in story.windows]))
    bottom.set_xlabel(
        "after each window:  ▾ retrain   ▴ rollback   • warn   ✕ hold;  dotted line: a new version answers"
    )
    for axes in (top, bottom):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def draw_backtest(found: Backtest) -> Figure:
    """Draw what each policy kept of the gain of retraining every window, by its releases, with the frontier."""
    figure = Figure(figsize=(9.5, 5.0), layout="constrained")
    axes = figure.subplots()
    never = found.curve[0][1]
    count = len(found.table)

    def kept(lost: float) -> float:
        return 100 * (never - lost) / never if never > 0 else 0.0

    axes.plot(
        [releases for releases, _ in found.curve],
        [kept(lost) for _, lost in found.curve],
        "-",
        color=_FROZEN,
        label="every k-th window, mean over phases",
    )
    places = {each.name: (each.releases, kept(each.lost / count)) for each in found.policies}
    axes.plot(*zip(*places.values(), strict=True), "o", color=_QUIET, markersize=5, label="policies")
    front = [places[each.name] for each in found.frontier()]
    axes.plot(
        *zip(*front, strict=True),
        "o--",
        color="#1a7f37",
        markersize=5,
        linewidth=1,
        label="none loses less with as few",
    )
    own = found.policies[0]
    axes.plot(*places[own.name], "D", color=_LOOP, markersize=9, label="the use case's policy")
    cost, placed = found.oracle
    best = cost - found.release_cost * len(placed)
    axes.plot(
        len(placed), kept(best / count), "*", color="#bf8700", markersize=13, label="the best placement, in hindsight"
    )
    axes.set_xlabel(f"releases in {count} windows")
    axes.set_ylabel("% of the gain of retraining every window")
    axes.set_title(f"{found.usecase}: policies walked through its past ({found.metric})", loc="left")
    axes.legend(frameon=False, loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def backtest_table(found: Backtest, most: int = 10) -> Table:
    """Return the policies that cost least as a table, the use case's own always among them."""
    from rich.table import Table

    own = found.policies[0]
    shown = Table(
        title=f"{found.usecase}: policies walked through {len(found.table)} windows ({found.metric})",
        title_justify="left",
        caption=f"cost: windows of relative loss beyond a fresh model in each, and {found.release_cost:g} for each "
        f"release; the best placement in hindsight costs {found.oracle[0]:.2f} with {len(found.oracle[1])} releases. "
        "(+3): three others decide alike",
        caption_justify="left",
    )
    for head in (
        "policy",
        f"mean {found.metric}",
        "releases",
        "trainings",
        "alerts",
        "cost",
        "regret",
        "vs yours, 95 %",
    ):
        shown.add_column(head, justify="left" if head == "policy" else "right")
    alike: dict[tuple[str, ...], list[WalkedPolicy]] = {}
    for each in sorted(found.policies, key=lambda one: (one.cost, one is not own)):
        alike.setdefault(each.actions, []).append(each)
    for place, (first, *others) in enumerate(alike.values()):
        mine = own in (first, *others)
        if place >= most and not mine:
            continue
        low, high = first.interval
        named = "yours" if mine else first.name
        shown.add_row(
            f"{named} (+{len(others)})" if others else named,
            f"{first.mean:.4f}",
            str(first.releases),
            str(first.trainings),
            str(first.alerts),
            f"{first.cost:.2f}",
            f"{first.regret:.2f}",
            "" if mine else f"{low:+.2f} to {high:+.2f}",
        )
    return shown


def _ticks(windows: Sequence[Window]) -> list[str]:
    """Name windows in little room: a year stands where it begins, and of rows the last one."""
    if all(each.counted for each in windows):
        return [f"to {each.counted[1]:,}" for each in windows if each.counted]
    starts = [each.start for each in windows]
    days = all((start.hour, start.minute) == (0, 0) for start in starts)
    named = []
    for before, start in zip([None, *starts], starts, strict=False):
        name = f"{start:%b %d}" if days else f"{start:%b %d\n%H:%M}"
        named.append(name if before is not None and before.year == start.year else f"{name}\n{start:%Y}")
    return named


def write(story: Story, folder: Path, page: str) -> tuple[Path, Path]:
    """Write the picture and the page of a replay; returns their paths.

    Raises
    ------
    StorageError
        If the folder does not take them.
    """
    picture, path = folder / f"{story.usecase}.png", folder / f"{story.usecase}.html"
    with storing("write the story to", folder):
        path.write_text(page, encoding="utf-8")
        draw(story).savefig(picture, format="png", dpi=130)
    return picture, path


def keep(story: Story, folder: Path) -> None:
    """Keep the story as JSON, where the page finds it.

    Raises
    ------
    StorageError
        If the folder does not take it.
    """
    with storing("write the story to", folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{story.usecase}.json").write_text(to_json(story, indent=1), encoding="utf-8")


_HEADS = ("window", "rows", "frozen", "loop", "drifted", "decision", "cause", "new version")


def _rows(story: Story) -> list[tuple[str, ...]]:
    return [
        (
            Window.of(record).name,
            f"{record['rows']:,}",
            f"{record['static']:.3f}",
            f"{record['loop']:.3f}",
            str(len(record["drifted_columns"])),
            record["decision"],
            record["cause"],
            record["promoted"] or "",
        )
        for record in story.windows
    ]


def _sentence(story: Story) -> str:
    again = f"{story.recalibrations} recalibrations, " if story.recalibrations else ""
    return (
        f"Mean {story.metric} of the loop {story.mean['loop']:.3f}, of the frozen model {story.mean['static']:.3f}, "
        f"over {len(story.windows)} windows: {story.trials} trials, {story.retrains} retrainings, "
        f"{again}{story.promotions} promoted, "
        f"{story.refused} refused; {story.requests} requests, {story.failed_requests} failed."
    )


def table(story: Story) -> Table:
    """Return the story as a table for the terminal."""
    from rich.table import Table

    shown = Table(
        title=f"{story.usecase}: {story.metric} by window",
        title_justify="left",
        caption=_sentence(story),
        caption_justify="left",
    )
    for head in _HEADS:
        shown.add_column(head, justify="right" if head in ("rows", "frozen", "loop", "drifted") else "left")
    for row in _rows(story):
        shown.add_row(*row)
    return shown
